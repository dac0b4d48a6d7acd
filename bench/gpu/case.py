"""One comparison: our kernel, PyTorch's ways to the same result, and what the result must be."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import torch

from library import Library

# Functions that give the same result from the same inputs, by name.
Ways = dict[str, Callable[..., torch.Tensor]]


@dataclasses.dataclass
class Context:
    """Where and how cases are made."""

    # The launchers and models that are compared.
    ours: Library
    device: torch.device
    dtype: torch.dtype
    # Whether torch.compile may be asked; it takes seconds a case.
    compiles: bool
    seed: int = 1

    def generator(self) -> torch.Generator:
        self.seed += 1
        return torch.Generator(self.device).manual_seed(self.seed)

    def host_generator(self) -> torch.Generator:
        self.seed += 1
        return torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        values = torch.randn(*shape, device=self.device, generator=self.generator())
        return (values * scale).to(self.dtype)

    def floats(self, *shape: int, low: float, high: float) -> torch.Tensor:
        values = torch.rand(*shape, device=self.device, generator=self.generator())
        return low + (high - low) * values

    def poisoned(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Not a number, anywhere: what is not written is found."""
        return torch.full(shape, float("nan"), device=self.device, dtype=dtype or self.dtype)

    def ints(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self.device)

    def ways(self, function: Callable[..., torch.Tensor]) -> Ways:
        """PyTorch as it is, and compiled. To be asked once for all sets of inputs."""
        found = {"eager": function}
        if self.compiles:
            found["compile"] = torch.compile(function, dynamic=False, fullgraph=True)
        return found


@dataclasses.dataclass
class InputSet:
    """One of the rotated sets of inputs, with what to do on it."""

    ours: Callable[[], None]
    # What `ours` writes; poisoned.
    out: torch.Tensor
    # In the layout of `out`. The first is the eager one, whose error is the measure of ours.
    peers: dict[str, Callable[[], torch.Tensor]]
    # The result in float32.
    reference: Callable[[], torch.Tensor]
    # What else the report says of it, and a tighter "flop" where there is one.
    notes: Callable[[], dict[str, int]] = dict


@dataclasses.dataclass
class Case:
    # Of a call: what must at least be moved and computed.
    bytes: int
    flop: int
    make: Callable[[], InputSet]
    # Timed as whole calls, from the host to the host, instead of as work on the GPU.
    end_to_end: bool = False
    # Of a whole model's call.
    inputs: int = 0


def bound(ways: Ways, *inputs: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    return {name: functools.partial(way, *inputs) for name, way in ways.items()}


def starts_of(lengths: list[int]) -> list[int]:
    """cu_lengths."""
    return list(itertools.accumulate(lengths, initial=0))
