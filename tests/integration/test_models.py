"""What the server says of its models, and how it tokenises."""

import json

import grpc
import pytest
from tokenizers import Tokenizer

from harness import MINILM, Code, sentences


def list_models(client):
    from contextpool.v1 import model_pb2 as pb
    return {model.ref.name: model for model in client.model.ListModels(pb.ListModelsRequest()).models}


def test_list_models_shows_all_sorted(client):
    names = list(list_models(client))
    assert names == ["broken", "minilm", "pooled", "sentiment", "stars", "topics"]


def test_a_damaged_model_fails_with_its_reason_and_the_others_serve(client):
    from contextpool.v1 import model_pb2 as pb
    models = list_models(client)
    assert models["broken"].state == pb.MODEL_STATE_FAILED
    assert "model.safetensors" in models["broken"].reason
    for name in ("minilm", "pooled", "sentiment", "stars", "topics"):
        assert models[name].state == pb.MODEL_STATE_READY, models[name]
        assert models[name].reason == ""


def test_an_encoder_is_described(client):
    from contextpool.v1 import model_pb2 as pb, types_pb2
    model = list_models(client)["minilm"]
    assert model.ref.version == 1
    assert model.architecture == "BertModel"
    assert list(model.tasks) == [pb.TASK_EMBED]
    assert model.modality == pb.MODALITY_TEXT
    assert (model.embedding_dimensions, model.layers, model.max_tokens) == (384, 6, 256)
    assert (model.pooling, model.normalize) == (types_pb2.POOLING_MEAN, True)
    assert model.vocabulary_size == 30522
    assert not model.labels and not model.context_pool_layers
    assert (model.dtype, model.device) == ("float32", "cpu")
    assert model.weight_bytes > 80_000_000
    assert 0 < model.load_seconds < 60


@pytest.mark.parametrize("name, kind, labels", [
    ("sentiment", "SINGLE_LABEL", 3), ("topics", "MULTI_LABEL", 4), ("stars", "REGRESSION", 1)])
def test_a_classifier_is_described(client, name, kind, labels):
    from contextpool.v1 import model_pb2 as pb
    request = pb.GetModelRequest()
    request.model.name = name
    model = client.model.GetModel(request).model
    assert model.problem_type == pb.ProblemType.Value(f"PROBLEM_TYPE_{kind}")
    assert len(model.labels) == labels
    assert set(model.tasks) == {pb.TASK_EMBED, pb.TASK_CLASSIFY}
    assert model.max_tokens == 64


def test_get_model_of_an_unknown_name(client):
    from contextpool.v1 import model_pb2 as pb
    request = pb.GetModelRequest()
    request.model.name = "nobody"
    with pytest.raises(grpc.RpcError) as error:
        client.model.GetModel(request)
    assert error.value.code() == Code.NOT_FOUND
    assert "nobody" in error.value.details()


@pytest.fixture(scope="module")
def reference():
    """Hugging Face's tokeniser without what its export left behind."""
    definition = json.loads((MINILM / "tokenizer.json").read_text())
    definition["truncation"] = definition["padding"] = None
    return Tokenizer.from_str(json.dumps(definition))


TEXTS = ["", "Hello, world!", "naïve café", "日本語 text", "[CLS] inside [MASK]", "a\u0301\u0327b",
         "🤦🏽‍♀️ 👨‍👩‍👧", "x" * 101, "don't-stop_it", "Ångström ＦＵＬＬ", "\u200bzero\u00adwidth", "İstanbul ǅ"]


def test_tokens_are_those_of_hugging_face(client, reference):
    texts = TEXTS + sentences(50)
    for text, result in zip(texts, client.tokenize(texts).results, strict=True):
        expected = reference.encode(text)
        assert list(result.tokens.ids) == expected.ids, text
        assert list(result.tokens.tokens) == expected.tokens, text
        assert result.usage.tokens_used == len(expected.ids)


def test_tokenize_without_special_tokens(client, reference):
    results = client.tokenize(TEXTS, without_special_tokens=True).results
    for text, result in zip(TEXTS, results, strict=True):
        assert list(result.tokens.ids) == reference.encode(text, add_special_tokens=False).ids


def test_tokenize_cuts_like_embed(client, reference):
    from contextpool.v1 import types_pb2
    text = "one two three " * 100
    ids = reference.encode(text).ids
    right, left = (
        client.tokenize([text], truncation=mode).results[0]
        for mode in (types_pb2.TRUNCATION_RIGHT, types_pb2.TRUNCATION_LEFT))
    assert list(right.tokens.ids) == ids[:255] + ids[-1:]
    assert list(left.tokens.ids) == ids[:1] + ids[-255:]
    assert right.usage.tokens_seen == len(ids)
    rejected = client.tokenize([text, "short"], truncation=types_pb2.TRUNCATION_REJECT).results
    assert rejected[0].error.code == Code.INVALID_ARGUMENT.value[0]
    assert "texts[0]" in rejected[0].error.message
    assert list(rejected[1].tokens.tokens) == ["[CLS]", "short", "[SEP]"]
