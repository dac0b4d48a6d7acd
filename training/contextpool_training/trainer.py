"""Trains a classifier: AdamW, warm-up and linear decay, the best epoch is kept.

Deterministic: the same data, options, versions and thread count give the same bytes. Resumable: the
chance of a step comes from the seed and the step's number alone, so a checkpoint holds weights,
optimizer and scores, and a run that was killed at any moment ends as if it had not been.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
import pickle
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from contextpool_training.scores import Examples, accuracy, predictions_of
from contextpool_training.settings import COUNT, SEED, SHARE, Range, check_settings, setting

# What torch.load raises for a file that is not whole, and what else a strange file leads to.
_DAMAGE = (
    AttributeError, EOFError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    epochs: int = setting(8, "passes over the training data", COUNT)
    batch_size: int = setting(64, "examples per step", COUNT)
    learning_rate: float = setting(1e-3, "the largest", Range(0, above=True))
    weight_decay: float = setting(0.05, "of matrices", Range(0))
    warmup: float = setting(0.15, "share of the steps in which the learning rate rises", SHARE)
    label_smoothing: float = setting(0.1, "share of the target given to all labels alike", SHARE)
    gradient_norm: float = setting(1.0, "the largest", Range(0, above=True))
    seed: int = setting(1, "of the first weights, the order of the data and dropout", SEED)
    checkpoint_steps: int = setting(100, "steps from one checkpoint to the next", COUNT)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Epoch:
    loss: float
    # On the validation data, of the float32 weights.
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    epochs: list[Epoch]
    # Whose weights the model now has, counted from 1.
    best_epoch: int
    # That training took, over all its parts if it was interrupted.
    seconds: float = dataclasses.field(compare=False)

    @property
    def validation_accuracy(self) -> float:
        return self.epochs[self.best_epoch - 1].accuracy


def set_deterministic(threads: int) -> None:
    """Call before anything is computed."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def train(
    model: PreTrainedModel,
    training: Examples,
    validation: Examples,
    options: TrainingOptions,
    checkpoint: pathlib.Path | None = None,
    bar: Callable[..., Any] = tqdm,
) -> Outcome:
    """Leaves the best epoch's weights in the model, and the checkpoint for the caller to delete.

    Raises ValueError if the checkpoint is damaged or belongs to other data or options, and if
    training diverges.
    """
    run = _Run(model, training, validation, options, checkpoint)
    run.resume()
    with bar(total=run.total_steps, initial=run.step, unit="step", dynamic_ncols=True) as progress:
        run.finish(progress)
    model.load_state_dict(run.best_weights)
    return Outcome(run.epochs, run.best_epoch, run.seconds)


class _Run:
    def __init__(
        self,
        model: PreTrainedModel,
        training: Examples,
        validation: Examples,
        options: TrainingOptions,
        checkpoint: pathlib.Path | None,
    ) -> None:
        self.model, self.training, self.validation = model, training, validation
        self.options, self.checkpoint = options, checkpoint
        self.optimizer = torch.optim.AdamW(
            _groups(model, options.weight_decay), lr=options.learning_rate, fused=True
        )
        self.loss_of = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.steps_per_epoch = -(-len(training) // options.batch_size)
        self.total_steps = options.epochs * self.steps_per_epoch
        self.fingerprint = self._fingerprint()
        self.step = 0
        # Of the current epoch so far.
        self.loss = 0.0
        self.epochs: list[Epoch] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self.earlier_seconds = 0.0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started

    def finish(self, progress: Any) -> None:
        while self.step < self.total_steps:
            epoch, start = divmod(self.step, self.steps_per_epoch)
            plan = self.training.plan(self.options.batch_size, self._chance("epoch", epoch))
            for rows in plan[start:]:
                self._train_on(rows)
                self.step += 1
                progress.update()
                if self.step % self.options.checkpoint_steps == 0 and rows is not plan[-1]:
                    self.save()
            self._end_epoch()
            self.save()
            last = self.epochs[-1]
            progress.set_postfix(loss=f"{last.loss:.3f}", validation=f"{last.accuracy:.3f}")

    def save(self) -> None:
        if self.checkpoint is None:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_name(self.checkpoint.name + ".partial")
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds,
            "epochs": [dataclasses.astuple(epoch) for epoch in self.epochs],
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True)
            same = state["fingerprint"] == self.fingerprint
        except _DAMAGE as error:
            raise ValueError(
                f"{self.checkpoint} cannot be read (damaged?): delete it to begin anew"
            ) from error
        if not same:
            raise ValueError(
                f"{self.checkpoint} belongs to a training with other data, options or start: "
                "delete it to begin anew"
            )
        self.step, self.loss = state["step"], state["loss"]
        self.earlier_seconds = state["seconds"]
        self.epochs = [Epoch(*values) for values in state["epochs"]]
        self.best_epoch, self.best_weights = state["best_epoch"], state["best_weights"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _train_on(self, rows: list[int]) -> None:
        self.model.train()
        chance = self._chance("step", self.step)
        torch.manual_seed(chance.getrandbits(63))
        batch = self.training.batch(rows, chance)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * self._rate()
        self.optimizer.zero_grad()
        loss = self.loss_of(self.model(**batch.inputs).logits, batch.labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.gradient_norm)
        self._check_finite(loss.item(), norm.item())
        self.optimizer.step()
        self.loss += loss.item() * len(rows)

    def _check_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)  # it leads here again
        raise ValueError(
            f"training diverged in step {self.step + 1} of {self.total_steps} (loss {loss:g}, "
            f"gradient norm {norm:g}): give a --learning-rate below {self.options.learning_rate:g}"
        )

    def _end_epoch(self) -> None:
        score = accuracy(self.validation.labels, predictions_of(self.model, self.validation))
        self.epochs.append(Epoch(self.loss / len(self.training), score))
        self.loss = 0.0
        if score > max((epoch.accuracy for epoch in self.epochs[:-1]), default=-1.0):
            self.best_epoch = len(self.epochs)
            self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}

    def _rate(self) -> float:
        """What the learning rate is multiplied by: up to 1, then down to almost 0."""
        rising = max(1.0, self.options.warmup * self.total_steps)
        done = self.step + 1
        return min(done / rising, (self.total_steps - self.step) / (self.total_steps - rising + 1))

    def _chance(self, what: str, number: int) -> random.Random:
        return random.Random(f"{self.options.seed} {what} {number}")

    def _fingerprint(self) -> str:
        """Of everything that decides the result, the first weights included."""
        digest = hashlib.sha256()
        options = {**dataclasses.asdict(self.options), "checkpoint_steps": None}
        config = self.model.config.to_dict()
        data = [self.training.digest(), self.validation.digest()]
        values = [options, config, data, torch.__version__, torch.get_num_threads()]
        digest.update(json.dumps(values, sort_keys=True).encode())
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.numpy()).tobytes())
        return digest.hexdigest()


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and LayerNorm do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
