"""What ContextPool chose, over the wire, on the metrics page and in the terminal."""

import json
import random

import numpy as np
import pytest
from safetensors.numpy import load_file

import tiny_models
from harness import Code, run_cli
from numpy_bert import Bert
from test_bad_input import failed, refused

TEXT = "the book was not very good"
SIZES = "contextpool_context_pool_support_size_tokens"


@pytest.fixture(scope="module")
def reference(repository):
    tensors = load_file(repository / "pooled" / "model.safetensors")
    return Bert(tensors, tiny_models.LAYERS, heads=2, pooled_layers=[0, 1], prefix=1)


def check(explanation, ids, reference):
    """The numbers are those of the reference for these ids."""
    assert [layer.layer for layer in explanation.layers] == [0, 1]
    for layer, (weight, size) in zip(explanation.layers, reference.explain(ids), strict=True):
        assert len(layer.weight) == len(ids)
        np.testing.assert_allclose(layer.weight, weight, atol=2e-5)
        np.testing.assert_allclose(layer.support_size, size, atol=1e-4)


def test_tokens_weights_and_sizes_are_those_of_the_formula(client, reference):
    texts = [TEXT, "", "good", "a great story " * 6, "bad film, awful book!", "x y z " * 50]
    results = client.classify(texts, model="pooled", explain=True).results
    tokens = client.tokenize(texts, model="pooled").results
    for result, expected in zip(results, tokens, strict=True):
        assert list(result.explanation.tokens) == list(expected.tokens.tokens)
        check(result.explanation, list(expected.tokens.ids), reference)
        # [CLS] is passed through.
        assert result.explanation.layers[0].weight[0] == 0
        assert result.explanation.layers[0].support_size[0] == 0
    assert results[5].usage.truncated and len(results[5].explanation.tokens) == 64


def test_embeddings_are_explained_by_the_same_numbers(client, reference):
    ids = list(client.tokenize([TEXT], model="pooled").results[0].tokens.ids)
    results = client.embed([TEXT, ids, ids[1:4]], model="pooled", explain=True).results
    for result, expected in zip(results, [ids, ids, ids[1:4]], strict=True):
        assert len(result.embedding.values) == tiny_models.HIDDEN
        check(result.explanation, expected, reference)


def test_explaining_changes_no_answer(client):
    plain = client.classify([TEXT], model="pooled", logits=True)
    explained = client.classify([TEXT], model="pooled", logits=True, explain=True)
    assert not plain.results[0].HasField("explanation")
    assert plain.results[0].classification == explained.results[0].classification


def test_many_inputs_over_several_batches(client, reference):
    rng = random.Random(5)
    texts = [" ".join(rng.choices(tiny_models.WORDS, k=rng.randint(1, 60))) for _ in range(300)]
    tokens = client.tokenize(texts, model="pooled").results
    results = client.embed(texts, model="pooled", explain=True).results
    assert sum(result.usage.tokens_used for result in results) > 4 * 1536
    for result, expected in zip(results, tokens, strict=True):
        check(result.explanation, list(expected.tokens.ids), reference)


def test_concurrent_callers_get_what_they_asked_for(client, reference):
    from contextpool.v1 import embedding_pb2 as pb
    from harness import inputs
    texts = [" ".join(tiny_models.WORDS[i % 9:i % 9 + 1 + i % 7]) for i in range(120)]
    tokens = client.tokenize(texts, model="pooled").results
    calls = []
    for i, text in enumerate(texts):
        request = pb.EmbedRequest(inputs=inputs([text]),
                                  options=pb.EmbedOptions(explain=i % 3 == 0))
        request.model.name = "pooled"
        calls.append(client.embedding.Embed.future(request, timeout=60))
    for i, call in enumerate(calls):
        result = call.result().results[0]
        assert result.HasField("explanation") == (i % 3 == 0)
        if i % 3 == 0:
            check(result.explanation, list(tokens[i].tokens.ids), reference)


def test_failed_inputs_explain_nothing(client, reference):
    results = client.embed([TEXT, [1, 10**6], "good"], model="pooled", explain=True).results
    failed(results[1], Code.INVALID_ARGUMENT, "inputs[1].token_ids")
    assert not results[1].HasField("explanation")
    assert len(results[0].explanation.layers) == len(results[2].explanation.layers) == 2


@pytest.mark.parametrize("call, model", [("embed", "minilm"), ("embed", "sentiment"),
                                         ("classify", "sentiment")])
def test_models_without_context_pool_have_nothing_to_explain(client, call, model):
    refused(lambda: getattr(client, call)(["x"], model=model, explain=True),
            Code.INVALID_ARGUMENT, "options.explain", f'"{model}"')


def test_get_model_lists_the_layers(client):
    from contextpool.v1 import model_pb2 as pb
    request = pb.GetModelRequest()
    request.model.name = "pooled"
    assert list(client.model.GetModel(request).model.context_pool_layers) == [0, 1]


def buckets(page, layer):
    """Tokens up to each size, by size."""
    found = {}
    for (series, labels), count in page.samples.items():
        if series == f"{SIZES}_bucket" and ("layer", str(layer)) in labels:
            found[float(dict(labels)["le"])] = count
    assert len(found) > 30
    return found


def test_metrics_sample_the_first_batch_and_every_64th_after_it(start_server, repository, tmp_path,
                                                                reference):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "pooled").symlink_to(repository / "pooled")
    server = start_server([folder])
    for layer in "01":
        assert server.metrics().value(f"{SIZES}_count", model="pooled", layer=layer) == 0
    assert server.metrics().value("contextpool_context_pool_skipped_tiles_ratio") == 0
    assert server.metrics().value("contextpool_context_pool_tiles_total", result="skipped") == 0
    client = server.client()
    ids = list(client.tokenize([TEXT], model="pooled").results[0].tokens.ids)
    for i in range(66):
        client.embed([TEXT], model="pooled")
        # Callers do not wait for a sample to be counted; the next batch does.
        if i in (1, 63, 65):
            page = server.metrics()
            samples = 1 + i // 64
            for layer, (_, size) in enumerate(reference.explain(ids)):
                labels = {"model": "pooled", "layer": str(layer)}
                assert page.value(f"{SIZES}_count", **labels) == samples * (len(ids) - 1)
                assert page.value(f"{SIZES}_sum", **labels) == pytest.approx(samples * size.sum(),
                                                                             rel=1e-4)
                assert page.value(f"{SIZES}_bucket", le="+Inf", **labels) == samples * (len(ids) - 1)
                for bound, count in buckets(page, layer).items():
                    assert count == samples * (size[1:] <= bound).sum()
            assert page.value("contextpool_context_pool_tiles_total", result="computed") > 0
    client.close()


def test_plain_models_have_no_context_pool_series(server):
    series = [labels for name, labels in server.metrics().samples if name == f"{SIZES}_count"]
    assert {dict(labels)["model"] for labels in series} == {"pooled"}


def test_cli_draws_every_layer_and_prints_every_number(server, client):
    done = run_cli("classify", "-m", "pooled", "--explain", TEXT, server=server.address)
    assert done.returncode == 0, done.stderr
    assert "   layer 0   weights " in done.stdout and "   layer 1   weights " in done.stdout
    assert done.stdout.count("[CLS] the book was not very good [SEP]\n") == 2
    assert "bar: how much a token counts" in done.stdout and "\x1b" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())

    done = run_cli("embed", "-m", "pooled", "--explain", "--json", TEXT, server=server.address)
    explanation = json.loads(done.stdout)["explanation"]
    expected = client.embed([TEXT], model="pooled", explain=True).results[0].explanation
    assert explanation["tokens"] == list(expected.tokens)
    for layer, wire in zip(explanation["layers"], expected.layers, strict=True):
        assert layer["layer"] == wire.layer
        np.testing.assert_allclose(layer["weight"], wire.weight, rtol=1e-6)
        np.testing.assert_allclose(layer["support_size"], wire.support_size, rtol=1e-6)


def test_cli_says_which_model_cannot_explain(server):
    done = run_cli("classify", "-m", "sentiment", "--explain", TEXT, server=server.address)
    assert done.returncode == 1
    assert "options.explain" in done.stderr and "sentiment" in done.stderr
