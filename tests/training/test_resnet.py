"""ResNet with ContextPool: where the pools stand, and what a directory means."""

import json
import pathlib
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from contextpool_training import resnet
from contextpool_training.pools import context_pools_of, load_checked
from contextpool_training.strided import Window, downsample
from vision import pictures, shaken

PLACES: list[Any] = [["stem"], ["final"], ["stem", "final"], "auto", "all", []]


def config(context_pool: dict[str, Any] | None = None) -> transformers.ResNetConfig:
    values: dict[str, Any] = {
        "embedding_size": 6, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic",
        "num_labels": 3,
    }  # fmt: skip
    if context_pool is not None:
        values["context_pool"] = {"bottleneck": 4, "r": 0.5, **context_pool}
    return transformers.ResNetConfig(**values)


def images() -> torch.Tensor:
    return pictures(2, 24, 33)


def test_without_context_pool_all_is_as_in_transformers() -> None:
    plain = shaken(transformers.ResNetForImageClassification(config()))
    ours = resnet.ResNetForImageClassification(config()).eval()
    ours.load_state_dict(plain.state_dict())
    wanted = plain(images(), output_hidden_states=True)
    found = ours(images(), output_hidden_states=True)
    assert torch.equal(found.logits, wanted.logits)
    for mine, theirs in zip(found.hidden_states, wanted.hidden_states, strict=True):
        assert torch.equal(mine, theirs)
    assert isinstance(ours(images(), return_dict=False), tuple)


@pytest.mark.parametrize("layers", PLACES, ids=str)
def test_pools_stand_exactly_in_the_places_asked_for(layers: Any) -> None:
    model = shaken(resnet.ResNetForImageClassification(config({"layers": layers})))
    plain = transformers.ResNetForImageClassification(config()).eval()
    report = plain.load_state_dict(model.state_dict(), strict=False)
    assert not report.missing_keys
    prefixes = {"stem": "resnet.embedder.context_pool.", "final": "resnet.context_pool."}
    where = prefixes if layers in ("auto", "all") else layers
    assert sorted(report.unexpected_keys) == sorted(
        prefixes[place] + name
        for place in where
        for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")
    )
    # From transformers' parts, with the pools put in their places by hand.
    features = plain.resnet.embedder.embedder(images())
    if "stem" in where:
        pool = model.resnet.embedder.context_pool
        assert plain.resnet.embedder.pooler(features).shape[2:] == (6, 9)
        features = downsample(pool, features, Window(3, 2, 1))
        assert features.shape[2:] == (6, 9)
    else:
        features = plain.resnet.embedder.pooler(features)
    features = plain.resnet.encoder(features)[0]
    if "final" in where:
        pooled = downsample(model.resnet.context_pool, features)
    else:
        pooled = plain.resnet.pooler(features)
    assert pooled.shape == (2, 12, 1, 1)
    torch.testing.assert_close(model(images()).logits, plain.classifier(pooled))
    torch.testing.assert_close(resnet.embedding_of(model, images()), pooled.flatten(1))


def test_a_saved_directory_gives_the_same_again(tmp_path: pathlib.Path) -> None:
    model = shaken(resnet.ResNetForImageClassification(config({"residual": "gate"})))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == ["ResNetForImageClassification"]
    assert saved["context_pool"] == {"bottleneck": 4, "r": 0.5, "residual": "gate"}
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["resnet.embedder.context_pool.conv1.weight"].shape == (4, 6, 3, 3)
    assert tensors["resnet.context_pool.conv1.weight"].shape == (4, 12, 3, 3)
    assert tensors["resnet.context_pool.gamma"].shape == (1,)
    cls, again = resnet.ResNetForImageClassification, transformers.ResNetConfig
    loaded = load_checked(cls, tmp_path, again.from_pretrained(tmp_path), torch.float32)
    assert torch.equal(loaded(images()).logits, model(images()).logits)
    plain = transformers.ResNetForImageClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(plain.resnet.embedder.embedder.convolution.weight,
                       model.resnet.embedder.embedder.convolution.weight)  # fmt: skip


def test_new_pools_start_like_new_modules() -> None:
    torch.manual_seed(0)
    model = resnet.ResNetForImageClassification(config({}))
    stem, final = sorted(context_pools_of(model), key=lambda pool: pool.dim)
    assert (stem.dim, final.dim) == (6, 12)
    for pool in (stem, final):
        assert pool.conv1.weight.std().item() == pytest.approx((3 * 9 * pool.dim) ** -0.5, rel=0.2)
        assert pool.conv2.weight.abs().max().item() <= 0.1 / (9 * 4) ** 0.5


def test_wrong_configs_are_refused_by_name() -> None:
    for values, name in (({"layers": [0]}, r"context_pool\.layers"),
                         ({"layers": ["final", "stem"]}, r"context_pool\.layers"),
                         ({"layers": ["head"]}, r"context_pool\.layers"),
                         ({"num_prefix_tokens": 1}, "num_prefix_tokens"),
                         ({"prefix_tokens": "pool"}, "prefix_tokens")):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            resnet.ResNetModel(config(values))
