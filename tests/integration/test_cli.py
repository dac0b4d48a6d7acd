"""The command line client against the real server."""

import json

import numpy as np
import pytest

from harness import run_cli, sentences


@pytest.fixture
def cli(server):
    return lambda *arguments, **keywords: run_cli(*arguments, server=server.address, **keywords)


def json_lines(done, exit_code=0):
    assert done.returncode == exit_code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_embed_json_is_what_the_api_answers(cli, client):
    texts = ["A cat sits on the mat.", "", "naïve café"]
    expected = client.embed(texts).results
    for i, line in enumerate(json_lines(cli("embed", "-m", "minilm", "--json", *texts))):
        assert list(line) == ["index", "embedding", "tokens", "truncated"]
        assert (line["index"], line["truncated"]) == (i, False)
        assert line["tokens"] == expected[i].usage.tokens_used
        np.testing.assert_allclose(line["embedding"], expected[i].embedding.values, atol=2e-6)


def test_json_numbers_read_back_as_the_same_float32(cli):
    line = cli("embed", "-m", "minilm", "--json", "some text").stdout
    numbers = line[line.index("[") + 1:line.index("]")].split(",")
    assert len(numbers) == 384
    assert max(map(len, numbers)) <= 16, "longer than any float32 needs"


def test_embed_writes_npy(cli, client, tmp_path):
    file = tmp_path / "vectors.npy"
    texts = sentences(300, longest=8)
    (tmp_path / "texts.txt").write_text("\r\n".join(texts) + "\r\n")
    done = cli("embed", "-m", "minilm", "--input", tmp_path / "texts.txt", "--output", file)
    assert done.returncode == 0, done.stderr
    array = np.load(file)
    assert (array.shape, array.dtype) == ((300, 384), np.float32)
    expected = [result.embedding.values for result in client.embed(texts).results]
    np.testing.assert_allclose(array, expected, atol=2e-6)


def test_failed_inputs_are_nan_rows_and_errors(cli, tmp_path):
    file = tmp_path / "vectors.npy"
    done = cli("embed", "-m", "minilm", "--truncation", "reject", "--output", file, "fine",
               "long " * 300, "fine too")
    assert done.returncode == 1
    assert "input 1" in done.stderr and "INVALID_ARGUMENT" in done.stderr
    np.testing.assert_array_equal(np.isnan(np.load(file)).all(axis=1), [False, True, False])
    lines = json_lines(cli("embed", "-m", "minilm", "--truncation", "reject", "--json", "fine",
                           "long " * 300), exit_code=1)
    assert "embedding" in lines[0]
    assert lines[1]["index"] == 1
    assert lines[1]["error"]["code"] == "INVALID_ARGUMENT"
    assert "inputs[1].text" in lines[1]["error"]["message"]


def test_standard_input_one_text_a_line(cli):
    lines = json_lines(cli("tokenize", "-m", "minilm", "--json", "-", stdin="one\n\ntwo words\n"))
    assert [line["tokens"][1:-1] for line in lines] == [["one"], [], ["two", "words"]]
    assert lines[0]["ids"] == [101, 2028, 102]


def test_malformed_utf8_fails_alone(cli):
    lines = json_lines(cli("embed", "-m", "minilm", "--json", "-", stdin=b"ok\n\xff\xfe\nok\n"),
                       exit_code=1)
    assert ["error" in line for line in lines] == [False, True, False]
    assert lines[1]["error"]["code"] == "INVALID_ARGUMENT"


def test_classify(cli):
    line, = json_lines(cli("classify", "-m", "sentiment", "--json", "--logits", "a good book"))
    assert {entry["label"] for entry in line["scores"]} == {"negative", "neutral", "positive"}
    assert all("logit" in entry for entry in line["scores"])
    assert sum(entry["score"] for entry in line["scores"]) == pytest.approx(1, abs=1e-5)
    done = cli("classify", "-m", "stars", "a good book")
    assert done.returncode == 0 and "stars" in done.stdout
    done = cli("classify", "-m", "sentiment", "--top-k", "1", "a good book")
    assert len(done.stdout.splitlines()) == 2


def test_embed_for_people(cli):
    done = cli("embed", "-m", "minilm", "--similarity", "a cat", "a kitten")
    assert done.returncode == 0, done.stderr
    assert "384 dimensions, norm 1.0000" in done.stdout
    assert "cosine" in done.stdout and "1.000" in done.stdout
    assert "\x1b" not in done.stdout


def test_models(cli):
    done = cli("models")
    assert done.returncode == 0, done.stderr
    assert "minilm" in done.stdout and "failed" in done.stdout
    states = {line["name"]: line["state"] for line in json_lines(cli("models", "--json"))}
    assert states["minilm"] == "ready" and states["broken"] == "failed"
    line, = json_lines(cli("models", "-m", "stars", "--json"))
    assert (line["problem_type"], line["labels"]) == ("regression", ["stars"])


def test_exit_codes(cli):
    assert cli("embed", "-m", "no-such", "x").returncode == 1
    assert cli("embed", "-m", "minilm", "--dimensions", "5", "x").returncode == 1
    assert cli("embed", "--nonsense", "x").returncode == 2
    assert cli("embed").returncode == 2
    assert cli("--help").returncode == 0
    done = run_cli("embed", "--server", "localhost:1", "x")
    assert done.returncode == 1
    assert "cannot reach localhost:1: is the server running?" in done.stderr
    assert "script/server" in done.stderr


def test_thousands_of_texts_keep_their_numbers(cli):
    texts = sentences(3000, longest=2)
    lines = json_lines(cli("tokenize", "-m", "sentiment", "--json", "-", stdin="\n".join(texts)))
    assert [line["index"] for line in lines] == list(range(3000))
