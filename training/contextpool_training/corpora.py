"""Real English sentences, each with the mean sentiment that twenty people gave it, from -4 to 4.

The four corpora (movie reviews, product reviews, newspaper editorials, tweets) are published inside
the source distribution of vaderSentiment 3.3.2 on PyPI. They belong to Hutto and Gilbert, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.
"""

import dataclasses
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from typing import IO, Any

PACKAGE = "vaderSentiment-3.3.2"
REQUIREMENT = "vaderSentiment==3.3.2"
CORPORA = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
SPLITS = ("train", "validation", "test")
LABELS = ("negative", "positive")
_VADER_FILES = ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt")
# Sentences that people found nearly neutral belong to neither label.
NEUTRAL = 0.3


@dataclasses.dataclass(frozen=True)
class Sentence:
    corpus: str
    rating: float
    text: str

    @property
    def label(self) -> int:
        return int(self.rating > 0)


def cache_folder() -> pathlib.Path:
    """Where this package keeps what it fetched and what it is training."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "contextpool-server" / "training"


def package(cache: pathlib.Path | None = None) -> pathlib.Path:
    """The source distribution; pip fetches it on the first call. Raises OSError if it cannot."""
    path = (cache or cache_folder()) / f"{PACKAGE}.tar.gz"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
        if subprocess.run([*command, ":all:", "--dest", folder, REQUIREMENT]).returncode != 0:
            raise OSError(
                f"pip could not fetch {REQUIREMENT}: check that this machine reaches PyPI (or the "
                f"index in pip.conf), or put the file there yourself: {path}"
            )
        next(pathlib.Path(folder).glob("*.tar.gz")).replace(path)
    return path


def read_sentences(package_path: pathlib.Path) -> list[Sentence]:
    """Every sentence, corpus by corpus in the published order. Raises ValueError, which names the
    file, if it is damaged."""
    try:
        return _read_sentences(package_path)
    except (EOFError, StopIteration, ValueError, tarfile.TarError, zlib.error) as error:
        raise ValueError(
            f"{package_path} cannot be read (damaged?): delete it, and it is fetched again"
        ) from error


def _read_sentences(package_path: pathlib.Path) -> list[Sentence]:
    with tarfile.open(package_path) as outer:
        name = next(n for n in outer.getnames() if n.endswith("hutto_ICWSM_2014.tar.gz"))
        data = _member(outer, name).read()
    sentences = []
    with tarfile.open(fileobj=io.BytesIO(data)) as inner:
        for corpus in CORPORA:
            content = _member(inner, f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt").read()
            for line in content.decode("utf-8", "replace").splitlines():
                fields = line.split("\t", 2)
                if len(fields) == 3:
                    sentences.append(Sentence(corpus, float(fields[1]), fields[2].strip()))
    return sentences


def normalized(text: str) -> str:
    """Equal for texts that differ only in case, spaces and punctuation."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def split_of(text: str) -> str:
    """Which split a text belongs to, from its letters alone: 80 % train, 10 % each other."""
    bucket = hashlib.sha256(normalized(text).encode()).digest()[0]
    return "test" if bucket < 26 else "validation" if bucket < 52 else "train"


def split_sentences(sentences: Iterable[Sentence]) -> dict[str, list[Sentence]]:
    """By split, without neutral sentences and repetitions, otherwise in the order given."""
    splits: dict[str, list[Sentence]] = {name: [] for name in SPLITS}
    seen = set()
    for sentence in sentences:
        key = normalized(sentence.text)
        if abs(sentence.rating) <= NEUTRAL or not key or key in seen:
            continue
        seen.add(key)
        splits[split_of(sentence.text)].append(sentence)
    return splits


def vader_scores(package_path: pathlib.Path, texts: Iterable[str]) -> list[float]:
    """What the package's own lexicon and rules say of each text, from -1 to 1 ("compound")."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(package_path) as archive:
            for name in _VADER_FILES:
                content = _member(archive, f"{PACKAGE}/vaderSentiment/{name}").read()
                pathlib.Path(folder, name).write_bytes(content)
        path = pathlib.Path(folder, _VADER_FILES[0])
        spec = importlib.util.spec_from_file_location("vader", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        analyzer = module.SentimentIntensityAnalyzer()
        return [float(analyzer.polarity_scores(text)["compound"]) for text in texts]


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes] | Any:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} in {PACKAGE} is not a file")
    return file
