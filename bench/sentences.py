"""Writes the benchmark's list of 2,000 real texts, one a line, in a fixed mixed order.

The sentences are the four human-rated corpora (movie reviews, product reviews, newspaper editorials,
tweets) inside the source distribution of vaderSentiment 3.3.2 on PyPI. 5% of the list are long
texts: consecutive sentences of one corpus joined until they exceed what the model reads.
"""

import argparse
import pathlib
import random
import sys

# The module alone: its package would need PyTorch.
sys.path.append(str(pathlib.Path(__file__).parents[1] / "training" / "contextpool_training"))
import corpora  # noqa: E402

TEXTS = 2000
LONG_TEXTS = 100
LONG_WORDS = 260


def by_corpus() -> list[list[str]]:
    """The texts of each corpus, in its own order."""
    texts: dict[str, list[str]] = {}
    for sentence in corpora.read_sentences(corpora.package()):
        texts.setdefault(sentence.corpus, []).append(sentence.text)
    return list(texts.values())


def mixed_list() -> list[str]:
    chance = random.Random(7)
    sources = by_corpus()
    short = [chance.choice(chance.choice(sources)) for _ in range(TEXTS - LONG_TEXTS)]
    long = []
    for _ in range(LONG_TEXTS):
        source = chance.choice(sources)
        at = chance.randrange(len(source) - LONG_WORDS)
        text = source[at]
        while len(text.split()) < LONG_WORDS:
            at += 1
            text += " " + source[at]
        long.append(text)
    texts = short + long
    chance.shuffle(texts)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=pathlib.Path)
    output = parser.parse_args().output
    output.write_text("\n".join(mixed_list()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
