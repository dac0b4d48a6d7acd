"""Writes the benchmark's list of 2,000 real texts, one a line, in a fixed mixed order.

The sentences are the four human-rated corpora (movie reviews, product reviews, newspaper editorials,
tweets) inside the source distribution of vaderSentiment 3.3.2 on PyPI. 5% of the list are long
texts: consecutive sentences of one corpus joined until they exceed what the model reads.
"""

import argparse
import io
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile

REQUIREMENT = "vaderSentiment==3.3.2"
CORPORA = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
TEXTS = 2000
LONG_TEXTS = 100
LONG_WORDS = 260


def corpora() -> list[list[str]]:
    """The sentences of each corpus, in its own order."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
             "--dest", folder, REQUIREMENT],
            check=True,
        )  # fmt: skip
        sdist = next(pathlib.Path(folder).glob("*.tar.gz"))
        with tarfile.open(sdist) as outer:
            name = next(n for n in outer.getnames() if n.endswith("hutto_ICWSM_2014.tar.gz"))
            inner = tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read()))
        texts = []
        for corpus in CORPORA:
            lines = inner.extractfile(f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt").read()
            rows = lines.decode("utf-8", "replace").splitlines()
            texts.append([row.split("\t", 2)[2].strip() for row in rows if row.count("\t") >= 2])
        return texts


def mixed_list() -> list[str]:
    chance = random.Random(7)
    sources = corpora()
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
