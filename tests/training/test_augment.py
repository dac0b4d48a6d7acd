"""Inserting ContextPool changes nothing at first, and only adds."""

import argparse
import json
import os
import pathlib
import re
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, processors

from contextpool_training import ContextPoolOptions, Fixed, augment, bert
from contextpool_training.pools import context_pools_of

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
MINILM = pathlib.Path(
    os.environ.get(
        "CONTEXTPOOL_MINILM_DIR", CACHE / "contextpool-server" / "models" / "all-MiniLM-L6-v2"
    )
)


@pytest.fixture(params=["encoder", "classifier_f16"])
def directory(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory as transformers and sentence-transformers save it."""
    folder = tmp_path / "original"
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32, id2label={0: "bad", 1: "good", 2: "é"},
    )  # fmt: skip
    torch.manual_seed(0)
    if request.param == "encoder":
        transformers.BertModel(config).save_pretrained(folder)
    else:
        transformers.BertForSequenceClassification(config).half().save_pretrained(folder)
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("the same weights")
    return folder


def test_the_outputs_stay_the_same(directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "augmented"
    augment.augment(directory, out)
    before, after = bert.load(directory), bert.load(out)
    assert len(context_pools_of(after)) >= 2
    ids = torch.randint(0, 40, (4, 20))
    mask = (torch.arange(20) < torch.tensor([[20], [11], [2], [1]])).long()
    with torch.no_grad():
        first, second = before(ids, attention_mask=mask)[0], after(ids, attention_mask=mask)[0]
    real = mask.bool() if first.dim() == 3 else torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(second[real], first[real], rtol=0, atol=1e-6)
    after(ids, attention_mask=mask)[0].pow(3).sum().backward()
    for pool in context_pools_of(after):
        assert pool.gamma.grad is not None and pool.gamma.grad.any()


def test_it_only_adds(directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "augmented"
    layers = augment.augment(directory, out, ContextPoolOptions(bottleneck=4, layers=(0, 2)))
    assert layers == (0, 2)
    old, new = load_file(directory / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(new[name], value) for name, value in old.items())
    added = sorted(new.keys() - old.keys())
    assert len(added) == 2 * 5 and all("context_pool" in name for name in added)
    assert {new[name].dtype for name in added} == {value.dtype for value in old.values()}
    config = json.loads((out / "config.json").read_text())
    pool = config.pop("context_pool")
    assert config == json.loads((directory / "config.json").read_text())
    assert pool["residual"] == "gate" and pool["layers"] == [0, 2]
    assert pool["num_prefix_tokens"] == 1
    same = ["tokenizer.json", "modules.json", "1_Pooling/config.json"]
    assert all((out / name).read_bytes() == (directory / name).read_bytes() for name in same)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {*same, "config.json", "model.safetensors"}  # no other format's old weights
    with safe_open(out / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_same_seed_writes_the_same_bytes(
    directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        augment.augment(directory, tmp_path / name, seed=seed)
        written.append((tmp_path / name / "model.safetensors").read_bytes())
    assert written[0] == written[1] != written[2]


def test_the_command_line_sets_every_option(
    directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    parser = argparse.ArgumentParser()
    augment.add_arguments(parser)
    out = tmp_path / "augmented"
    augment.run(parser.parse_args([
        str(directory), str(out), "--r", "0.2", "--kernel-size", "5", "--bottleneck", "6",
        "--layers", "1", "--placement", "after_layer", "--activation", "relu",
        "--weight-activation", "exp", "--size-activation", "1.5", "--normalization", "mean",
        "--n-mode", "30", "--prefix-tokens", "pool", "--num-prefix-tokens", "1",
        "--typical-length", "50", "--seed", "3",
    ]))  # fmt: skip
    config = json.loads((out / "config.json").read_text())
    assert ContextPoolOptions.from_dict(config["context_pool"]) == ContextPoolOptions(
        layers=(1,), placement="after_layer", kernel_size=5, bottleneck=6, activation="relu",
        weight_activation="exp", size_activation=Fixed(1.5), normalization="mean", r=0.2,
        n_mode=Fixed(30), residual="gate", prefix_tokens="pool", num_prefix_tokens=1,
    )  # fmt: skip
    augment.run(parser.parse_args([str(directory), str(tmp_path / "defaults")]))
    config = json.loads((tmp_path / "defaults" / "config.json").read_text())
    classifies = "BertForSequenceClassification" in config["architectures"]
    assert config["context_pool"]["layers"] == ([0, 1] if classifies else [0, 1, 2])
    with pytest.raises(ValueError, match="--layers is few"):
        augment.run(parser.parse_args([str(directory), str(tmp_path / "x"), "--layers", "few"]))
    with pytest.raises(ValueError, match=r"context_pool\.n_mode"):
        augment.run(parser.parse_args([str(directory), str(tmp_path / "x"), "--n-mode", "few"]))


def edit(file: pathlib.Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_what_cannot_be_augmented_is_refused_before_anything_is_written(
    directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "augmented"

    def refused(match: str, **options: Any) -> None:
        with pytest.raises((ValueError, OSError), match=match):
            augment.augment(directory, out, ContextPoolOptions(**options))
        assert not out.exists()

    refused("layer 7", layers=(7,))
    (tmp_path / "augmented.partial").mkdir()
    refused(r"augmented\.partial exists")
    (tmp_path / "augmented.partial").rmdir()
    with pytest.raises(ValueError, match="--typical-length is 0"):
        augment.augment(directory, out, typical_length=0)
    config = directory / "config.json"
    text = config.read_text()
    edit(config, model_type="vit")
    refused("model_type")
    edit(config, model_type="bert", context_pool={})
    refused("context_pool already")
    config.unlink()
    refused(r"config\.json")
    config.write_text(text)
    (directory / "tokenizer.json").unlink()
    refused("--num-prefix-tokens")
    weights = directory / "model.safetensors"
    save_file({"other": torch.zeros(1)}, weights)
    refused(r"encoder\.layer\.0\.attention", num_prefix_tokens=1)
    weights.unlink()
    refused(r"model\.safetensors is missing", num_prefix_tokens=1)
    out.mkdir()
    with pytest.raises(ValueError, match="exists"):
        augment.augment(directory, out)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\x00" * 20),
        ("model.safetensors", b""),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "\xe9"}'),
        ("config.json", b"[" * 100_000),
        ("config.json", b'{"model_type": "bert", "hidden_size": "wide"}'),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_damaged_file_is_named(
    name: str, content: bytes, directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (directory / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(directory / name))):
        augment.augment(directory, tmp_path / "augmented")
    assert not (tmp_path / "augmented").exists()


def test_auto_layers_that_are_none_are_refused_with_advice(tmp_path: pathlib.Path) -> None:
    folder, out = tmp_path / "small", tmp_path / "augmented"
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"auto chooses none of .*--layers all with --prefix"):
        augment.augment(folder, out, ContextPoolOptions(num_prefix_tokens=1))
    assert augment.augment(folder, out, ContextPoolOptions(prefix_tokens="pool")) == (0,)


def test_nothing_is_left_of_a_copy_that_fails(
    directory: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(augment, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        augment.augment(directory, tmp_path / "augmented")
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


@pytest.mark.skipif(not (MINILM / "model.safetensors").exists(), reason=f"no model in {MINILM}")
def test_an_augmented_minilm_gives_its_own_embeddings(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "minilm"
    assert augment.augment(MINILM, out) == (0, 1, 2, 3, 4, 5)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.no_padding()
    texts = ["Seven bridges cross the quiet river.", "A", "unbelievable " * 60]
    before, after = bert.load(MINILM), bert.load(out)
    worst = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            pair = [model(ids).last_hidden_state[0].mean(dim=0) for model in (before, after)]
        first, second = (torch.nn.functional.normalize(mean, dim=0).numpy() for mean in pair)
        worst = max(worst, float(np.abs(first - second).max()))
    assert worst <= 1e-6
