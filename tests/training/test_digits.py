"""The digits as a folder of images, and the models made of them."""

import json
import pathlib
import statistics

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from contextpool_training import digits_command
from contextpool_training.__main__ import main
from contextpool_training.digits import write_digits
from contextpool_training.image_classifier import load
from contextpool_training.image_export import FILES, one_of_each_label
from contextpool_training.image_runs import load_data
from contextpool_training.images import pixel_values_of
from contextpool_training.scores import accuracy, predictions_of

MODELS = pathlib.Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


def test_every_scan_is_there_once_and_splits_are_stratified(digits: pathlib.Path) -> None:
    scans = load_digits()
    numbers = {split: {} for split in ("train", "test")}  # type: dict[str, dict[int, int]]
    for split, found in numbers.items():
        for path in (digits / split).rglob("*.png"):
            found[int(path.stem)] = int(path.parent.name)
    assert sorted([*numbers["train"], *numbers["test"]]) == list(range(1797))
    for found in numbers.values():
        assert all(scans.target[number] == digit for number, digit in found.items())
    for digit in range(10):
        held_out = sum(label == digit for label in numbers["test"].values())
        assert held_out / np.sum(scans.target == digit) == pytest.approx(0.3, abs=0.02)
    # The first, fourth and seventh of the first ten scans of a zero.
    zeros = [number for number in range(1797) if scans.target[number] == 0][:10]
    assert [numbers["test"].get(number) for number in zeros] == [0, None, None] * 3 + [None]


def test_a_picture_holds_the_scans_values(digits: pathlib.Path) -> None:
    scans = load_digits()
    for number in (0, 5, 1796):
        (path,) = digits.rglob(f"{number:04}.png")
        with Image.open(path) as image:
            assert image.mode == "L"
            values = np.rint(np.asarray(image, np.float64) * 16 / 255)
        np.testing.assert_array_equal(values, scans.images[number])


@pytest.mark.parametrize("name", list(digits_command.RECIPES))
def test_the_committed_model_scores_what_its_card_says(name: str, digits: pathlib.Path) -> None:
    directory = MODELS / f"digits-{name}-contextpool"
    assert sum(path.stat().st_size for path in directory.iterdir()) < 3_000_000
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    recipe = digits_command.RECIPES[name]
    data = load_data(recipe, digits)
    model = load(recipe.architecture, directory)
    test = data.examples["test"]
    score = accuracy(test.labels, predictions_of(model, test))
    card = (directory / "README.md").read_text().replace("\n", " ")
    assert f"test accuracy {score:.1%}." in card
    golden = load_file(directory / "golden.safetensors")
    assert np.array_equal(golden["pixels"], one_of_each_label(test).numpy())
    values = pixel_values_of(torch.from_numpy(golden["pixels"]), recipe.processor())
    with torch.no_grad():
        logits = model(values).logits
    np.testing.assert_allclose(logits.numpy(), golden["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", list(digits_command.RECIPES))
def test_the_committed_card_has_means_of_its_own_scores(name: str) -> None:
    card = (MODELS / f"digits-{name}-contextpool" / "README.md").read_text()
    rows = [line.split("|") for line in card.splitlines() if line.count(" %") == 1 and "±" in line]
    assert len(rows) == 3
    for row in rows:
        scores = [float(cell.split("%")[0]) for cell in row[2:5]]
        assert float(row[5].split("±")[0]) == pytest.approx(statistics.mean(scores), abs=0.1)


def test_the_digits_command_writes_a_model(tmp_path: pathlib.Path) -> None:
    flags = ["--architecture", "resnet", "--seed", "7", "--epochs", "1"]
    assert main(["digits", str(tmp_path), *flags, "--work", str(tmp_path / "work")]) == 0
    directory = tmp_path / "digits-resnet-contextpool"
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    config = json.loads((directory / "config.json").read_text())
    assert config["context_pool"]["layers"] == ["stem", "final"]
    card = (directory / "README.md").read_text()
    assert "`script/train digits-resnet -- --seed 7 --epochs 1`" in card
