"""Trains models/sentiment-bert: a small plain BERT that tells positive from negative sentences.

    python training/train_sentiment.py models/sentiment-bert

Writes a directory that the server loads as it is: config.json, model.safetensors (float16),
tokenizer.json and a README.md with the scores. Same seed and versions, same result.
"""

import argparse
import hashlib
import importlib.metadata
import json
import pathlib
import random
import re
import sys

import numpy as np
import torch
from corpora import Sentence, read_sentences
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification

LABELS = ("negative", "positive")
# Sentences that people found nearly neutral belong to neither label.
NEUTRAL = 0.3
VOCABULARY = 6000
MAX_TOKENS = 128
BATCH = 64
MODEL_CARD = """# sentiment-bert

Tells positive from negative English sentences. A small plain BERT (no ContextPool): {layers} layers
of width {hidden}, {parameters:,} parameters stored as float16.

| | |
|---|---|
| data | the four human-rated corpora inside the source distribution of vaderSentiment 3.3.2 on PyPI (Hutto and Gilbert, ICWSM 2014): {train:,} training, {validation:,} validation and {test:,} test sentences after removing duplicates; positive is a mean rating above {neutral}, negative one below -{neutral}; the split hashes the text |
| test accuracy | {accuracy:.1%} ({majority:.1%} for always guessing the larger class) |
| test macro-F1 | {f1:.3f} |
| accuracy by corpus | {by_corpus} |
| command | `python training/train_sentiment.py models/sentiment-bert` |
| seed, epochs | {seed}, {epochs}: the one with the best validation accuracy is kept |
| versions | {versions} |

Scores are measured on the stored float16 weights. The model knows only what these sentences teach:
use it as an example, not to judge people.
"""


def normalized(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def split_of(text: str) -> str:
    bucket = hashlib.sha256(normalized(text).encode()).digest()[0]
    return "test" if bucket < 26 else "validation" if bucket < 52 else "train"


def split_sentences() -> dict[str, list[Sentence]]:
    splits = {"train": [], "validation": [], "test": []}
    seen = set()
    for sentence in read_sentences():
        key = normalized(sentence.text)
        if abs(sentence.rating) <= NEUTRAL or not key or key in seen:
            continue
        seen.add(key)
        splits[split_of(sentence.text)].append(sentence)
    return splits


def train_tokenizer(texts: list[str]) -> Tokenizer:
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    tokenizer = trainer._tokenizer
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return tokenizer


class Batches:
    """Padded batches of sentences of similar length, shuffled anew for each epoch."""

    def __init__(self, tokenizer: Tokenizer, sentences: list[Sentence]) -> None:
        self.ids = [e.ids[: MAX_TOKENS - 1] + e.ids[-1:] if len(e.ids) > MAX_TOKENS else e.ids
                    for e in tokenizer.encode_batch([s.text for s in sentences])]  # fmt: skip
        self.labels = [int(s.rating > 0) for s in sentences]
        self.unknown = tokenizer.token_to_id("[UNK]")

    def __iter__(self):
        return self.make(random.Random(0), 0.0)

    def make(self, chance: random.Random, word_dropout: float):
        order = sorted(range(len(self.ids)), key=lambda i: len(self.ids[i]) + 4 * chance.random())
        chunks = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        chance.shuffle(chunks)
        for chunk in chunks:
            width = max(len(self.ids[i]) for i in chunk)
            ids = torch.zeros(len(chunk), width, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(chunk):
                tokens = list(self.ids[i])
                for at in range(1, len(tokens) - 1):
                    if word_dropout and chance.random() < word_dropout:
                        tokens[at] = self.unknown
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = 1
            yield chunk, ids, mask, torch.tensor([self.labels[i] for i in chunk])


def predict(model: BertForSequenceClassification, batches: Batches) -> np.ndarray:
    predictions = np.zeros(len(batches.ids), np.int64)
    model.eval()
    with torch.inference_mode():
        for chunk, ids, mask, _ in batches:
            predictions[chunk] = model(ids, attention_mask=mask).logits.argmax(-1).numpy()
    return predictions


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    scores = []
    for label in range(len(LABELS)):
        hits = np.sum((labels == label) & (predictions == label))
        scores.append(2 * hits / (np.sum(labels == label) + np.sum(predictions == label)))
    return float(np.mean(scores))


def train(model, batches: Batches, validation: Batches, epochs: int, seed: int) -> None:
    chance = random.Random(seed)
    steps = epochs * -(-len(batches.ids) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.15)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    labels = np.array(validation.labels)
    best, kept = 0.0, None
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for _, ids, mask, wanted in batches.make(chance, word_dropout=0.1):
            loss = loss_of(model(ids, attention_mask=mask).logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(wanted)
        accuracy = float(np.mean(predict(model, validation) == labels))
        print(f"epoch {epoch:2}/{epochs}  loss {total / len(batches.ids):.4f}  "
              f"validation accuracy {accuracy:.4f}", file=sys.stderr)  # fmt: skip
        if accuracy > best:
            best = accuracy
            kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(kept)


def write(output: pathlib.Path, model, tokenizer: Tokenizer, card: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()
               if tensor.is_floating_point()}  # fmt: skip
    save_file(weights, output / "model.safetensors", metadata={"format": "pt"})
    (output / "model.safetensors").chmod(0o644)
    config = model.config.to_dict()
    config |= {"architectures": ["BertForSequenceClassification"], "dtype": "float16"}
    (output / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(output / "tokenizer.json"), pretty=False)
    (output / "README.md").write_text(card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)

    splits = split_sentences()
    tokenizer = train_tokenizer([s.text for s in splits["train"]])
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=128, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=512, max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1, classifier_dropout=0.3,
        id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
        problem_type="single_label_classification",
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    batches = {name: Batches(tokenizer, sentences) for name, sentences in splits.items()}
    train(model, batches["train"], batches["validation"], args.epochs, args.seed)

    model.half().float()  # what is stored is what is measured
    labels = np.array(batches["test"].labels)
    predictions = predict(model, batches["test"])
    right = predictions == labels
    corpora = np.array([s.corpus for s in splits["test"]])
    packages = ("torch", "transformers", "tokenizers")
    card = MODEL_CARD.format(
        layers=config.num_hidden_layers, hidden=config.hidden_size,
        parameters=sum(p.numel() for p in model.parameters()),
        **{name: len(sentences) for name, sentences in splits.items()}, neutral=NEUTRAL,
        accuracy=right.mean(), majority=max(labels.mean(), 1 - labels.mean()),
        f1=macro_f1(labels, predictions), seed=args.seed, epochs=args.epochs,
        by_corpus=", ".join(f"{c} {right[corpora == c].mean():.1%}" for c in sorted(set(corpora))),
        versions=", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    )  # fmt: skip
    write(args.output, model, tokenizer, card)
    print(card)


if __name__ == "__main__":
    main()
