"""BERT with ContextPool: where the pools stand, and what a directory means."""

import copy
import json
import pathlib
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from contextpool_training import ContextPool, bert
from contextpool_training.pools import context_pools_of, reset_context_pools
from contextpool_training.texts import prefix_tokens_in, read_tokenizer

LAYERS = 3
HIDDEN = 16


def config(context_pool: dict[str, Any] | None = None, **others: Any) -> transformers.BertConfig:
    values: dict[str, Any] = {
        "vocab_size": 40, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
        "num_labels": 3,
    }  # fmt: skip
    if context_pool is not None:
        values["context_pool"] = {"bottleneck": 4, "num_prefix_tokens": 1, **context_pool}
    return transformers.BertConfig(**values, **others)


def shaken(model: Any, seed: int = 0) -> Any:
    """Weights so large that everything shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 1.0 if "LayerNorm" not in name else 0.2
            parameter.copy_(float("LayerNorm.weight" in name) + scale * noise / 2)
    return model.eval()


def padded() -> tuple[Tensor, Tensor]:
    """Three sequences of 9, 4 and 1 tokens."""
    ids = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(9) < torch.tensor([[9], [4], [1]])).long()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_without_context_pool_all_is_as_in_transformers(implementation: str) -> None:
    plain = shaken(transformers.BertForSequenceClassification(config()))
    ours = bert.BertForSequenceClassification(config()).eval()
    ours.load_state_dict(plain.state_dict())
    for model in (plain, ours):
        model.set_attn_implementation(implementation)
    ids, mask = padded()
    wanted = plain(ids, attention_mask=mask, output_hidden_states=True)
    found = ours(ids, attention_mask=mask, output_hidden_states=True)
    assert torch.equal(found.logits, wanted.logits)
    for mine, theirs in zip(found.hidden_states, wanted.hidden_states, strict=True):
        assert torch.equal(mine, theirs)
    body = bert.BertModel(config()).eval()
    body.set_attn_implementation(implementation)
    body.load_state_dict(plain.bert.state_dict())
    assert torch.equal(body(ids, mask)[1], plain.bert(ids, mask)[1])
    assert isinstance(body(ids, mask, return_dict=False), tuple)


@pytest.mark.parametrize("placement", ["after_attention", "after_layer"])
@pytest.mark.parametrize("layers", [[0], [1], [0, 2], "all"])
def test_pools_stand_exactly_in_the_layers_asked_for(placement: str, layers: Any) -> None:
    model = shaken(bert.BertModel(config({"layers": layers, "placement": placement})))
    plain = transformers.BertModel(config()).eval()
    report = plain.load_state_dict(model.state_dict(), strict=False)
    assert not report.missing_keys
    where = range(LAYERS) if layers == "all" else layers
    tensors = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")
    assert sorted(report.unexpected_keys) == sorted(
        f"encoder.layer.{i}.context_pool.{name}" for i in where for name in tensors
    )
    ids, mask = padded()
    hidden = model(ids, mask, output_hidden_states=True).hidden_states
    bias = torch.where(mask.bool(), 0.0, float("-inf")).view(3, 1, 1, 9)
    for i in range(LAYERS):
        wanted = by_parts(plain.encoder.layer[i], model.encoder.layer[i].context_pool, placement,
                          hidden[i], mask.bool(), bias)  # fmt: skip
        real = mask.bool()
        torch.testing.assert_close(hidden[i + 1][real], wanted[real], rtol=1e-5, atol=1e-5)


def by_parts(
    layer: Any, pool: ContextPool | None, placement: str, hidden: Tensor, mask: Tensor, bias: Tensor
) -> Tensor:
    """A layer from transformers' parts, with the pool put between by hand."""
    hidden = layer.attention(hidden, bias)[0]
    if pool is not None and placement == "after_attention":
        hidden = pool(hidden, mask)
    hidden = layer.output(layer.intermediate(hidden), hidden)
    return pool(hidden, mask) if pool is not None and placement == "after_layer" else hidden


@pytest.mark.parametrize(
    ("context_pool", "others", "wanted"),
    [
        ({}, {}, (0, 1)),
        ({}, {"classifier_pooling": "cls"}, (0, 1)),
        ({}, {"classifier_pooling": "mean"}, (0, 1, 2)),
        ({"num_prefix_tokens": 0}, {}, (0, 1, 2)),
        ({"prefix_tokens": "pool"}, {}, (0, 1, 2)),
        ({"layers": "all"}, {}, (0, 1, 2)),
        ({"layers": [2]}, {}, (2,)),
        ({"layers": []}, {}, ()),
    ],
)
def test_auto_leaves_out_the_layer_that_nothing_reads(
    context_pool: dict[str, Any], others: dict[str, Any], wanted: tuple[int, ...]
) -> None:
    values = config(context_pool, **others)
    model = bert.BertForSequenceClassification(values)
    layers = model.bert.encoder.layer
    found = [i for i in range(LAYERS) if layers[i].context_pool is not None]
    assert tuple(found) == wanted == bert.layers_of(values, classifies=True)
    if context_pool.get("layers", "auto") == "auto":
        assert bert.layers_of(values) == (0, 1, 2)  # an encoder gives every token


def test_nothing_reads_the_last_pool_before_a_class_token() -> None:
    model = shaken(bert.BertForSequenceClassification(config({"layers": "all"})))
    ids, mask = padded()
    before = model(ids, attention_mask=mask).logits
    shaken(model.bert.encoder.layer[-1].context_pool, seed=5)
    assert torch.equal(model(ids, attention_mask=mask).logits, before)
    shaken(model.bert.encoder.layer[-2].context_pool, seed=5)
    assert not torch.allclose(model(ids, attention_mask=mask).logits[:2], before[:2], atol=1e-3)


@pytest.mark.parametrize("context_pool", [None, {}, {"placement": "after_layer"}])
def test_the_mean_of_all_tokens_enters_the_pooler(context_pool: dict[str, Any] | None) -> None:
    model = shaken(
        bert.BertForSequenceClassification(config(context_pool, classifier_pooling="mean"))
    )
    ids, mask = padded()
    found = model(ids, attention_mask=mask).logits
    for i, length in enumerate(mask.sum(dim=1)):
        hidden = model.bert(ids[i : i + 1, :length]).last_hidden_state[0]
        pooled = torch.tanh(model.bert.pooler.dense(hidden.mean(dim=0)))
        torch.testing.assert_close(found[i], model.classifier(pooled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("prefix_tokens", ["pass_through", "pool"])
def test_padding_changes_no_result(prefix: int, prefix_tokens: str) -> None:
    model = shaken(bert.BertForSequenceClassification(config(
        {"num_prefix_tokens": prefix, "prefix_tokens": prefix_tokens}, classifier_pooling="mean"
    ))).double()  # fmt: skip
    ids, mask = padded()
    found, support = model(ids, attention_mask=mask).logits, bert.support_of(model, ids, mask)
    for i, length in enumerate(mask.sum(dim=1)):
        alone = ids[i : i + 1, :length]
        torch.testing.assert_close(found[i : i + 1], model(alone).logits)
        torch.testing.assert_close(support[:, :, i : i + 1, :length], bert.support_of(model, alone))
        assert not support[:, :, i, length:].any()
        passed = 0 if prefix_tokens == "pool" else prefix
        assert not support[:, :, i, :passed].any() and support[:, :, 0, passed:].all()


def test_support_is_reported_layer_by_layer() -> None:
    model = shaken(bert.BertModel(config({"layers": [0, 2]})))
    ids, mask = padded()
    found = bert.support_of(model, ids, mask)
    assert found.shape == (2, 2, 3, 9)
    pool = model.encoder.layer[0].context_pool
    hidden = model.encoder.layer[0].attention(model.embeddings(ids[:1]))[0]
    torch.testing.assert_close(found[0, :, :1], torch.stack(pool.support(hidden)))
    assert not model._forward_pre_hooks and not pool._forward_pre_hooks
    assert bert.support_of(bert.BertModel(config()), ids).shape == (0, 2, 3, 9)


@pytest.mark.parametrize("classifies", [True, False])
def test_a_saved_directory_says_all_and_gives_the_same_again(
    classifies: bool, tmp_path: pathlib.Path
) -> None:
    cls = bert.BertForSequenceClassification if classifies else bert.BertModel
    options = {"residual": "gate", "size_activation": "softmax", "layers": [0, 1]}
    model = shaken(cls(config(options, classifier_pooling="mean")))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == [cls.__name__]
    assert saved["classifier_pooling"] == "mean"
    assert saved["context_pool"] == {"bottleneck": 4, "num_prefix_tokens": 1, **options}
    name = f"{'bert.' if classifies else ''}encoder.layer.1.context_pool.gamma"
    assert load_file(tmp_path / "model.safetensors")[name].shape == (1,)
    again = bert.load(tmp_path)
    assert type(again) is cls
    ids, mask = padded()
    assert torch.equal(again(ids, attention_mask=mask)[0], model(ids, attention_mask=mask)[0])
    wide = bert.load(tmp_path, torch.float64)
    assert {value.dtype for value in wide.parameters()} == {torch.float64}


def test_missing_and_strange_tensors_are_named(tmp_path: pathlib.Path) -> None:
    bert.BertForSequenceClassification(config({})).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "bert.encoder.layer.1.context_pool.conv2.bias"
    save_file({k: v for k, v in tensors.items() if k != name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks {name}"):
        bert.load(tmp_path)
    strange = "bert.encoder.layer.1.context_pool.gamma"
    save_file({**tensors, strange: torch.zeros(1)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=strange):
        bert.load(tmp_path)


def test_wrong_configs_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="layer 3"):
        bert.BertModel(config({"layers": [3]}))
    with pytest.raises(ValueError, match=r"context_pool\.size"):
        bert.BertModel(config({"size": 3}))
    with pytest.raises(ValueError, match="classifier_pooling"):
        bert.BertModel(config({}, classifier_pooling="max"))
    with pytest.raises(ValueError, match="is_decoder"):
        bert.BertModel(config({}, is_decoder=True))
    with pytest.raises(ValueError, match="attention_mask"):
        bert.BertModel(config({}))(*[torch.zeros(1, 4, dtype=torch.long)],
                                   attention_mask=torch.ones(1, 1, 4, 4))  # fmt: skip


def test_a_new_model_starts_like_a_new_pool_and_can_be_set_to_a_length() -> None:
    torch.manual_seed(0)
    model = bert.BertForSequenceClassification(config({}))
    pools = context_pools_of(model)
    assert len(pools) == 2
    for pool in pools:
        assert pool.conv1.weight.std().item() == pytest.approx(1 / (9 * HIDDEN) ** 0.5, rel=0.2)
        assert pool.conv2.weight.abs().max().item() <= 0.1 / (3 * 4) ** 0.5
        assert pool.conv2.get_parameter("bias").tolist() == pytest.approx([0, -0.788457])
    reset_context_pools(model, 200)
    assert pools[1].conv2.get_parameter("bias").tolist() == pytest.approx([0, -2.944439])


def test_pools_that_a_checkpoint_lacks_start_anew(tmp_path: pathlib.Path) -> None:
    plain = shaken(transformers.BertForSequenceClassification(config()))
    plain.save_pretrained(tmp_path)
    model = bert.BertForSequenceClassification.from_pretrained(tmp_path, config=config({}))
    for pool in context_pools_of(model):
        assert pool.conv2.get_parameter("bias").tolist() == pytest.approx([0, -0.788457])
        assert pool.conv1.weight.std().item() == pytest.approx(1 / (9 * HIDDEN) ** 0.5, rel=0.2)
    assert torch.equal(model.classifier.weight, plain.classifier.weight)


def test_pools_train() -> None:
    torch.manual_seed(0)
    model = bert.BertForSequenceClassification(config({"residual": "gate"}))
    start = copy.deepcopy(model.state_dict())
    ids, mask = padded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        loss = model(ids, attention_mask=mask, labels=torch.tensor([0, 1, 2])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = [name for name, value in model.state_dict().items()
             if "context_pool" in name and not torch.equal(value, start[name])]  # fmt: skip
    assert len(moved) == 2 * 5


def test_prefix_tokens_are_read_off_a_tokeniser(tmp_path: pathlib.Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    file = tmp_path / "tokenizer.json"
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    templates = {"": 0, "[CLS] $A [SEP]": 1, "[CLS] [CLS] $A": 2, "$A [SEP]": 0}
    for single, wanted in templates.items():
        if single:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=single, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
            )
        tokenizer.save(str(file))
        assert prefix_tokens_in(read_tokenizer(file)) == wanted
    model = bert.BertModel(config({"num_prefix_tokens": 2}))
    model.config.context_pool.pop("num_prefix_tokens")
    model.save_pretrained(tmp_path)
    tokenizer.save(str(file))
    assert {pool.prefix for pool in context_pools_of(bert.load(tmp_path))} == {0}
    file.unlink()
    with pytest.raises(ValueError, match="num_prefix_tokens"):
        bert.load(tmp_path)


def test_the_package_is_typed() -> None:
    assert (pathlib.Path(bert.__file__).parent / "py.typed").exists()
