"""Real English sentences, each with the mean sentiment that twenty people gave it, from -4 to 4.

The four corpora (movie reviews, product reviews, newspaper editorials, tweets) are published inside
the source distribution of vaderSentiment 3.3.2 on PyPI. They belong to Hutto and Gilbert, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.
"""

import dataclasses
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

REQUIREMENT = "vaderSentiment==3.3.2"
CORPORA = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")


@dataclasses.dataclass(frozen=True)
class Sentence:
    corpus: str
    rating: float
    text: str


def read_sentences() -> list[Sentence]:
    """Every sentence, corpus by corpus in the published order. Fetches the package from PyPI."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
        subprocess.run([*command, ":all:", "--dest", folder, REQUIREMENT], check=True)
        package = next(pathlib.Path(folder).glob("*.tar.gz"))
        with tarfile.open(package) as outer:
            name = next(n for n in outer.getnames() if n.endswith("hutto_ICWSM_2014.tar.gz"))
            data = outer.extractfile(name).read()
    sentences = []
    with tarfile.open(fileobj=io.BytesIO(data)) as inner:
        for corpus in CORPORA:
            content = inner.extractfile(f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt").read()
            for line in content.decode("utf-8", "replace").splitlines():
                fields = line.split("\t", 2)
                if len(fields) == 3:
                    sentences.append(Sentence(corpus, float(fields[1]), fields[2].strip()))
    return sentences
