"""Kernels that go row by row, bound by memory."""

import torch
import torch.nn.functional as F

from case import Case, Context, InputSet, bound, starts_of

WORDS, POSITIONS = 30522, 512
ACTIVATION_GELU = 1
POOL_MEAN = 0


def layer_norm(context: Context, tokens: int, columns: int) -> Case:
    def formula(x, bias, residual, gamma, beta):
        return F.layer_norm(x + bias + residual, (columns,), gamma, beta, 1e-12)

    ways = context.ways(formula)

    def make() -> InputSet:
        x, residual = context.normal(tokens, columns), context.normal(tokens, columns)
        bias, gamma, beta = (context.normal(columns) for _ in range(3))
        out = context.poisoned(tokens, columns)
        inputs = (x, bias, residual, gamma, beta)
        return InputSet(
            ours=context.ours.prepare(
                "layer_norm",
                x=x,
                bias=bias,
                residual=residual,
                gamma=gamma,
                beta=beta,
                out=out,
                dtype=context.dtype,
                rows=tokens,
                columns=columns,
                x_stride=columns,
                residual_stride=columns,
                out_stride=columns,
                eps=1e-12,
            ),
            out=out,
            peers=bound(ways, *inputs),
            reference=lambda: formula(*(value.float() for value in inputs)),
        )

    return Case(bytes=6 * tokens * columns, flop=0, make=make)


def bias_activation(context: Context, tokens: int, columns: int) -> Case:
    def formula(x, bias):
        return F.gelu(x + bias)

    ways = context.ways(formula)

    def make() -> InputSet:
        x, bias = context.normal(tokens, columns), context.normal(columns)
        # In place: the first call's result is compared, later ones work on what it left.
        out = x.clone()
        return InputSet(
            ours=context.ours.prepare(
                "bias_activation",
                x=out,
                bias=bias,
                dtype=context.dtype,
                activation=ACTIVATION_GELU,
                rows=tokens,
                columns=columns,
                stride=columns,
            ),
            out=out,
            peers=bound(ways, x, bias),
            reference=lambda: formula(x.float(), bias.float()),
        )

    return Case(bytes=4 * tokens * columns, flop=0, make=make)


def embedding(context: Context, lengths: list[int], columns: int) -> Case:
    tokens = sum(lengths)
    cu_lengths = context.ints(starts_of(lengths))
    words = context.normal(WORDS, columns)
    positions = context.normal(POSITIONS, columns)
    places = context.ints([place for length in lengths for place in range(length)])

    def formula(ids, words, positions, token_type, gamma, beta):
        summed = F.embedding(ids, words) + F.embedding(places, positions) + token_type
        return F.layer_norm(summed, (columns,), gamma, beta, 1e-12)

    ways = context.ways(formula)

    def make() -> InputSet:
        token_type, gamma, beta = (context.normal(columns) for _ in range(3))
        ids = torch.randint(
            0, WORDS, (tokens,), device=context.device, generator=context.generator()
        ).int()
        out = context.poisoned(tokens, columns)
        tables = (words, positions, token_type, gamma, beta)
        return InputSet(
            ours=context.ours.prepare(
                "embedding",
                ids=ids,
                cu_lengths=cu_lengths,
                words=words,
                positions=positions,
                token_type=token_type,
                gamma=gamma,
                beta=beta,
                out=out,
                dtype=context.dtype,
                sequences=len(lengths),
                tokens=tokens,
                columns=columns,
                eps=1e-12,
            ),
            out=out,
            peers=bound(ways, ids, *tables),
            reference=lambda: formula(ids, *(table.float() for table in tables)),
        )

    return Case(bytes=4 * tokens * columns + 4 * tokens, flop=0, make=make)


def pool(context: Context, lengths: list[int], columns: int) -> Case:
    tokens, count, length = sum(lengths), len(lengths), lengths[0]

    def formula(x):
        mean = x.view(count, length, columns).mean(dim=1, dtype=torch.float32)
        return F.normalize(mean, dim=1)

    ways = context.ways(formula)

    def make() -> InputSet:
        x = context.normal(tokens, columns)
        segments = [[i * length, (i + 1) * length, POOL_MEAN, 1] for i in range(count)]
        out = context.poisoned(count, columns, dtype=torch.float32)
        return InputSet(
            ours=context.ours.prepare(
                "pool",
                x=x,
                segments=torch.tensor(segments, dtype=torch.int32, device=context.device),
                out=out,
                dtype=context.dtype,
                out_dtype=torch.float32,
                segment_count=count,
                columns=columns,
            ),
            out=out,
            peers=bound(ways, x),
            reference=lambda: formula(x.float()),
        )

    return Case(bytes=2 * tokens * columns + 4 * count * columns, flop=0, make=make)


def im2col(context: Context, images: int, side: int, patch: int) -> Case:
    grid = side // patch

    scale, offset = [0.017, 0.018, 0.019], [-2.1, -2.0, -1.8]
    factors = torch.tensor(scale, device=context.device)
    terms = torch.tensor(offset, device=context.device)

    def rows(pixels):
        values = pixels.float() * factors + terms
        cut = values.view(images, grid, patch, grid, patch, 3).transpose(2, 3)
        return cut.reshape(images * grid * grid, -1)

    def formula(pixels):
        return rows(pixels).to(context.dtype)

    ways = context.ways(formula)

    def make() -> InputSet:
        pixels = torch.randint(
            0,
            256,
            (images, side, side, 3),
            dtype=torch.uint8,
            device=context.device,
            generator=context.generator(),
        )
        out = context.poisoned(images * grid * grid, patch * patch * 3)
        return InputSet(
            ours=context.ours.prepare(
                "im2col",
                pixels=pixels,
                scale=scale,
                offset=offset,
                out=out,
                dtype=context.dtype,
                height=side,
                width=side,
                channels=3,
                rows=images * grid * grid,
                **{"window.size": patch, "window.stride": patch},
            ),
            out=out,
            peers=bound(ways, pixels),
            reference=lambda: rows(pixels),
        )

    return Case(bytes=3 * images * side * side * 3, flop=0, make=make)


def patch_tokens(context: Context, images: int, tokens: int, columns: int) -> Case:
    def formula(patches, table):
        first = table[:1].expand(images, 1, columns)
        return torch.cat([first, patches + table[1:]], dim=1)

    ways = context.ways(formula)

    def make() -> InputSet:
        patches = context.normal(images, tokens - 1, columns)
        table = context.normal(tokens, columns)
        out = context.poisoned(images, tokens, columns)
        return InputSet(
            ours=context.ours.prepare(
                "patch_tokens",
                patches=patches,
                table=table,
                out=out,
                dtype=context.dtype,
                images=images,
                tokens=tokens,
                prefix=1,
                columns=columns,
            ),
            out=out,
            peers=bound(ways, patches, table),
            reference=lambda: formula(patches.float(), table.float()),
        )

    return Case(bytes=4 * images * tokens * columns, flop=0, make=make)
