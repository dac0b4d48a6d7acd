"""A dataclass's fields that carry their own help and range, for the command line; and what else a
run depends on."""

import dataclasses
import importlib.metadata
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `least` on, to `most` or, if `open`, to below it."""

    least: float
    most: float = float("inf")
    open: bool = False
    # Whether `least` itself is outside.
    above: bool = False

    def holds(self, value: float) -> bool:
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.open else value <= self.most)

    def __str__(self) -> str:
        words = f"{'above' if self.above else 'at least'} {self.least:g}"
        if self.most == float("inf"):
            return words
        return f"{words} and {'below' if self.open else 'at most'} {self.most:.10g}"


COUNT = Range(1)
SHARE = Range(0, 1, open=True)
SEED = Range(0, 2**32, open=True)


def setting(default: T, description: str, allowed: Range | None = None) -> T:
    """A field with this default; what `--help` says of it; the values that it may have."""
    metadata = {"help": description, "range": allowed}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check(name: str, value: float, allowed: Range) -> None:
    """Raises ValueError, which names the flag."""
    if not allowed.holds(value) or value == float("inf"):
        raise ValueError(f"{flag_of(name)} is {value}: it must be {allowed}")


def check_settings(options: Any) -> None:
    """Of a dataclass made of settings."""
    for field in dataclasses.fields(options):
        allowed = field.metadata["range"]
        if allowed is not None:
            check(field.name, getattr(options, field.name), allowed)


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """Of the installed ones."""
    return {name: importlib.metadata.version(name) for name in libraries}
