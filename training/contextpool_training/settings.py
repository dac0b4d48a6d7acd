"""A dataclass's fields that carry their own help, for the command line."""

import dataclasses
from typing import TypeVar

T = TypeVar("T")


def setting(default: T, description: str) -> T:
    """A field with this default; what `--help` says of it."""
    field: T = dataclasses.field(default=default, metadata={"help": description})
    return field
