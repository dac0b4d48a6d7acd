"""ViT with ContextPool: where the pools stand, and what a directory means."""

import json
import pathlib
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from contextpool_training import ContextPool, vit
from contextpool_training.pools import context_pools_of, load_checked, recorded_support
from vision import pictures, shaken

LAYERS = 3
HIDDEN = 16
# Of the pictures: 4 rows and 2 columns of patches.
SIZE = {"image_size": [8, 8], "patch_size": [2, 4]}
TENSORS = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")


def config(context_pool: dict[str, Any] | None = None, **others: Any) -> transformers.ViTConfig:
    values: dict[str, Any] = {
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "intermediate_size": 24, "num_labels": 3, **SIZE,
    }  # fmt: skip
    if context_pool is not None:
        values["context_pool"] = {"bottleneck": 4, **context_pool}
    return transformers.ViTConfig(**values, **others)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_without_context_pool_all_is_as_in_transformers(implementation: str) -> None:
    plain = shaken(transformers.ViTForImageClassification(config()))
    ours = vit.ViTForImageClassification(config()).eval()
    ours.load_state_dict(plain.state_dict())
    for model in (plain, ours):
        model.set_attn_implementation(implementation)
    wanted = plain(pictures(), output_hidden_states=True)
    found = ours(pictures(), output_hidden_states=True)
    assert torch.equal(found.logits, wanted.logits)
    for mine, theirs in zip(found.hidden_states, wanted.hidden_states, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("placement", ["after_attention", "after_layer"])
@pytest.mark.parametrize("layers", [[0], [0, 2], "all"])
def test_pools_stand_exactly_in_the_layers_asked_for(placement: str, layers: Any) -> None:
    model = shaken(vit.ViTModel(config({"layers": layers, "placement": placement})))
    plain = transformers.ViTModel(config()).eval()
    report = plain.load_state_dict(model.state_dict(), strict=False)
    assert not report.missing_keys
    where = range(LAYERS) if layers == "all" else layers
    assert sorted(report.unexpected_keys) == sorted(
        f"layers.{i}.context_pool.{name}" for i in where for name in TENSORS
    )
    hidden = model(pictures(), output_hidden_states=True).hidden_states
    for i in range(LAYERS):
        pool = model.layers[i].context_pool
        assert (pool is not None) == (i in where)
        wanted = by_parts(plain.layers[i], pool, placement, hidden[i])
        torch.testing.assert_close(hidden[i + 1], wanted, rtol=1e-5, atol=1e-5)


def by_parts(layer: Any, pool: ContextPool | None, placement: str, hidden: Tensor) -> Tensor:
    """A layer from transformers' parts, with the pool put between by hand."""
    hidden = layer.attention(layer.layernorm_before(hidden))[0] + hidden
    if pool is not None and placement == "after_attention":
        hidden = pool(hidden, None, (4, 2))
    hidden = layer.mlp(layer.layernorm_after(hidden)) + hidden
    return pool(hidden, None, (4, 2)) if pool is not None and placement == "after_layer" else hidden


@pytest.mark.parametrize(
    ("context_pool", "wanted"),
    [({}, (0, 1)), ({"layers": "all"}, (0, 1, 2)), ({"layers": [2]}, (2,)), ({"layers": []}, ())],
)
def test_auto_leaves_out_the_layer_that_nothing_reads(
    context_pool: dict[str, Any], wanted: tuple[int, ...]
) -> None:
    values = config(context_pool)
    model = vit.ViTForImageClassification(values)
    found = [i for i in range(LAYERS) if model.vit.layers[i].context_pool is not None]
    assert tuple(found) == wanted == vit.layers_of(values, classifies=True)
    if not context_pool:
        assert vit.layers_of(values) == (0, 1, 2)  # an encoder gives every token


def test_nothing_reads_the_last_pool_before_the_class_token() -> None:
    model = shaken(vit.ViTForImageClassification(config({"layers": "all"})))
    before = model(pictures()).logits
    shaken(model.vit.layers[-1].context_pool, seed=5)
    assert torch.equal(model(pictures()).logits, before)
    shaken(model.vit.layers[-2].context_pool, seed=5)
    assert not torch.allclose(model(pictures()).logits, before, atol=1e-4)


def test_the_class_token_passes_by() -> None:
    model = shaken(vit.ViTModel(config({})))
    with recorded_support(model) as found:
        model(pictures())
    assert [value.shape for value in found] == [(2, 2, 9)] * LAYERS
    for weight, size in found:
        assert not weight[:, 0].any() and not size[:, 0].any()
        assert weight[:, 1:].all() and size[:, 1:].all()
    assert not any(pool._forward_pre_hooks for pool in context_pools_of(model))


def test_a_saved_directory_has_the_names_of_hugging_face_and_gives_the_same_again(
    tmp_path: pathlib.Path,
) -> None:
    options = {"residual": "gate", "layers": [0, 1]}
    model = shaken(vit.ViTForImageClassification(config(options)))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == ["ViTForImageClassification"]
    assert saved["context_pool"] == {"bottleneck": 4, **options}
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["vit.encoder.layer.1.context_pool.gamma"].shape == (1,)
    assert tensors["vit.encoder.layer.1.context_pool.conv1.weight"].shape == (4, HIDDEN, 3, 3)
    assert tensors["vit.encoder.layer.2.attention.attention.query.weight"].shape == (HIDDEN, HIDDEN)
    again = load_checked(
        vit.ViTForImageClassification,
        tmp_path,
        transformers.ViTConfig.from_pretrained(tmp_path),
        torch.float32,
    )
    assert type(again) is vit.ViTForImageClassification
    assert torch.equal(again(pictures()).logits, model(pictures()).logits)


def test_the_rest_of_a_checkpoint_is_one_of_transformers(tmp_path: pathlib.Path) -> None:
    gate = {"residual": "gate", "layers": "all"}
    model = vit.ViTForImageClassification(config(gate)).eval()  # gamma is 0: the identity
    model.save_pretrained(tmp_path)
    plain = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(plain(pictures()).logits, model(pictures()).logits)


def test_a_new_model_starts_with_support_sizes_of_about_one_cell() -> None:
    torch.manual_seed(0)
    model = vit.ViTForImageClassification(config({"r": 0.5}))
    for pool in context_pools_of(model):
        assert pool.typical_length == 4
        assert pool.first_support_size == pytest.approx(1.0)
        assert pool.conv2.get_parameter("bias").tolist() == pytest.approx([0, 0])
        assert pool.conv2.weight.abs().max().item() <= 0.1 / (9 * 4) ** 0.5


def test_pools_that_a_checkpoint_lacks_start_anew(tmp_path: pathlib.Path) -> None:
    plain: Any = shaken(transformers.ViTForImageClassification(config()))
    plain.save_pretrained(tmp_path)
    model: Any = vit.ViTForImageClassification.from_pretrained(tmp_path, config=config({"r": 0.5}))
    for pool in context_pools_of(model):
        assert pool.conv2.get_parameter("bias").tolist() == pytest.approx([0, 0])
        assert pool.conv1.weight.std().item() == pytest.approx((3 * 9 * HIDDEN) ** -0.5, rel=0.2)
    assert torch.equal(model.classifier.weight, plain.classifier.weight)


def test_the_embedding_is_what_the_classifier_reads() -> None:
    model = shaken(vit.ViTForImageClassification(config({})))
    embedding = vit.embedding_of(model, pictures())
    assert embedding.shape == (2, HIDDEN)
    torch.testing.assert_close(model.classifier(embedding), model(pictures()).logits)


def test_wrong_configs_are_refused_by_name() -> None:
    for values, name in (({"layers": [3]}, "layer 3"), ({"layers": ["stem"]}, "'stem'"),
                         ({"prefix_tokens": "pool"}, "prefix_tokens"),
                         ({"size": 3}, r"context_pool\.size")):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            vit.ViTModel(config(values))
