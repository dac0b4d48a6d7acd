"""Tokenisers and batches of the trainer."""

import json
import pathlib
import random

import pytest
from tokenizers import Tokenizer

from contextpool_training.texts import (
    EncodedTexts,
    Example,
    byte_tokenizer,
    bytes_to_letters,
    cut_share,
    encode,
    prefix_tokens_in,
    read_tokenizer,
    train_wordpiece,
)

SENTENCES = [
    "The film was a quiet, careful triumph.",
    "A dull film: careless, and loud!",
    "Nobody was quiet in the film, nobody was dull.",
    "Café au lait, 東京, naïve — £5.",
]


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return train_wordpiece(SENTENCES * 3, 200)


def test_wordpiece_gives_back_lower_case_words(wordpiece: Tokenizer) -> None:
    ids = wordpiece.encode("The quiet FILM was dull").ids
    assert wordpiece.decode(ids) == "the quiet film was dull"
    assert wordpiece.id_to_token(ids[0]) == "[CLS]"
    assert wordpiece.id_to_token(ids[-1]) == "[SEP]"


def test_wordpiece_training_gives_the_same_vocabulary_again(wordpiece: Tokenizer) -> None:
    assert train_wordpiece(SENTENCES * 3, 200).to_str() == wordpiece.to_str()


@pytest.mark.parametrize("text", [*SENTENCES, "\t\x00 tab and nul \x7f", "\U0001d4b3 e\u0301 ﬁ"])
def test_bytes_are_the_lower_case_text_in_utf8(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text).ids
    assert bytes(token - 1 for token in ids) == text.lower().encode()
    assert tokenizer.decode(ids) == text.lower()


def test_byte_letters_are_those_of_the_tokenizers_library() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert sorted(bytes_to_letters()) == sorted(ByteLevel.alphabet())
    assert len(set(bytes_to_letters())) == 256


def test_byte_directory_has_the_form_that_the_server_reads() -> None:
    spec = json.loads(byte_tokenizer().to_str())
    assert spec["model"]["type"] == "BPE"
    assert spec["model"]["merges"] == []
    assert len(spec["model"]["vocab"]) == 257
    assert spec["pre_tokenizer"]["type"] == "ByteLevel"
    assert spec["pre_tokenizer"]["add_prefix_space"] is False
    assert spec["post_processor"] is None


@pytest.mark.parametrize("kind", ["wordpiece", "bytes"])
def test_a_stored_tokenizer_encodes_as_before(
    kind: str, wordpiece: Tokenizer, tmp_path: pathlib.Path
) -> None:
    tokenizer = wordpiece if kind == "wordpiece" else byte_tokenizer()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    stored = Tokenizer.from_file(str(path))
    assert encode(stored, SENTENCES, 64) == encode(tokenizer, SENTENCES, 64)


def test_over_long_texts_lose_their_end_and_keep_special_tokens(wordpiece: Tokenizer) -> None:
    whole = wordpiece.encode(SENTENCES[0]).ids
    assert encode(wordpiece, SENTENCES[:1], 6)[0] == [*whole[:5], whole[-1]]
    assert encode(byte_tokenizer(), ["abcdef"], 3)[0] == [ord(c) + 1 for c in "abc"]
    # Truncation is not written into the tokeniser.
    assert wordpiece.truncation is None


def test_prefix_tokens(wordpiece: Tokenizer) -> None:
    assert prefix_tokens_in(wordpiece) == 1
    assert prefix_tokens_in(byte_tokenizer()) == 0


def test_the_share_of_texts_that_lose_their_end() -> None:
    assert cut_share(byte_tokenizer(), ["a", "abc", "abcd", "é" * 2], 3) == 0.5
    assert cut_share(byte_tokenizer(), ["a", "abc"], 3) == 0


def test_a_damaged_tokenizer_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokeniser"):
        read_tokenizer(path)


def encoded(count: int = 50) -> EncodedTexts:
    chance = random.Random(5)
    examples = [Example("x" * chance.randint(1, 40), i % 2) for i in range(count)]
    return EncodedTexts(byte_tokenizer(), examples, 32)


def test_an_epoch_holds_every_text_once_in_batches_of_similar_length() -> None:
    texts = encoded()
    plan = texts.plan(8, random.Random(1))
    assert sorted(row for rows in plan for row in rows) == list(range(50))
    assert max(map(len, plan)) == 8
    spans = [max(len(texts.ids[i]) for i in b) - min(len(texts.ids[i]) for i in b) for b in plan]
    assert sum(spans) / len(spans) < 12
    assert texts.plan(8, random.Random(1)) == plan
    assert texts.plan(8, random.Random(2)) != plan


def test_batches_are_padded_on_the_right() -> None:
    texts = EncodedTexts(byte_tokenizer(), [Example("ab", 1), Example("a", 0)], 8)
    batch = texts.batch([0, 1])
    assert batch.ids.tolist() == [[98, 99], [98, 0]]
    assert batch.mask.tolist() == [[1, 1], [1, 0]]
    assert batch.labels.tolist() == [1, 0]


def test_token_dropout_hides_that_share() -> None:
    texts = encoded()
    texts.token_dropout = 0.25
    batch = texts.batch(list(range(50)), random.Random(1))
    tokens = int(batch.mask.sum())
    hidden = int((batch.mask.bool() & (batch.ids == texts.unknown)).sum())
    assert 0.18 < hidden / tokens < 0.32
