"""Embeddings over the wire."""

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness import sentences

TOLERANCE = 2e-6


def vectors(response):
    for result in response.results:
        assert result.WhichOneof("outcome") == "embedding", result
    return np.array([result.embedding.values for result in response.results], np.float32)


def test_reply_describes_itself(client):
    response = client.embed(["A cat sits on the mat."])
    assert (response.model.name, response.model.version) == ("minilm", 1)
    result = response.results[0]
    assert (result.embedding.dimensions, result.embedding.vectors) == (384, 1)
    assert result.usage.tokens_used == result.usage.tokens_seen == 9
    assert not result.usage.truncated
    timing = response.timing
    assert 0 < timing.compute_ns < timing.total_ns
    assert timing.decode_ns + timing.queue_ns < timing.total_ns


def test_similar_texts_are_near(client):
    cat, kitten, market = vectors(client.embed([
        "A cat sits on the mat.", "A kitten rests on the rug.", "The stock market fell today."]))
    assert cat @ kitten > 0.5 > 0.2 > cat @ market
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)


def test_concurrent_clients_get_what_they_get_alone(server):
    texts = [sentences(4, seed=i, longest=12 * (1 + i % 8)) for i in range(32)]
    clients = [server.client() for _ in texts]
    alone = [vectors(client.embed(text)) for client, text in zip(clients, texts)]
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(2):
            together = pool.map(lambda pair: vectors(pair[0].embed(pair[1])), zip(clients, texts))
            for expected, got in zip(alone, together, strict=True):
                np.testing.assert_allclose(got, expected, atol=TOLERANCE, rtol=0)
    for client in clients:
        client.close()


def test_order_and_company_do_not_matter(client):
    texts = sentences(40, seed=99)
    together = vectors(client.embed(texts))
    backwards = vectors(client.embed(texts[::-1]))[::-1]
    alone = np.concatenate([vectors(client.embed([text])) for text in texts[:8]])
    np.testing.assert_allclose(backwards, together, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(alone, together[:8], atol=TOLERANCE, rtol=0)


def test_token_ids_are_used_as_given(client):
    text = "unaffable transformers"
    ids = list(client.tokenize([text]).results[0].tokens.ids)
    by_text, by_ids, bare = vectors(client.embed([text, ids, ids[1:-1]]))
    np.testing.assert_allclose(by_ids, by_text, atol=TOLERANCE, rtol=0)
    assert np.abs(bare - by_text).max() > 1e-3


def test_truncation_keeps_the_side_asked_for(client):
    from contextpool.v1 import types_pb2
    start, end = "river " * 254, "quiet " * 254
    first, last = vectors(client.embed([start, end]))
    default, right = (
        vectors(client.embed([start + end], **options))[0]
        for options in ({}, {"truncation": types_pb2.TRUNCATION_RIGHT}))
    response = client.embed([start + end], truncation=types_pb2.TRUNCATION_LEFT)
    np.testing.assert_allclose(default, first, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(right, first, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(vectors(response)[0], last, atol=TOLERANCE, rtol=0)
    usage = response.results[0].usage
    assert (usage.truncated, usage.tokens_used, usage.tokens_seen) == (True, 256, 510)


def test_normalize_scales_only(client):
    plain = vectors(client.embed(["some text"], normalize=False))[0]
    unit = vectors(client.embed(["some text"], normalize=True))[0]
    default = vectors(client.embed(["some text"]))[0]
    assert abs(np.linalg.norm(plain) - 1) > 1e-2
    np.testing.assert_allclose(plain / np.linalg.norm(plain), unit, atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(default, unit)


def test_poolings_differ_and_mean_is_the_default(client):
    from contextpool.v1 import types_pb2
    pooled = {name: vectors(client.embed(["some longer text"], pooling=value))[0]
              for name, value in types_pb2.Pooling.items()}
    np.testing.assert_array_equal(pooled["POOLING_UNSPECIFIED"], pooled["POOLING_MEAN"])
    kinds = ["POOLING_MEAN", "POOLING_CLS", "POOLING_MAX", "POOLING_LAST_TOKEN"]
    for i, one in enumerate(kinds):
        for other in kinds[i + 1:]:
            assert np.abs(pooled[one] - pooled[other]).max() > 1e-3, (one, other)


def bfloat16(data):
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def test_encodings_carry_the_same_vector(client):
    from contextpool.v1 import embedding_pb2 as pb
    exact = vectors(client.embed(["some text"]))[0]

    def encoded(encoding):
        embedding = client.embed(["some text"], encoding=encoding).results[0].embedding
        assert (embedding.encoding, embedding.dimensions) == (encoding, 384)
        assert not embedding.values
        return embedding

    half = np.frombuffer(encoded(pb.EMBEDDING_ENCODING_FLOAT16).data, "<f2")
    np.testing.assert_allclose(half, exact, rtol=1e-3, atol=1e-6)
    brain = bfloat16(encoded(pb.EMBEDDING_ENCODING_BFLOAT16).data)
    np.testing.assert_allclose(brain, exact, rtol=8e-3, atol=1e-6)
    int8 = encoded(pb.EMBEDDING_ENCODING_INT8)
    np.testing.assert_allclose(np.frombuffer(int8.data, np.int8) * int8.scales[0], exact,
                               atol=int8.scales[0] * 0.51)
    bits = np.unpackbits(np.frombuffer(encoded(pb.EMBEDDING_ENCODING_BINARY).data, np.uint8))
    np.testing.assert_array_equal(bits.astype(bool), exact > 0)


def test_bulk_and_interactive_get_the_same(client):
    from contextpool.v1 import types_pb2
    from harness import embed_request
    requests = []
    for priority in (types_pb2.PRIORITY_INTERACTIVE, types_pb2.PRIORITY_BULK):
        requests.append(embed_request(["text"]))
        requests[-1].priority = priority
    one, other = (vectors(client.embedding.Embed(request)) for request in requests)
    np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=0)


def test_a_classifier_embeds_too(client):
    result = client.embed(["a good book"], model="sentiment").results[0]
    assert result.embedding.dimensions == 32
    assert all(map(np.isfinite, struct.unpack("<32f", np.float32(
        result.embedding.values).tobytes())))
