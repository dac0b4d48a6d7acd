"""Attention of packed sequences beside PyTorch's."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from case import Case, Context, InputSet, Ways, bound, starts_of

Function = Callable[[torch.Tensor], torch.Tensor]


def attention(context: Context, lengths: list[int], heads: int, head_size: int, flex: bool) -> Case:
    tokens, width = sum(lengths), heads * head_size
    scale = 1 / math.sqrt(head_size)
    cu_lengths = context.ints(starts_of(lengths))
    ways = ways_of(context, lengths, cu_lengths, scale, flex)

    def make() -> InputSet:
        qkv = context.normal(tokens, 3, heads, head_size)
        out = context.poisoned(tokens, width)
        return InputSet(
            ours=context.ours.prepare(
                "attention",
                qkv=qkv,
                cu_lengths=cu_lengths,
                out=out,
                dtype=context.dtype,
                sequences=len(lengths),
                tokens=tokens,
                max_length=max(lengths),
                heads=heads,
                head_size=head_size,
                scale=scale,
            ),
            out=out,
            peers=bound(ways, qkv),
            reference=lambda: ways["eager"](qkv.float()),
        )

    return Case(
        bytes=8 * tokens * width,
        flop=4 * width * sum(length * length for length in lengths),
        make=make,
    )


def ways_of(
    context: Context, lengths: list[int], cu_lengths: torch.Tensor, scale: float, flex: bool
) -> Ways:
    """From qkv, [tokens, 3, heads, head size], to [tokens, heads * head size]."""
    equal = len(set(lengths)) == 1

    def split(qkv: torch.Tensor) -> list[torch.Tensor]:
        """Query, key and value of sequences of one length: [sequences, heads, length, size]."""
        length = lengths[0] if equal else len(qkv)
        return list(qkv.view(-1, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4))

    def joined(result: torch.Tensor) -> torch.Tensor:
        return result.transpose(1, 2).flatten(2).flatten(0, 1)

    def formula(qkv: torch.Tensor) -> torch.Tensor:
        query, key, value = split(qkv)
        weights = torch.softmax(query @ key.transpose(-1, -2) * scale, dim=-1)
        return joined(weights @ value)

    def sdpa(qkv: torch.Tensor) -> torch.Tensor:
        return joined(F.scaled_dot_product_attention(*split(qkv), scale=scale))

    def each(function: Function) -> Function:
        """Sequence by sequence where their lengths differ."""
        if equal:
            return function
        return lambda qkv: torch.cat([function(part) for part in qkv.split(lengths)])

    ways = context.ways(formula) if equal else {"eager": each(formula)}
    ways["sdpa"] = each(sdpa)
    if context.device.type == "cuda":
        ways["varlen"] = varlen(cu_lengths, max(lengths), scale)
        if equal:
            ways["cudnn"] = cudnn(sdpa)
    if flex and context.compiles:
        from torch.nn.attention.flex_attention import flex_attention as attend

        mask = None if equal else document_mask(lengths, context.device)

        def flex_attention(qkv: torch.Tensor) -> torch.Tensor:
            query, key, value = split(qkv)
            return joined(attend(query, key, value, block_mask=mask, scale=scale))

        ways["flex"] = context.ways(flex_attention)["compile"]
    return ways


def varlen(cu_lengths: torch.Tensor, longest: int, scale: float) -> Function:
    """FlashAttention of packed sequences, as PyTorch ships it."""
    from torch.nn.attention.varlen import varlen_attn

    def run(qkv: torch.Tensor) -> torch.Tensor:
        parts = qkv.unbind(1)
        return varlen_attn(*parts, cu_lengths, cu_lengths, longest, longest, scale=scale).flatten(1)

    return run


def cudnn(sdpa: Function) -> Function:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def run(qkv: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return sdpa(qkv)

    return run


def document_mask(lengths: list[int], device: torch.device) -> object:
    """All sequences in one row, each blind to the others."""
    from torch.nn.attention.flex_attention import create_block_mask

    tokens = sum(lengths)
    owner = torch.repeat_interleave(
        torch.arange(len(lengths), device=device), torch.tensor(lengths, device=device)
    )

    def same_sequence(b, h, query, key):
        return owner[query] == owner[key]

    return create_block_mask(same_sequence, 1, 1, tokens, tokens, device=device)
