"""Class scores over the wire."""

import math

import pytest

TEXT = "the book was not very good"


def scores(response):
    """Per input: {label: (score, logit or None)} in the order of the reply."""
    answers = []
    for result in response.results:
        assert result.WhichOneof("outcome") == "classification", result
        answers.append({entry.label: (entry.score, entry.logit if entry.HasField("logit") else None)
                        for entry in result.classification.scores})
    return answers


def test_softmax_of_the_logits_in_falling_order(client):
    answer = scores(client.classify([TEXT], logits=True))[0]
    assert set(answer) == {"negative", "neutral", "positive"}
    values = [score for score, _ in answer.values()]
    assert values == sorted(values, reverse=True)
    assert math.fsum(values) == pytest.approx(1, abs=1e-6)
    total = math.fsum(math.exp(logit) for _, logit in answer.values())
    for score, logit in answer.values():
        assert score == pytest.approx(math.exp(logit) / total, abs=1e-6)


def test_indices_are_those_of_the_model(client):
    labels = list(client.model.GetModel(get_model("sentiment")).model.labels)
    assert labels == ["negative", "neutral", "positive"]
    for entry in client.classify([TEXT]).results[0].classification.scores:
        assert labels[entry.index] == entry.label
        assert not entry.HasField("logit")


def get_model(name):
    from contextpool.v1 import model_pb2 as pb
    request = pb.GetModelRequest()
    request.model.name = name
    return request


def test_multi_label_is_a_sigmoid_of_each(client):
    for score, logit in scores(client.classify([TEXT], model="topics", logits=True))[0].values():
        assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_regression_is_the_number_itself(client):
    answer = scores(client.classify([TEXT], model="stars", logits=True))[0]
    (score, logit), = answer.values()
    assert list(answer) == ["stars"] and score == logit


def test_top_k(client):
    everything = list(scores(client.classify([TEXT]))[0])
    assert list(scores(client.classify([TEXT], top_k=2))[0]) == everything[:2]
    assert list(scores(client.classify([TEXT], top_k=100))[0]) == everything


def test_threshold_keeps_what_reaches_it(client):
    everything = scores(client.classify([TEXT], model="topics"))[0]
    ordered = [score for score, _ in everything.values()]
    kept = scores(client.classify([TEXT], model="topics", threshold=ordered[1]))[0]
    assert list(kept) == list(everything)[:2]
    assert scores(client.classify([TEXT], model="topics", threshold=1))[0] == {}


def test_label_filter_does_not_change_the_scores(client):
    everything = scores(client.classify([TEXT]))[0]
    some = scores(client.classify([TEXT], labels=["positive", "negative"]))[0]
    assert set(some) == {"positive", "negative"}
    for label, answer in some.items():
        assert answer[0] == pytest.approx(everything[label][0], abs=2e-6)


def test_alone_and_in_company_are_the_same(client):
    texts = [TEXT, "great", "", "a story " * 20, "awful film", "x y z " * 9]
    together = scores(client.classify(texts, logits=True))
    for text, expected in zip(texts, together, strict=True):
        alone = scores(client.classify([text], logits=True))[0]
        for label, (_, logit) in alone.items():
            assert logit == pytest.approx(expected[label][1], abs=1e-5)


def test_usage_counts_tokens(client):
    result = client.classify(["good " * 100]).results[0]
    assert (result.usage.tokens_used, result.usage.tokens_seen) == (64, 102)
    assert result.usage.truncated
