"""ContextPool and its parameter network beside what PyTorch offers for them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from attention_cases import document_mask
from case import Case, Context, InputSet, Ways, bound, starts_of

Way = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

LOG2_E = math.log2(math.e)
EPS = 1e-4
# Rows and tokens of a block of weights, which the kernel counts.
TILE = 64
# Far in the padding all weights are 0.
SMALLEST_SUM = 1e-35
# FlexAttention takes the columns as heads of so many.
FLEX_HEAD = 64


def context_pool(
    context: Context, lengths: list[int], columns: int, sigma: float, grid_width: int, flex: bool
) -> Case:
    """`sigma`: the mean support size in tokens."""
    tokens = sum(lengths)
    cu_lengths = context.ints(starts_of(lengths))
    ways = ways_of(context, lengths, columns, grid_width, flex)

    def make() -> InputSet:
        x = context.normal(tokens, columns)
        out = context.poisoned(tokens, columns)
        tiles = torch.zeros(2, dtype=torch.int64, device=context.device)
        # As a sigmoid gives them, and sizes 20% to either side of the mean.
        log_weight = torch.log2(context.floats(tokens, low=0.05, high=0.95))
        size = context.floats(tokens, low=0.8 * sigma, high=1.2 * sigma)
        fields = {
            "x": x,
            "log_weight": log_weight,
            "support_size": size,
            "cu_lengths": cu_lengths,
            "out": out,
            "dtype": context.dtype,
            "sequences": len(lengths),
            "tokens": tokens,
            "max_length": max(lengths),
            "grid_width": grid_width,
            "columns": columns,
            "x_stride": columns,
            "out_stride": columns,
        }
        counting = context.ours.prepare("context_pool", **fields, tiles=tiles)

        def notes() -> dict[str, int]:
            tiles.zero_()
            counting()
            computed, skipped = tiles.tolist()
            # The floor asks only for what is not skipped, and for no part of a tile without tokens.
            products = min(computed * TILE * TILE, sum(n * n for n in lengths))
            flop = 2 * products * columns
            return {"flop": flop, "tiles_computed": computed, "tiles_skipped": skipped}

        return InputSet(
            ours=context.ours.prepare("context_pool", **fields),
            out=out,
            peers=bound(ways, x, log_weight, size),
            reference=lambda: ways["eager"](x.float(), log_weight, size),
            notes=notes,
        )

    return Case(bytes=4 * tokens * columns + 8 * tokens, flop=0, make=make)


def ways_of(
    context: Context, lengths: list[int], columns: int, grid_width: int, flex: bool
) -> Ways:
    """From x [tokens, columns], log_weight and size to y."""
    equal = len(set(lengths)) == 1
    distances = squared_distances(max(lengths), grid_width, context.device)

    def pooled(x: torch.Tensor, log_weight: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        n = lengths[0] if equal else len(x)
        x, log_weight, size = x.view(-1, n, columns), log_weight.view(-1, 1, n), size.view(-1, n, 1)
        return pool(x, log_weight, size, distances[:n, :n]).view(-1, columns)

    if equal:
        ways = context.ways(pooled)
    else:
        ways = {"eager": each_of(pooled, lengths)}
        if context.compiles:
            padded = padded_pool(lengths, distances, context.device)
            ways["padded compile"] = context.ways(padded)["compile"]
    if flex and context.compiles:
        ways["flex"] = context.ways(flex_pool(lengths, columns, grid_width, context.device))[
            "compile"
        ]
    return ways


def pool(
    x: torch.Tensor,
    log_weight: torch.Tensor,
    size: torch.Tensor,
    distances: torch.Tensor,
    padded: bool = False,
) -> torch.Tensor:
    """Of x [sequences, n, columns], log_weight [sequences, 1, n] and size [sequences, n, 1]."""
    falloff = LOG2_E / (2 * size.square() + EPS)
    weights = torch.exp2(log_weight - falloff * distances)
    sums = weights.sum(dim=2, keepdim=True)
    if padded:
        sums = sums.clamp_min(SMALLEST_SUM)
    return (weights.to(x.dtype) @ x / sums).to(x.dtype)


def each_of(pooled: Way, lengths: list[int]) -> Way:
    """Sequence by sequence."""

    def run(x: torch.Tensor, log_weight: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        parts = zip(*(value.split(lengths) for value in (x, log_weight, size)), strict=True)
        return torch.cat([pooled(*part) for part in parts])

    return run


def padded_pool(lengths: list[int], distances: torch.Tensor, device: torch.device) -> Way:
    """All sequences as long as the longest; weights of 0 beyond their ends."""
    longest, starts = max(lengths), torch.tensor(starts_of(lengths), device=device)
    places = torch.arange(longest, device=device)
    exists = places < starts.diff()[:, None]
    token = torch.where(exists, starts[:-1, None] + places, 0)
    # Where the packed tokens lie among the padded ones.
    kept = exists.flatten().nonzero().flatten()

    def run(x: torch.Tensor, log_weight: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        wide = torch.where(exists, log_weight[token], float("-inf"))
        y = pool(x[token], wide[:, None, :], size[token][:, :, None], distances, padded=True)
        return y.flatten(0, 1)[kept]

    return run


def flex_pool(lengths: list[int], columns: int, grid_width: int, device: torch.device) -> Way:
    """As FlexAttention: queries and keys say nothing, the score is weight and distance."""
    from torch.nn.attention.flex_attention import flex_attention

    equal, heads = len(set(lengths)) == 1, columns // FLEX_HEAD
    n = lengths[0] if equal else sum(lengths)
    # Different lengths lie in one row, in which |i - j| is the same.
    mask = None if equal else document_mask(lengths, device)

    def run(x: torch.Tensor, log_weight: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        value = x.view(-1, n, heads, FLEX_HEAD).transpose(1, 2)
        query = x.new_zeros(len(value), heads, n, 16)
        log_weight = log_weight.view(-1, n) * math.log(2)
        falloff = 1 / (2 * size.view(-1, n).square() + EPS)

        def score_on_a_grid(score, b, h, i, j):
            down, across = (i // grid_width - j // grid_width, i % grid_width - j % grid_width)
            distance = (down * down + across * across).float()
            return score + log_weight[b, j] - falloff[b, i] * distance

        def score_in_a_row(score, b, h, i, j):
            distance = ((i - j) * (i - j)).float()
            return score + log_weight[b, j] - falloff[b, i] * distance

        chosen = score_on_a_grid if grid_width else score_in_a_row
        y = flex_attention(query, query, value, chosen, block_mask=mask)
        return y.transpose(1, 2).reshape(-1, columns)

    return run


def squared_distances(length: int, grid_width: int, device: torch.device) -> torch.Tensor:
    places = torch.arange(length, device=device)
    width = grid_width or length
    down, across = places // width, places % width
    return ((down[:, None] - down).square() + (across[:, None] - across).square()).float()


def context_pool_support(
    context: Context, lengths: list[int], bottleneck: int, kernel_size: int
) -> Case:
    """Sequences of one length."""
    tokens, length, half = sum(lengths), lengths[0], kernel_size // 2
    cu_lengths = context.ints(starts_of(lengths))
    r = 0.1

    def shifted(values: torch.Tensor, by: int) -> torch.Tensor:
        """values[:, i + by], zeros beyond the ends."""
        if by >= 0:
            return F.pad(values[:, by:], (0, 0, 0, by))
        return F.pad(values[:, :by], (0, 0, -by, 0))

    def formula(taps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        parts = taps.float().view(-1, length, kernel_size, bottleneck).unbind(2)
        hidden = F.gelu(sum(shifted(part, t - half) for t, part in enumerate(parts)))
        terms = [shifted(hidden, t - half) @ weight[t].t() for t in range(kernel_size)]
        numbers = bias + sum(terms)
        log_weight = LOG2_E * F.logsigmoid(numbers[..., 0])
        size = r * length * torch.sigmoid(numbers[..., 1])
        return torch.stack([log_weight.flatten(), size.flatten()])

    ways = context.ways(formula)

    def make() -> InputSet:
        taps = context.normal(tokens, kernel_size, bottleneck)
        weight = context.floats(kernel_size, 2, bottleneck, low=-0.3, high=0.3)
        bias = context.floats(2, low=-0.3, high=0.3)
        out = context.poisoned(2, tokens, dtype=torch.float32)
        return InputSet(
            ours=context.ours.prepare(
                "context_pool_support",
                taps=taps,
                conv2_weight=weight,
                conv2_bias=bias,
                cu_lengths=cu_lengths,
                log_weight=out[0],
                support_size=out[1],
                dtype=context.dtype,
                r=r,
                sequences=len(lengths),
                tokens=tokens,
                kernel_size=kernel_size,
                bottleneck=bottleneck,
                taps_stride=kernel_size * bottleneck,
            ),
            out=out,
            peers=bound(ways, taps, weight, bias),
            reference=lambda: formula(taps.float(), weight, bias),
        )

    return Case(bytes=2 * tokens * kernel_size * bottleneck + 8 * tokens, flop=0, make=make)
