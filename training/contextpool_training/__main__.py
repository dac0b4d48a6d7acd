"""Command line: python -m contextpool_training COMMAND --help"""

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from transformers.utils.logging import disable_progress_bar

from contextpool_training import augment, digits_command, sentiment_command, train_command
from contextpool_training.image_classifier import ARCHITECTURES
from contextpool_training.image_command import ImageCommand


class Command(Protocol):
    """A module or an object whose docstring describes the command."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> None: ...


COMMANDS: tuple[tuple[str, str, Command], ...] = (
    ("sentiment", "compare ContextPool with plain and blur on sentiment", sentiment_command),
    ("train", "train a classifier on your own labelled texts", train_command),
    ("augment", "insert ContextPool into an existing BERT", augment),
    ("digits", "compare ContextPool with plain and blur on handwritten digits", digits_command),
    ("vit", "train a ViT on your own images", ImageCommand(ARCHITECTURES["vit"])),
    ("resnet", "train a ResNet on your own images", ImageCommand(ARCHITECTURES["resnet"])),
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="contextpool_training",
        description="Trains text and image classifiers with ContextPool, as directories that "
        "ContextPool Server loads.",
    )
    subcommands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, summary, command in COMMANDS:
        sub = subcommands.add_parser(
            name,
            help=summary,
            description=command.__doc__,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading weights
    try:
        args.run(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resumes = args.run is not augment.run
        more = "; the same command goes on from the last checkpoint" if resumes else ""
        print(f"stopped{more}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
