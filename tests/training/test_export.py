"""The directory that `train` writes: everything that the server reads, and the same every time."""

import json
import pathlib
import random
import shlex

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from contextpool_training import bert, train_command
from contextpool_training.__main__ import main, parser
from contextpool_training.export import FILES, export, spread
from contextpool_training.pools import context_pools_of

SIZES = "--width 16 --heads 2 --feed-forward 32 --layers 2 --epochs 1 --max-tokens 32".split()
GOOD, BAD = ("lovely", "great", "fine"), ("awful", "dull", "sad")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    chance = random.Random(3)
    lines = ["text\tlabel"]
    for i in range(150):
        good = chance.random() < 0.5
        word = chance.choice(GOOD if good else BAD)
        lines.append(f"a {word} story, number {i}\t{'positive' if good else 'negative'}")
    path = tmp_path_factory.mktemp("data") / "stories.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def directory(
    request: pytest.FixtureRequest, data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    out = tmp_path_factory.mktemp("models") / "stories"
    assert main(["train", str(data), str(out), "--tokenizer", request.param, *SIZES]) == 0
    return out


def test_everything_is_there_and_nothing_else(directory: pathlib.Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_config_says_what_the_server_needs(directory: pathlib.Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == "bert"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["problem_type"] == "single_label_classification"
    assert config["classifier_pooling"] == "mean"
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    prefix = 1 if tokenizer.token_to_id("[CLS]") is not None else 0
    assert config["context_pool"]["num_prefix_tokens"] == prefix
    assert config["vocab_size"] == tokenizer.get_vocab_size()


def test_weights_are_float16_with_the_layers_own_names(directory: pathlib.Path) -> None:
    weights = load_file(directory / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float16)}
    for layer in range(2):
        name = f"bert.encoder.layer.{layer}.context_pool.conv1.weight"
        assert weights[name].shape == (32, 16, 3)


def test_golden_values_are_those_of_the_stored_weights(directory: pathlib.Path) -> None:
    golden = load_file(directory / "golden.safetensors")
    ends = golden["cu_lengths"]
    count = len(ends) - 1
    assert golden["input_ids"].dtype == ends.dtype == np.int32
    assert golden["embedding"].shape == (count, 16)
    assert golden["logits"].shape == (count, 2)
    assert ends[0] == 0 and ends[-1] == len(golden["input_ids"]) and (np.diff(ends) > 0).all()
    # As one padded batch in float32: the golden values came one by one in float64.
    model = bert.load(directory)
    longest = int(np.diff(ends).max())
    ids, mask = torch.zeros(2, count, longest, dtype=torch.int64)
    for row in range(count):
        length = ends[row + 1] - ends[row]
        ids[row, :length] = torch.from_numpy(golden["input_ids"][ends[row] : ends[row + 1]])
        mask[row, :length] = 1
    with torch.no_grad():
        output = model(ids, attention_mask=mask, output_hidden_states=True)
    mean = bert.mean_of(output.hidden_states[-1], mask.bool())
    np.testing.assert_allclose(output.logits.numpy(), golden["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(mean.numpy(), golden["embedding"], rtol=0, atol=1e-5)


def test_golden_values_notice_a_changed_weight(
    directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    from contextpool_training.export import golden

    weights = bert.load(directory).state_dict()
    assert weights["bert.encoder.layer.0.context_pool.conv2.bias"].abs().sum() > 0
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    from safetensors.torch import save_file

    changed = {name: value.half().contiguous() for name, value in weights.items()}
    changed["bert.encoder.layer.0.context_pool.conv2.bias"] += 1
    save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    texts = ["a lovely story, number 5"]
    before, after = golden(directory, texts), golden(tmp_path, texts)
    assert torch.equal(before["input_ids"], after["input_ids"])
    for name in ("embedding", "logits"):
        assert (before[name] - after[name]).abs().max() > 1e-5


def test_the_same_command_writes_the_same_bytes(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for name in ("one/stories", "two/stories"):
        assert main(["train", str(data), str(tmp_path / name), *SIZES]) == 0
    for name in FILES:
        if name != "README.md":  # it names the folder
            one, two = ((tmp_path / f / "stories" / name).read_bytes() for f in ("one", "two"))
            assert one == two, name


def test_the_card_has_scores_and_the_command(directory: pathlib.Path) -> None:
    card = (directory / "README.md").read_text()
    assert "test scores | accuracy 0." in card or "test scores | accuracy 1." in card
    assert "python -m contextpool_training train" in card
    assert "--width 16 \\\n" in card
    assert "stories.tsv stories \\\n" in card and str(directory.parent) not in card
    assert "validation accuracy is that of the float32 weights" in card


def test_the_command_of_the_card_makes_the_same_model(
    directory: pathlib.Path, data: pathlib.Path, tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    card = (directory / "README.md").read_text()
    block = card[card.index("python -m contextpool_training train") :].split("\n\n")[0]
    words = shlex.split(block.replace("\\\n", " "))
    monkeypatch.chdir(tmp_path)
    (tmp_path / data.name).write_bytes(data.read_bytes())
    assert main(words[3:]) == 0
    for name in FILES:
        assert (tmp_path / "stories" / name).read_bytes() == (directory / name).read_bytes(), name


def test_texts_of_the_held_out_files_are_not_trained_on(
    data: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = data.read_text().splitlines()[1:]
    held_out = [row.replace(",", " ;") for row in rows[2:9]]
    files = {"validation": rows[:3], "test": [*held_out, rows[2]]}
    arguments = []
    for name, lines in files.items():
        path = tmp_path / f"{name}.tsv"
        path.write_text("\n".join(["text\tlabel", *lines]) + "\n")
        arguments += [f"--{name}", str(path)]
    args = parser().parse_args(["train", str(data), str(tmp_path / "out"), *arguments])
    splits, labels = train_command.read_splits(args)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 141, "validation": 2, "test": 7,
    }  # fmt: skip
    assert labels == ["negative", "positive"]
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/test.tsv: dropped 1, repeated",
        "validation texts: dropped 1, held out for test",
        "train texts: dropped 9, held out for validation or test",
    ]


def test_a_model_whose_values_are_not_finite_is_not_written(
    directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    model = bert.load(directory)
    assert isinstance(model, bert.BertForSequenceClassification)
    model.classifier.weight.data[0, 0] = float("inf")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    (tmp_path / "README.md").write_text("an older model")
    with pytest.raises(ValueError, match="golden logits is not finite"):
        export(tmp_path, model, tokenizer, ["a text"], "a card")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "an older model"


def test_context_pool_options_reach_the_model(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "model"
    values = '{"layers": [1], "r": 0.2, "residual": "add"}'
    assert main(["train", str(data), str(out), *SIZES, "--context-pool", values]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["context_pool"]["r"] == 0.2
    assert config["context_pool"]["layers"] == [1]
    assert len(context_pools_of(bert.load(out))) == 1


def test_errors_are_one_line(
    data: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.tsv"
    broken.write_text(data.read_text() + "no label\n")
    assert main(["train", str(broken), str(tmp_path / "out"), *SIZES]) == 1
    assert capsys.readouterr().err == (
        f"error: {broken}:152: 1 columns, but the first line has 2\n"
    )


def test_an_unknown_context_pool_key_is_named(
    data: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", str(data), str(tmp_path), "--context-pool", '{"kernel": 3}'])
    assert "context_pool.kernel is unknown" in capsys.readouterr().err


def test_spread_takes_short_and_long_texts() -> None:
    texts = ["x" * length for length in range(1, 101)]
    assert [len(text) for text in spread(texts, 4)] == [1, 34, 67, 100]
    assert spread(["only"], 8) == ["only"]
