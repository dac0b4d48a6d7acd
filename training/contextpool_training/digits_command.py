"""Writes scikit-learn's handwritten digits as a folder of PNG files and trains the digits models on
it: for each architecture the same network plain, with a fixed blur and with ContextPool, several
seeds each. Writes the ContextPool seed with the best validation accuracy to
OUT/digits-vit-contextpool and OUT/digits-resnet-contextpool. A run that was killed goes on from its
last checkpoint."""

import argparse
import dataclasses
import pathlib
import shlex

from contextpool_training.arguments import positive, seed
from contextpool_training.corpora import cache_folder
from contextpool_training.digits import write_digits
from contextpool_training.image_classifier import (
    ARCHITECTURES,
    ImageTrainingOptions,
    ResNetOptions,
    ViTOptions,
)
from contextpool_training.image_command import compare
from contextpool_training.image_runs import ARMS, SEEDS, Recipe, load_data
from contextpool_training.options import ContextPoolOptions
from contextpool_training.settings import versions_of
from contextpool_training.trainer import set_deterministic

RECIPES = {
    "vit": Recipe(
        ARCHITECTURES["vit"],
        ViTOptions(
            image_size=8,
            patch_size=2,
            width=48,
            layers=3,
            heads=4,
            feed_forward=192,
            first_weights=0.14,
        ),
        ImageTrainingOptions(epochs=20, batch_size=64, learning_rate=2e-3, shift=0.0),
        ContextPoolOptions(r=0.5, num_prefix_tokens=1),
    ),
    "resnet": Recipe(
        ARCHITECTURES["resnet"],
        ResNetOptions(image_size=32, width=16, stages=2),
        ImageTrainingOptions(epochs=24),
        ContextPoolOptions(layers=("stem", "final"), r=0.5, num_prefix_tokens=0),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder of the models")
    parser.add_argument(
        "--architecture",
        nargs="+",
        choices=list(RECIPES),
        default=list(RECIPES),
        help="one model each",
    )
    parser.add_argument(
        "--work",
        type=pathlib.Path,
        default=cache_folder() / "digits",
        help="folder of the PNG files and of unfinished runs",
    )
    parser.add_argument("--seed", nargs="+", type=seed, default=list(SEEDS), help="one run each")
    parser.add_argument("--epochs", type=positive, help="instead of what the recipe says")


def run(args: argparse.Namespace) -> None:
    set_deterministic(threads=1)
    images = args.work / "images"
    write_digits(images)
    for name in args.architecture:
        recipe = RECIPES[name]
        if args.epochs is not None:
            training = dataclasses.replace(recipe.training, epochs=args.epochs)
            recipe = dataclasses.replace(recipe, training=training)
        compare(
            recipe,
            load_data(recipe, images),
            ARMS,
            args.seed,
            args.out / f"digits-{name}-contextpool",
            args.work / f"{name}-{recipe.training.epochs}-epochs",
            _source(),
            command_of(name, args),
        )


def command_of(name: str, args: argparse.Namespace) -> str:
    """That repeats this model's runs."""
    flags = []
    if tuple(args.seed) != SEEDS:
        flags += ["--seed", *map(str, args.seed)]
    if args.epochs is not None:
        flags += ["--epochs", str(args.epochs)]
    return shlex.join(["script/train", f"digits-{name}", *(["--", *flags] if flags else [])])


def _source() -> str:
    version = versions_of(["scikit-learn"])["scikit-learn"]
    return (
        f"the digits of scikit-learn {version}, 8 x 8 grey scans from the test set of the UCI "
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998); of each digit's "
        "scans, in their order, the first, fourth and seventh of every ten are test images, and a "
        "tenth of the others, by a hash, validation images"
    )
