"""Trains an image classifier and writes a directory that the server loads. DATA holds
train/LABEL/*, test/LABEL/* and, unless a tenth of the training images is to take its place,
validation/LABEL/*: .png, .jpg, .jpeg or .webp. Every arm is trained with every seed; the best seed
of the last arm is written, with the scores of all in its card. After an interruption the same
command goes on from its last checkpoint (in OUT.runs). The same command, versions and thread count
give the same bytes."""

import argparse
import pathlib
import shutil
from collections.abc import Sequence

from contextpool_training.arguments import (
    add_fields,
    command_of,
    context_pool,
    fields_of,
    positive,
    seed,
)
from contextpool_training.image_card import image_card
from contextpool_training.image_classifier import Architecture, ImageTrainingOptions
from contextpool_training.image_export import export, one_of_each_label
from contextpool_training.image_runs import (
    ARMS,
    SEEDS,
    Data,
    Recipe,
    Result,
    best,
    checkpoint_of,
    load_data,
    run,
    run_all,
)
from contextpool_training.trainer import set_deterministic


class ImageCommand:
    """The subcommand of one architecture."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.__doc__ = __doc__

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("data", metavar="DATA", type=pathlib.Path, help="folder of images")
        parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="the model's directory")
        parser.add_argument(
            "--arm",
            nargs="+",
            choices=ARMS,
            default=list(ARMS),
            help="what to compare; the last one is written",
        )
        parser.add_argument(
            "--seed", nargs="+", type=seed, default=list(SEEDS), help="one run each"
        )
        parser.add_argument(
            "--context-pool",
            type=context_pool,
            default="{}",
            metavar="JSON",
            help='the context_pool object of config.json, for example {"r": 0.2}',
        )
        parser.add_argument("--threads", type=positive, default=1, help="of the processor")
        add_fields(parser, "model", self.architecture.options, self.architecture.choices)
        add_fields(parser, "training", ImageTrainingOptions, {}, leave_out=("seed",))

    def run(self, args: argparse.Namespace) -> None:
        if args.context_pool is None:
            raise ValueError("--context-pool is off: for a model without it give --arm plain")
        set_deterministic(args.threads)
        recipe = Recipe(
            self.architecture,
            fields_of(args, self.architecture.options),
            fields_of(args, ImageTrainingOptions, leave_out=("seed",)),
            args.context_pool,
        )
        data = load_data(recipe, args.data)
        command = command_of(self.architecture.name, args)
        work = args.out.with_name(args.out.name + ".runs")
        source = f"images of {args.data.name}/"
        compare(recipe, data, args.arm, args.seed, args.out, work, source, command)


def compare(
    recipe: Recipe,
    data: Data,
    arms: Sequence[str],
    seeds: Sequence[int],
    out: pathlib.Path,
    work: pathlib.Path,
    source: str,
    command: str,
) -> None:
    """Trains what is not trained yet, and writes the model's directory. `work`: a folder for
    checkpoints, which is deleted in the end."""
    results = run_all(recipe, data, arms, seeds, work)
    chosen = best(results)
    checkpoint = checkpoint_of(work, chosen.arm, chosen.seed)
    model, again = run(recipe, data, chosen.arm, chosen.seed, checkpoint)
    _check_same(chosen, again)
    card = image_card(out.name, recipe, data, results, model, source, command)
    pixels = one_of_each_label(data.examples["test"])
    export(out, recipe.architecture, model, recipe.processor(), pixels, card)
    shutil.rmtree(work)
    print(f"wrote {out}: test accuracy {chosen.test_accuracy:.4f}")


def _check_same(chosen: Result, again: Result) -> None:
    if chosen != again:
        raise ValueError(
            f"the {chosen.arm} run of seed {chosen.seed} scores {again.test_accuracy:.4f} on the "
            f"test images, not {chosen.test_accuracy:.4f} as it did when trained"
        )
