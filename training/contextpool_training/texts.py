"""Texts as token ids: tokenisers that the server reads, and padded batches."""

import dataclasses
import hashlib
import json
import pathlib
import random
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor

TokenizerKind: TypeAlias = Literal["wordpiece", "bytes"]
PAD_ID = 0
_BYTES_PAD = "<pad>"
_WORDPIECE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass(frozen=True)
class Example:
    text: str
    label: int


@dataclasses.dataclass(frozen=True)
class Batch:
    """`rows` are places in the data set; ids and mask are [rows, longest], labels [rows]."""

    rows: list[int]
    ids: Tensor
    mask: Tensor
    labels: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """BERT's arguments."""
        return {"input_ids": self.ids, "attention_mask": self.mask}


def train_tokenizer(kind: TokenizerKind, texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """`vocabulary`: the largest size of a WordPiece vocabulary; bytes always have 257 tokens."""
    return byte_tokenizer() if kind == "bytes" else train_wordpiece(texts, vocabulary)


def train_wordpiece(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Lower-cased WordPiece in BERT's manner: [CLS] text [SEP]. The same texts give the same
    vocabulary."""
    learner = _wordpiece(models.WordPiece(unk_token="[UNK]"))
    # Continuations are numbered in a random order, and so ties broken by chance, unless the
    # trainer knows them from the start.
    continuations = [f"##{letter}" for letter in sorted(_later_letters(learner, texts))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[*_WORDPIECE_SPECIAL, *continuations],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = models.WordPiece(vocab=learner.get_vocab(), unk_token="[UNK]")
    tokenizer = _wordpiece(model)
    tokenizer.add_special_tokens(list(_WORDPIECE_SPECIAL))
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return tokenizer


def _wordpiece(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _later_letters(tokenizer: Tokenizer, texts: Sequence[str]) -> set[str]:
    """Those that occur in a word, but not only as its first letter."""
    letters: set[str] = set()
    for text in texts:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        for word, _ in words:
            letters.update(word[1:])
    return letters


def byte_tokenizer() -> Tokenizer:
    """One token per byte of the lower-cased text, id = byte + 1; no special token is added."""
    letters = bytes_to_letters()
    vocabulary = {_BYTES_PAD: PAD_ID} | {letters[byte]: byte + 1 for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens([AddedToken(_BYTES_PAD, special=True, normalized=False)])
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def bytes_to_letters() -> list[str]:
    """The letter by which a byte-level vocabulary spells each byte: itself where it is printable in
    Latin-1, else the next free one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def prefix_tokens_in(tokenizer: Tokenizer) -> int:
    """How many special tokens it puts before a text."""
    return [*tokenizer.encode("a").special_tokens_mask, 0].index(0)


def read_tokenizer(path: pathlib.Path) -> Tokenizer:
    """Raises ValueError, which names the file."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # it raises no narrower class
        raise ValueError(f"{path} is not a tokeniser that can be read: {error}") from error


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """As the server does: over-long texts lose their end, special tokens stay."""
    limited = Tokenizer.from_str(tokenizer.to_str())
    limited.enable_truncation(max_tokens)
    return [encoding.ids for encoding in limited.encode_batch(list(texts))]


def cut_share(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> float:
    """The share of the texts that lose their end; of a tokeniser that does not truncate."""
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
    return sum(length > max_tokens for length in lengths) / len(lengths)


class EncodedTexts:
    """Token ids and labels, from which batches are made."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[Example],
        max_tokens: int,
        token_dropout: float = 0,
    ) -> None:
        """`token_dropout`: the share of the tokens that become unknown in training."""
        self.token_dropout = token_dropout
        self.ids = encode(tokenizer, [example.text for example in examples], max_tokens)
        self.labels = [example.label for example in examples]
        # What replaces a dropped token.
        self.unknown = tokenizer.token_to_id("[UNK]") or PAD_ID

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def mean_length(self) -> float:
        return sum(len(ids) for ids in self.ids) / len(self.ids)

    def plan(self, batch_size: int, chance: random.Random | None = None) -> list[list[int]]:
        """Texts of similar lengths stand in one batch."""

        def length(i: int) -> float:
            return len(self.ids[i]) * (1 if chance is None else 1 + chance.random() / 8)

        order = sorted(range(len(self)), key=length)
        batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        if chance is not None:
            chance.shuffle(batches)
        return batches

    def batch(self, rows: list[int], chance: random.Random | None = None) -> Batch:
        """Padded on the right."""
        width = max(len(self.ids[row]) for row in rows)
        ids = torch.full((len(rows), width), PAD_ID)
        mask = torch.zeros(len(rows), width, dtype=torch.int64)
        for at, row in enumerate(rows):
            tokens = self.ids[row]
            if chance is not None and self.token_dropout > 0:
                tokens = self._dropped(tokens, chance)
            ids[at, : len(tokens)] = torch.tensor(tokens)
            mask[at, : len(tokens)] = 1
        return Batch(rows, ids, mask, torch.tensor([self.labels[row] for row in rows]))

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.ids, self.labels]).encode()).hexdigest()

    def _dropped(self, tokens: list[int], chance: random.Random) -> list[int]:
        share = self.token_dropout
        return [self.unknown if chance.random() < share else token for token in tokens]
