"""What callers get wrong, and what they are told: code, field and index."""

import importlib

import grpc
import pytest

from harness import Code, embed_request, inputs, sentences

EMBED = "/contextpool.v1.EmbeddingService/Embed"
CLASSIFY = "/contextpool.v1.ClassificationService/Classify"
TOKENIZE = "/contextpool.v1.ModelService/Tokenize"


def refused(call, code, *parts):
    """The call fails as a whole, with this code and a message that has all the parts."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() == code, error.value.details()
    for part in parts:
        assert part in error.value.details()


def failed(result, code, *parts):
    """This one input failed."""
    assert result.WhichOneof("outcome") == "error"
    assert result.error.code == code.value[0], result.error
    for part in parts:
        assert part in result.error.message


def succeeded(result):
    assert result.WhichOneof("outcome") != "error", result.error
    return result


def test_empty_text_is_its_special_tokens(client):
    result = succeeded(client.embed([""]).results[0])
    assert result.usage.tokens_used == 2
    assert len(result.embedding.values) == 384


@pytest.mark.parametrize("text", [" ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b\u0000\u0007"])
def test_text_of_spaces_and_control_characters_equals_empty_text(client, text):
    empty, blank = client.embed(["", text]).results
    assert succeeded(blank).usage.tokens_used == 2
    assert list(blank.embedding.values) == pytest.approx(list(empty.embedding.values), abs=2e-6)


def test_a_megabyte_of_text_is_cut(client):
    text = ("many words " * 100_000)[:1_000_000]
    result = succeeded(client.embed([text]).results[0])
    assert result.usage.truncated
    assert result.usage.tokens_used == 256
    assert result.usage.tokens_seen > 180_000


def test_a_megabyte_without_a_space_is_one_unknown_word(client):
    result = succeeded(client.embed(["x" * 1_000_000]).results[0])
    assert result.usage.tokens_used == 3


def test_too_long_a_text_is_refused_alone_where_asked(client):
    from contextpool.v1 import types_pb2
    texts = ["short", "word " * 300, "also short"]
    results = client.embed(texts, truncation=types_pb2.TRUNCATION_REJECT).results
    succeeded(results[0])
    failed(results[1], Code.INVALID_ARGUMENT, "inputs[1].text", "302", "256")
    succeeded(results[2])


@pytest.mark.parametrize("method", [EMBED, CLASSIFY])
def test_invalid_utf8_names_its_place(client, method):
    # inputs = [{text: "ok"}, {text: <0xFF>}]
    message = b"\x12\x04\x0a\x02ok" + b"\x12\x03\x0a\x01\xff"
    refused(lambda: client.raw(method, message), Code.INVALID_ARGUMENT, "inputs[1].text", "UTF-8")


def test_invalid_utf8_in_tokenize_names_its_place(client):
    refused(lambda: client.raw(TOKENIZE, b"\x12\x01a\x12\x02\xc3\x28"), Code.INVALID_ARGUMENT,
            "texts[1]", "UTF-8")


def test_invalid_utf8_in_other_fields_names_the_field(client):
    message = b"\x0a\x03\x0a\x01\xff" + b"\x12\x04\x0a\x02ok"
    refused(lambda: client.raw(EMBED, message), Code.INVALID_ARGUMENT, "model.name", "UTF-8")


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x7f", b"\x12\x05\x0a\x09ab", b"\x0b" * 100,
                                  b"\x0b" * 100_000, b"\x00", b"\xff" * 20])
@pytest.mark.parametrize("method", [EMBED, CLASSIFY, TOKENIZE,
                                    "/contextpool.v1.ModelService/GetModel"])
def test_malformed_message(client, method, data):
    refused(lambda: client.raw(method, data), Code.INVALID_ARGUMENT, "malformed message")


@pytest.mark.parametrize("method, tag, field", [(EMBED, b"\x12", "inputs"),
                                                (CLASSIFY, b"\x12", "inputs"),
                                                (TOKENIZE, b"\x12", "texts")])
def test_millions_of_empty_inputs_cost_no_memory(server, client, method, tag, field):
    def memory():
        return server.metrics().value("process_resident_memory_bytes")

    before = memory()
    refused(lambda: client.raw(method, (tag + b"\x00") * (8 << 20)), Code.INVALID_ARGUMENT, field,
            str(8 << 20), "--max_inputs")
    assert memory() - before < 100e6


@pytest.mark.parametrize("call, field", [("embed", "inputs"), ("classify", "inputs"),
                                         ("tokenize", "texts")])
def test_no_inputs(client, call, field):
    refused(lambda: getattr(client, call)([]), Code.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("call, field", [("embed", "inputs"), ("classify", "inputs"),
                                         ("tokenize", "texts")])
def test_ten_thousand_inputs(client, call, field):
    refused(lambda: getattr(client, call)(["x"] * 10_000), Code.INVALID_ARGUMENT, field, "10000",
            "4096")


@pytest.mark.parametrize("call", ["embed", "classify", "tokenize"])
def test_unknown_model(client, call):
    refused(lambda: getattr(client, call)(["x"], model="no-such"), Code.NOT_FOUND, "no-such")


def test_unknown_version(client):
    request = embed_request(["x"])
    request.model.version = 7
    refused(lambda: client.embedding.Embed(request), Code.NOT_FOUND, "minilm", "7")
    request.model.version = -1
    refused(lambda: client.embedding.Embed(request), Code.INVALID_ARGUMENT, "model.version")


def test_failed_model_is_unavailable_with_its_reason(client):
    refused(lambda: client.embed(["x"], model="broken"), Code.UNAVAILABLE, "broken",
            "model.safetensors")


def test_no_name_lists_the_candidates(client):
    refused(lambda: client.embed(["x"], model=""), Code.INVALID_ARGUMENT, "minilm", "sentiment")


def test_classifying_needs_a_classifier(client):
    refused(lambda: client.classify(["x"], model="minilm"), Code.INVALID_ARGUMENT, "minilm")


@pytest.mark.parametrize("field, options", [("options.truncation", {"truncation": 99}),
                                            ("options.pooling", {"pooling": 99}),
                                            ("options.encoding", {"encoding": -1})])
def test_unknown_enum_value_in_options(client, field, options):
    refused(lambda: client.embed(["x"], **options), Code.INVALID_ARGUMENT, field,
            str(next(iter(options.values()))))


def test_unknown_enum_value_elsewhere(client):
    request = embed_request(["x"])
    request.priority = 42
    refused(lambda: client.embedding.Embed(request), Code.INVALID_ARGUMENT, "priority", "42")
    refused(lambda: client.classify(["x"], truncation=9), Code.INVALID_ARGUMENT,
            "options.truncation", "9")
    refused(lambda: client.tokenize(["x"], truncation=9), Code.INVALID_ARGUMENT, "truncation", "9")
    request = embed_request(["x"])
    refused(lambda: client.embedding.Embed(request, metadata=[("contextpool-priority", "urgent")]),
            Code.INVALID_ARGUMENT, "contextpool-priority", "urgent")


@pytest.mark.parametrize("call", ["embed", "classify"])
def test_an_image_for_a_text_model(client, call):
    refused(lambda: getattr(client, call)(["text", b"\xff\xd8\xff\xe0"]), Code.INVALID_ARGUMENT,
            "inputs[1].image")


@pytest.mark.parametrize("field, options", [("options.top_k", {"top_k": 0}),
                                            ("options.threshold", {"threshold": float("nan")}),
                                            ("options.threshold", {"threshold": float("inf")}),
                                            ("options.threshold", {"threshold": -0.1}),
                                            ("options.threshold", {"threshold": 1.1}),
                                            ("options.labels[1]", {"labels": ["neutral", "x"]})])
def test_out_of_range_option_of_classify(client, field, options):
    refused(lambda: client.classify(["x"], **options), Code.INVALID_ARGUMENT, field)


def test_out_of_range_option_of_embed(client):
    refused(lambda: client.embed(["x"], dimensions=100), Code.INVALID_ARGUMENT,
            "options.dimensions", "100")


@pytest.mark.parametrize("field, options", [("options.token_level", {"token_level": True}),
                                            ("options.prompt_name", {"prompt_name": "query"})])
def test_options_of_later_versions_are_refused_by_name(client, field, options):
    refused(lambda: client.embed(["x"], **options), Code.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("method, reply_type", [
    ("/contextpool.v1.EmbeddingService/EmbedStream", "embedding_pb2.EmbedStreamResponse"),
    ("/contextpool.v1.ClassificationService/ClassifyStream",
     "classification_pb2.ClassifyStreamResponse")])
def test_bad_messages_of_a_stream_are_answered_in_their_place(client, method, reply_type):
    module, name = reply_type.split(".")
    parse = getattr(importlib.import_module(f"contextpool.v1.{module}"), name).FromString
    call = client.channel.stream_stream(method, request_serializer=lambda x: x,
                                        response_deserializer=parse)
    replies = list(call(iter([b"", b"\x0a\x7fx", b"\x0a\x04\x0a\x02\xc0\x80"]), timeout=60))
    assert {reply.error.code for reply in replies} == {Code.INVALID_ARGUMENT.value[0]}
    for reply, part in zip(replies, ("inputs", "malformed message", "model.name"), strict=True):
        assert part in reply.error.message


def test_bad_inputs_fail_alone_beside_good_ones(client):
    from contextpool.v1 import types_pb2
    good = sentences(3)
    mixed = [good[0], [101, 30522, 102], types_pb2.Input(), [-1], good[1], [], [101] * 257,
             good[2]]
    results = client.embed(mixed).results
    failed(results[1], Code.INVALID_ARGUMENT, "inputs[1].token_ids", "30522")
    failed(results[2], Code.INVALID_ARGUMENT, "inputs[2]")
    failed(results[3], Code.INVALID_ARGUMENT, "inputs[3].token_ids", "-1")
    failed(results[5], Code.INVALID_ARGUMENT, "inputs[5].token_ids")
    failed(results[6], Code.INVALID_ARGUMENT, "inputs[6].token_ids", "257", "256")
    alone = client.embed(good).results
    for result, expected in zip((results[0], results[4], results[7]), alone, strict=True):
        values = list(succeeded(result).embedding.values)
        assert values == pytest.approx(list(expected.embedding.values), abs=2e-6)


def test_all_inputs_bad_is_still_an_answer(client):
    response = client.embed([[], [-5]])
    assert len(response.results) == 2
    failed(response.results[0], Code.INVALID_ARGUMENT, "inputs[0].token_ids")
    failed(response.results[1], Code.INVALID_ARGUMENT, "inputs[1].token_ids")


def test_a_message_over_the_limit(start_server, repository):
    server = start_server([repository / "sentiment"], "--max_message_bytes=1048576")
    client = server.client()
    client.embed(["x" * 500_000], model="sentiment")
    with pytest.raises(grpc.RpcError) as error:
        client.embed(["x" * 1_100_000], model="sentiment")
    assert error.value.code() == Code.INVALID_ARGUMENT
    assert "--max_message_bytes" in error.value.details()
    client.embed(inputs(["still", "serving"]), model="sentiment")
    client.close()
