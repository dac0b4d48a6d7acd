"""Training is deterministic and goes on after a kill as if nothing had happened."""

import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from contextpool_training import trainer
from contextpool_training.classifier import (
    ModelOptions,
    TextTrainingOptions,
    build,
    round_to_stored,
)
from contextpool_training.options import ContextPoolOptions
from contextpool_training.scores import accuracy, macro_f1
from contextpool_training.texts import EncodedTexts, Example, byte_tokenizer
from contextpool_training.trainer import Outcome, set_deterministic, train

MODEL = ModelOptions(width=8, layers=1, heads=2, feed_forward=16, max_tokens=24)
OPTIONS = TextTrainingOptions(epochs=3, batch_size=8, learning_rate=3e-3, checkpoint_steps=4)
STEPS = 3 * 8
POOL = ContextPoolOptions(num_prefix_tokens=0)


def texts(count: int, seed: int) -> EncodedTexts:
    """Texts whose label is whether they hold more a than b."""
    chance = random.Random(seed)
    examples = []
    for _ in range(count):
        text = "".join(chance.choices("abc ", k=chance.randint(5, 24)))
        examples.append(Example(text, int(text.count("a") > text.count("b"))))
    return EncodedTexts(byte_tokenizer(), examples, MODEL.max_tokens, OPTIONS.token_dropout)


def start(seed: int = 1) -> Any:
    set_deterministic(threads=1)
    return build(MODEL, ["no", "yes"], 257, POOL, seed, typical_length=14)


class Stopped(Exception):
    pass


class Bar:
    """In place of the progress bar; stops the training after so many steps."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.steps = last, 0

    def __call__(self, **_: object) -> "Bar":
        return self

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        self.steps += 1
        if self.steps == self.last:
            raise Stopped

    def set_postfix(self, **_: object) -> None:
        pass


def run(
    options: TextTrainingOptions = OPTIONS, checkpoint: pathlib.Path | None = None, bar: Any = None
) -> tuple[dict[str, bytes], Outcome]:
    model = start(options.seed)
    outcome = train(model, texts(64, 1), texts(24, 2), options, checkpoint, bar or Bar())
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}, outcome


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, bytes], Outcome]:
    return run()


def test_the_same_seed_gives_the_same_bytes(whole: Any) -> None:
    assert run() == whole


def test_another_seed_gives_others(whole: Any) -> None:
    assert run(TextTrainingOptions(**{**vars(OPTIONS), "seed": 2}))[0] != whole[0]


# Before the first checkpoint, between two, on one, on an epoch's last step, on the very last.
@pytest.mark.parametrize("last", [2, 6, 12, 8, STEPS])
def test_a_stopped_training_ends_with_the_same_bytes(
    last: int, whole: Any, tmp_path: pathlib.Path
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Stopped):
        run(checkpoint=checkpoint, bar=Bar(last))
    assert checkpoint.exists() == (last >= 4)
    second = Bar()
    assert run(checkpoint=checkpoint, bar=second) == whole
    assert second.steps < STEPS or last < 4  # it did not begin anew


def test_a_stop_while_an_epoch_is_scored_loses_nothing(
    whole: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    checkpoint = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "predictions_of", stop)
        with pytest.raises(Stopped):
            run(checkpoint=checkpoint)
    assert run(checkpoint=checkpoint) == whole


def test_a_finished_training_is_not_repeated(whole: Any, tmp_path: pathlib.Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint=checkpoint)
    bar = Bar()
    assert run(checkpoint=checkpoint, bar=bar) == whole
    assert bar.steps == 0


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint=checkpoint)
    other = TextTrainingOptions(**{**vars(OPTIONS), "learning_rate": 1e-3})
    with pytest.raises(ValueError, match=r"checkpoint\.pt belongs to a training with other"):
        run(other, checkpoint)


def test_a_damaged_checkpoint_is_named(tmp_path: pathlib.Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read .*delete it"):
            run(checkpoint=checkpoint)


def test_a_training_that_diverges_is_refused(tmp_path: pathlib.Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    options = TextTrainingOptions(**{**vars(OPTIONS), "learning_rate": 1e38})
    with pytest.raises(ValueError, match=r"diverged in step \d+ of 24 .*--learning-rate below"):
        run(options, checkpoint)
    assert not checkpoint.exists()  # another learning rate can be tried at once


def test_weights_beyond_float16_are_refused_and_left_alone() -> None:
    model = start()
    before = model.classifier.weight.clone()
    model.classifier.bias.data[0] = 7e4
    with pytest.raises(ValueError, match=r"classifier\.bias .*largest 70000.*--learning-rate"):
        round_to_stored(model)
    assert torch.equal(model.classifier.weight, before)


def test_the_time_of_all_parts_counts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(Stopped):
        run(checkpoint=checkpoint, bar=Bar(20))
    saved = torch.load(checkpoint, weights_only=True)["seconds"]
    assert saved > 0
    again = run(checkpoint=checkpoint)[1]
    assert again.seconds > saved + 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"warmup": 1.0}, "--warmup is 1.0: it must be at least 0 and below 1"),
        ({"token_dropout": -0.1}, "--token-dropout is -0.1"),
        ({"epochs": 0}, "--epochs is 0: it must be at least 1"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan: it must be above 0"),
        ({"learning_rate": float("inf")}, "--learning-rate is inf"),
        ({"gradient_norm": 0.0}, "--gradient-norm is 0.0: it must be above 0"),
        ({"seed": -1}, "--seed is -1: it must be at least 0 and below 4294967296"),
        ({"checkpoint_steps": 0}, "--checkpoint-steps is 0"),
    ],
)
def test_training_options_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TextTrainingOptions(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dropout": 1.0}, "--dropout is 1.0"),
        ({"max_tokens": 2}, "--max-tokens is 2: it must be at least 3"),
        ({"first_weights": 0.0}, "--first-weights is 0.0: it must be above 0"),
        ({"width": 10, "heads": 4}, "--width 10 is not a multiple of --heads 4"),
    ],
)
def test_model_options_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelOptions(**values)


CHILD = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from test_trainer import Bar, run

class Slow(Bar):
    def update(self):
        super().update()
        print(self.steps, flush=True)

checkpoint = pathlib.Path(sys.argv[2])
torch.save(run(checkpoint=checkpoint, bar=Slow())[0], sys.argv[3])
"""


def test_a_killed_process_ends_with_the_same_bytes(whole: Any, tmp_path: pathlib.Path) -> None:
    checkpoint, weights = tmp_path / "checkpoint.pt", tmp_path / "weights.pt"
    tests = str(pathlib.Path(__file__).parent)
    command = [sys.executable, "-c", CHILD, tests, str(checkpoint), str(weights)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 14:
                child.send_signal(signal.SIGKILL)
                break
    assert checkpoint.exists() and not weights.exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert torch.load(weights) == whole[0]


def test_training_learns(whole: Any) -> None:
    epochs = whole[1].epochs
    assert len(epochs) == 3
    assert epochs[-1].loss < epochs[0].loss
    assert whole[1].validation_accuracy == max(epoch.accuracy for epoch in epochs)


def test_arms_start_from_the_same_transformer() -> None:
    plain = build(MODEL, ["no", "yes"], 257, None, 3, 14).state_dict()
    pooled = build(MODEL, ["no", "yes"], 257, POOL, 3, 14).state_dict()
    added = {name for name in pooled if "context_pool" in name}
    assert set(pooled) - added == set(plain)
    assert len(added) == 4
    assert all(torch.equal(plain[name], pooled[name]) for name in plain)


def test_scores() -> None:
    truth, said = [0, 0, 0, 1, 2], [0, 0, 1, 1, 1]
    assert accuracy(truth, said) == pytest.approx(3 / 5)
    # By hand: label 0: 2*2/(3+2); label 1: 2*1/(1+3); label 2: 0.
    assert macro_f1(truth, said) == pytest.approx((0.8 + 0.5 + 0) / 3)
