"""Modules and inputs for the tests of ContextPool."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contextpool_training import ContextPool, ContextPoolOptions, Fixed
from contextpool_training.oracle import Array, Pooled, context_pool

DIM = 5

# One option changed at a time, then pairs that work on the same numbers.
VARIED: dict[str, list[Any]] = {
    "kernel_size": [1, 5],
    "bottleneck": [1, 4],
    "activation": ["relu", "leaky_relu", "identity"],
    "weight_activation": ["exp", "softmax", "one"],
    "size_activation": ["softmax", Fixed(0.0), Fixed(0.9), Fixed(1e6)],
    "normalization": ["mean", "none"],
    "r": [0.5],
    "n_mode": ["tokens", "side", Fixed(13.0)],
    "residual": ["add", "gate"],
    "num_prefix_tokens": [0, 2],
}
BASE = ContextPoolOptions(bottleneck=3, r=0.3, num_prefix_tokens=1)


def every_option() -> list[ContextPoolOptions]:
    found = [BASE]
    for key, values in VARIED.items():
        found += [dataclasses.replace(BASE, **{key: value}) for value in values]
    keys = ("weight_activation", "size_activation", "normalization", "residual")
    pairs: Iterable[tuple[Any, ...]] = itertools.product(
        ["sigmoid", "exp", "softmax", "one"], ["sigmoid", "softmax", Fixed(1.2)],
        ["sum", "mean", "none"], ["none", "add", "gate"],
    )  # fmt: skip
    for chosen in pairs:
        found.append(dataclasses.replace(BASE, **dict(zip(keys, chosen, strict=True))))
    return list(dict.fromkeys(found))


def name_of(options: ContextPoolOptions) -> str:
    values = {**options.to_dict(), "n_mode": options.n_mode}
    base = {**BASE.to_dict(), "n_mode": BASE.n_mode}
    return ",".join(f"{key}={value}" for key, value in values.items() if value != base[key])


def make_pool(
    options: ContextPoolOptions, dimensions: int = 1, scale: float = 1.0, seed: int = 0
) -> ContextPool:
    """In float64, with random weights, gamma too."""
    generator = torch.Generator().manual_seed(seed)
    pool = ContextPool(DIM, options, dimensions).double()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return pool


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def by_loops(pool: ContextPool, x: Tensor, grid: tuple[int, int] | None = None) -> Pooled:
    """What the oracle says of one sequence [tokens, DIM]."""
    state = {name: value.numpy() for name, value in pool.state_dict().items()}
    return context_pool(x.numpy(), state, pool.options, grid)


def assert_close(found: Tensor, wanted: Array, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=tolerance, atol=tolerance)
