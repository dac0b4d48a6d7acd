"""Command line: python -m contextpool_training sentiment|train|augment --help"""

import argparse
import sys
from collections.abc import Sequence

from transformers.utils.logging import disable_progress_bar

from contextpool_training import augment, sentiment_command, train_command


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="contextpool_training",
        description="Trains text classifiers with ContextPool, as directories that ContextPool "
        "Server loads.",
    )
    subcommands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, summary, module in (
        ("sentiment", "compare ContextPool with plain and blur on sentiment", sentiment_command),
        ("train", "train a classifier on your own labelled texts", train_command),
        ("augment", "insert ContextPool into an existing BERT", augment),
    ):
        sub = subcommands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
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
