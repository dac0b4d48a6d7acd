"""Labelled inputs as trainer and scores see them, and how well a classifier does on them."""

import random
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Batch(Protocol):
    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """The model's arguments by name."""

    @property
    def labels(self) -> Tensor:
        """[rows]"""


class Examples(Protocol):
    """Inputs with their labels, texts or images, from which batches are made."""

    @property
    def labels(self) -> list[int]: ...

    def __len__(self) -> int: ...

    def plan(self, batch_size: int, chance: random.Random | None = None) -> list[list[int]]:
        """The rows of each batch, every row once: by `chance`, or without it the same always."""

    def batch(self, rows: list[int], chance: random.Random | None = None) -> Batch:
        """With `chance` disturbed as the examples are in training."""

    def digest(self) -> str:
        """Of all inputs and labels."""


@torch.inference_mode()
def logits_of(model: Any, examples: Examples, batch_size: int = 64) -> Tensor:
    """[examples, labels]"""
    model.train(False)
    logits = torch.zeros(len(examples), model.config.num_labels)
    for rows in examples.plan(batch_size):
        logits[rows] = model(**examples.batch(rows).inputs).logits.float()
    return logits


def predictions_of(model: Any, examples: Examples) -> npt.NDArray[np.int64]:
    return np.asarray(logits_of(model, examples).argmax(dim=-1).numpy(), np.int64)


def accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def macro_f1(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """The mean over the labels that occur, of each one's F1."""
    truth, said = np.asarray(labels), np.asarray(predictions)
    scores = []
    for label in np.union1d(truth, said):
        hits = np.sum((truth == label) & (said == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(said == label)))
    return float(np.mean(scores))
