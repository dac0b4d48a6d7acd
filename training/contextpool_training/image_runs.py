"""The same image classifier plain, with a fixed blur and with ContextPool, with several seeds."""

import dataclasses
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from tqdm import tqdm
from transformers import BaseImageProcessor

from contextpool_training.image_classifier import (
    Architecture,
    ImageClassifier,
    ImageTrainingOptions,
    ResNetOptions,
    ViTOptions,
    blurring,
    build,
)
from contextpool_training.image_folder import read_splits
from contextpool_training.images import ImageExamples
from contextpool_training.options import ContextPoolOptions
from contextpool_training.scores import accuracy, macro_f1, predictions_of
from contextpool_training.settings import versions_of
from contextpool_training.trainer import Outcome, train

ARMS = ("plain", "blur", "contextpool")
SEEDS = (1, 2, 3)
_LIBRARIES = ("torch", "transformers", "pillow", "numpy")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that is alike in the arms."""

    architecture: Architecture
    sizes: ViTOptions | ResNetOptions
    # Each run has its own seed in place of this one's.
    training: ImageTrainingOptions
    context_pool: ContextPoolOptions

    def processor(self) -> BaseImageProcessor:
        return self.architecture.processor_of(self.sizes.image_size)


@dataclasses.dataclass(frozen=True)
class Data:
    labels: list[str]
    # By split.
    examples: dict[str, ImageExamples]


@dataclasses.dataclass(frozen=True)
class Result:
    arm: str
    seed: int
    outcome: Outcome
    test_accuracy: float
    test_macro_f1: float


def versions() -> dict[str, str]:
    """Of the libraries that decide what a run gives."""
    return versions_of(_LIBRARIES)


def load_data(recipe: Recipe, folder: pathlib.Path) -> Data:
    processor = recipe.processor()
    splits, labels = read_splits(folder, processor)
    options = recipe.training
    examples = {
        name: ImageExamples(images, labels, processor, options.shift, options.flip)
        for name, images in splits.items()
    }
    return Data(labels, examples)


def context_pool_of(recipe: Recipe, arm: str, labels: list[str]) -> ContextPoolOptions | None:
    if arm == "plain":
        return None
    if arm == "contextpool":
        return recipe.context_pool
    fresh = build(recipe.architecture, recipe.sizes, labels, recipe.context_pool, seed=0)
    return blurring(recipe.context_pool, fresh)


def run(
    recipe: Recipe, data: Data, arm: str, seed: int, checkpoint: pathlib.Path
) -> tuple[ImageClassifier, Result]:
    """Trains, or goes on from the checkpoint; of a finished run it only reads that."""
    pool = context_pool_of(recipe, arm, data.labels)
    model = build(recipe.architecture, recipe.sizes, data.labels, pool, seed)
    options = dataclasses.replace(recipe.training, seed=seed)
    bar = partial(tqdm, desc=f"{arm} {seed}", leave=False)
    training, validation = data.examples["train"], data.examples["validation"]
    outcome = train(model, training, validation, options, checkpoint, bar)
    test = data.examples["test"]
    predictions = predictions_of(model, test)
    scores = (f(test.labels, predictions) for f in (accuracy, macro_f1))
    return model, Result(arm, seed, outcome, *scores)


def run_all(
    recipe: Recipe, data: Data, arms: Sequence[str], seeds: Sequence[int], work: pathlib.Path
) -> list[Result]:
    results = []
    for seed in seeds:
        for arm in arms:
            _, result = run(recipe, data, arm, seed, checkpoint_of(work, arm, seed))
            results.append(result)
            tqdm.write(
                f"{arm} {seed}: test accuracy {result.test_accuracy:.4f}, "
                f"macro-F1 {result.test_macro_f1:.4f} ({result.outcome.seconds:.0f} s)"
            )
    return results


def checkpoint_of(work: pathlib.Path, arm: str, seed: int) -> pathlib.Path:
    return work / f"{arm}-{seed}.checkpoint"


def best(results: Sequence[Result]) -> Result:
    """The one to be written: of the last arm, with the best validation accuracy."""
    candidates = [result for result in results if result.arm == results[-1].arm]
    return max(candidates, key=lambda r: (r.outcome.validation_accuracy, -r.seed))


def parameters_of(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
