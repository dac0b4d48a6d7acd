"""Values and groups of flags on the command line."""

import argparse
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from contextpool_training.options import ContextPoolOptions
from contextpool_training.settings import SEED, flag_of


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or not SEED.holds(int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of {SEED}")
    return int(text)


def context_pool(text: str) -> ContextPoolOptions | None:
    """The object as JSON, or "off"."""
    if text == "off":
        return None
    try:
        return ContextPoolOptions.from_dict(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    except RecursionError as error:
        raise argparse.ArgumentTypeError("it is nested too deeply") from error


def add_fields(
    parser: argparse.ArgumentParser,
    title: str,
    options: type[Any],
    choices: Mapping[str, tuple[str, ...]],
    leave_out: Collection[str] = (),
) -> None:
    """One flag per field, of its name and with its default."""
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(options):
        if field.name in leave_out:
            continue
        kind = type(field.default)
        group.add_argument(
            flag_of(field.name),
            type=kind,
            default=field.default,
            choices=choices.get(field.name),
            metavar=None if field.name in choices else kind.__name__.upper(),
            help=field.metadata["help"],
        )


def fields_of(args: argparse.Namespace, options: type[Any], leave_out: Collection[str] = ()) -> Any:
    """Raises ValueError, which names a flag, if a value is out of its range."""
    names = [field.name for field in dataclasses.fields(options) if field.name not in leave_out]
    return options(**{name: getattr(args, name) for name in names})


def command_of(subcommand: str, args: argparse.Namespace, separator: str = " ") -> str:
    """The command line with every option, also where it was left to its default; `separator`
    stands between options. Files are named without their folders."""
    parts = [
        shlex.join(
            ["python", "-m", "contextpool_training", subcommand, args.data.name, args.out.name]
        )
    ]
    for key, value in vars(args).items():
        if key in ("data", "out", "run") or (value is None and key != "context_pool"):
            continue
        values = value if isinstance(value, list) else [value]
        parts.append(shlex.join([flag_of(key), *map(_word, values)]))
    return separator.join(parts)


def _word(value: object) -> str:
    if isinstance(value, pathlib.Path):
        return value.name
    if isinstance(value, ContextPoolOptions):
        return json.dumps(value.to_dict())
    return "off" if value is None else str(value)
