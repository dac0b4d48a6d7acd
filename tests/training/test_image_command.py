"""From a folder of images to a directory that the server loads."""

import json
import pathlib
import shlex
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import AutoImageProcessor

from contextpool_training import ContextPoolOptions, Fixed, image_runs
from contextpool_training.__main__ import main
from contextpool_training.image_classifier import (
    ARCHITECTURES,
    Architecture,
    ImageTrainingOptions,
    build,
    load,
)
from contextpool_training.image_export import FILES, export
from contextpool_training.images import pixel_values_of
from contextpool_training.pools import context_pools_of
from contextpool_training.trainer import Epoch, Outcome
from vision import write_stripes

SIZES = {
    "vit": "--image-size 8 --patch-size 2 --width 16 --layers 2 --heads 2 --feed-forward 32",
    "resnet": "--image-size 24 --width 4 --stages 2",
}
POOLS = {"vit": '{"bottleneck": 4, "r": 0.3}', "resnet": '{"bottleneck": 4, "r": 0.5}'}
QUICK = "--epochs 2 --batch-size 8 --seed 1 2".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("data") / "stripes"
    write_stripes(folder, {"train": 48, "validation": 8, "test": 10})
    return folder


def command(name: str, data: pathlib.Path, out: pathlib.Path) -> list[str]:
    pool = ["--context-pool", POOLS[name]]
    return [name, str(data), str(out), *SIZES[name].split(), *pool, *QUICK]


@pytest.fixture(scope="module", params=["vit", "resnet"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


@pytest.fixture(scope="module")
def directory(
    architecture: Architecture, data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    out = tmp_path_factory.mktemp("models") / "stripes"
    assert main(command(architecture.name, data, out)) == 0
    return out


def test_everything_is_there_and_nothing_else(directory: pathlib.Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o644}


def test_config_says_what_the_server_needs(
    architecture: Architecture, directory: pathlib.Path
) -> None:
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == architecture.name
    assert config["architectures"] == [architecture.classifier.__name__]
    assert config["id2label"] == {"0": "across", "1": "down"}
    assert config["problem_type"] == "single_label_classification"
    assert config["context_pool"]["bottleneck"] == 4
    assert config["dtype"] == "float32"
    processor = json.loads((directory / "preprocessor_config.json").read_text())
    assert not processor["image_processor_type"].endswith("Pil")
    assert processor["do_convert_rgb"] and processor["image_std"] == [0.5] * 3


def test_transformers_reads_the_directory(
    architecture: Architecture, directory: pathlib.Path
) -> None:
    """The processor and, but for the pools, the weights."""
    golden = load_file(directory / "golden.safetensors")
    processor = AutoImageProcessor.from_pretrained(directory)  # type: ignore[no-untyped-call]
    image = Image.fromarray(golden["pixels"][0])  # it has its final size already
    model = load(architecture, directory)
    with torch.no_grad():
        logits = model(processor(image, return_tensors="pt").pixel_values).logits[0]
    np.testing.assert_allclose(logits.numpy(), golden["logits"][0], rtol=0, atol=1e-5)


def test_golden_values_are_those_of_the_stored_weights(
    architecture: Architecture, directory: pathlib.Path
) -> None:
    golden = load_file(directory / "golden.safetensors")
    model: Any = load(architecture, directory)
    assert golden["pixels"].dtype == np.uint8
    side = int(SIZES[architecture.name].split()[1])
    assert golden["pixels"].shape == (2, side, side, 3)
    assert golden["embedding"].dtype == golden["logits"].dtype == np.float32
    width = model.config.hidden_size if architecture.name == "vit" else model.config.hidden_sizes[1]
    assert golden["embedding"].shape == (2, width) and golden["logits"].shape == (2, 2)
    processor = architecture.processor_of(side)
    values = pixel_values_of(torch.from_numpy(golden["pixels"]), processor)
    with torch.no_grad():
        np.testing.assert_allclose(model(values).logits, golden["logits"], rtol=0, atol=1e-5)
        embedding = architecture.embedding_of(model, values)
    np.testing.assert_allclose(embedding, golden["embedding"], rtol=0, atol=1e-5)


def test_the_card_has_all_arms_and_a_command_that_makes_the_same_model(
    architecture: Architecture, directory: pathlib.Path, data: pathlib.Path,
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    card = (directory / "README.md").read_text()
    rows = [line for line in card.splitlines() if line.startswith(("| plain", "| fixed", "| Con"))]
    assert [row.split("|")[1].strip().split(",")[0] for row in rows][:3] == [
        "plain", "fixed blur", "ContextPool",
    ]  # fmt: skip
    assert all(row.count("%") == 3 for row in rows[:3])
    assert "48 training, 8 validation and 10 test images" in card
    (line,) = (line for line in card.splitlines() if line.startswith("| command |"))
    words = shlex.split(line.split("`")[1])
    assert words[:3] == ["python", "-m", "contextpool_training"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / data.name).symlink_to(data)
    words[5] = "stripes-again"
    assert main(words[3:]) == 0
    for name in FILES:
        if name != "README.md":  # it names the folder
            again = (tmp_path / "stripes-again" / name).read_bytes()
            assert again == (directory / name).read_bytes(), name


def test_the_arms_have_the_pools_that_they_are_named_for(
    architecture: Architecture, data: pathlib.Path
) -> None:
    sizes = {"vit": {"image_size": 8, "patch_size": 2}, "resnet": {"image_size": 24, "width": 4}}
    recipe = image_runs.Recipe(
        architecture,
        architecture.options(**sizes[architecture.name]),
        ImageTrainingOptions(),
        ContextPoolOptions(r=0.3),
    )
    labels = ["across", "down"]
    models = {}
    for arm in image_runs.ARMS:
        pool = image_runs.context_pool_of(recipe, arm, labels)
        models[arm] = build(architecture, recipe.sizes, labels, pool, seed=3)
    assert context_pools_of(models["plain"]) == []
    blurs, pools = (context_pools_of(models[arm]) for arm in ("blur", "contextpool"))
    assert len(blurs) == len(pools) > 0
    assert all(not list(pool.parameters()) for pool in blurs)
    grids = {"vit": [4, 4, 4], "resnet": [12, 2]}
    assert [pool.typical_length for pool in pools] == grids[architecture.name]
    # ContextPool starts where the blur stays.
    sigma = max(pool.first_support_size for pool in pools)
    assert {pool.options.size_activation for pool in blurs} == {Fixed(round(sigma, 2))}
    # All arms start from the same network.
    plain = models["plain"].state_dict()
    for arm in ("blur", "contextpool"):
        state = models[arm].state_dict()
        assert all(torch.equal(state[name], value) for name, value in plain.items())


def test_the_best_is_the_last_arms_with_the_best_validation_accuracy() -> None:
    def result(arm: str, seed: int, validation: float, test: float) -> image_runs.Result:
        outcome = Outcome([Epoch(0, 0), Epoch(0, validation)], best_epoch=2, seconds=0)
        return image_runs.Result(arm, seed, outcome, test, test)

    results = [
        result("plain", 1, 0.99, 0.99), result("contextpool", 1, 0.5, 0.9),
        result("contextpool", 2, 0.7, 0.6), result("contextpool", 3, 0.7, 0.8),
    ]  # fmt: skip
    assert image_runs.best(results) is results[2]


class Stopped(Exception):
    pass


def test_a_stopped_comparison_goes_on_where_it_was(
    architecture: Architecture, directory: pathlib.Path, data: pathlib.Path,
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "stripes"
    trained: list[str] = []
    original = image_runs.run

    def stopping(*arguments: Any) -> Any:
        if len(trained) == 3:
            raise Stopped
        trained.append(arguments[2])
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(image_runs, "run", stopping)
        with pytest.raises(Stopped):
            main(command(architecture.name, data, out))
    assert not out.exists()
    assert sorted(path.name for path in (tmp_path / "stripes.runs").iterdir()) == [
        "blur-1.checkpoint", "contextpool-1.checkpoint", "plain-1.checkpoint",
    ]  # fmt: skip
    assert main(command(architecture.name, data, out)) == 0
    for name in ("model.safetensors", "golden.safetensors"):
        assert (out / name).read_bytes() == (directory / name).read_bytes(), name


def test_one_arm_alone_is_written(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "plain"
    assert main([*command("vit", data, out)[:-2], "1", "--arm", "plain"]) == 0
    assert "context_pool" not in json.loads((out / "config.json").read_text())
    card = (out / "README.md").read_text()
    assert "learned" not in card and "ContextPool stands" not in card and "±" not in card


def test_a_model_whose_values_are_not_finite_is_not_written(
    architecture: Architecture, directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    model = load(architecture, directory)
    for parameter in model.classifier.parameters():
        parameter.data.fill_(float("inf"))
    side = int(SIZES[architecture.name].split()[1])
    pixels = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="golden logits is not finite"):
        export(tmp_path, architecture, model, architecture.processor_of(side), pixels, "a card")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vit", ["--patch-size", "3"], "--image-size 8 is not a multiple of --patch-size 3"),
        ("vit", ["--heads", "3"], "--width 16 is not a multiple of --heads 3"),
        ("resnet", ["--stages", "7"], "--stages is 7: it must be at least 1 and at most 6"),
        ("vit", ["--shift", "1"], "--shift is 1.0: it must be at least 0 and below 1"),
        ("vit", ["--context-pool", "off"], "give --arm plain"),
        ("resnet", ["--context-pool", '{"layers": [0]}'], 'it names "stem"'),
    ],
)
def test_errors_are_one_line(
    name: str, arguments: list[str], message: str, data: pathlib.Path, tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main([*command(name, data, tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("error: ") and message in error[-1]
