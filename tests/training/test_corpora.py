"""The sentiment corpora: read from the published archive, split once and for all."""

import io
import pathlib
import sys
import tarfile

import pytest

from contextpool_training import corpora
from contextpool_training.corpora import CORPORA, Sentence, split_of, split_sentences


def archive_of(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def package(tmp_path: pathlib.Path) -> pathlib.Path:
    """Laid out as the published one, with two sentences per corpus."""
    files: dict[str, str | bytes] = {
        f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt": (
            f"1\t2.5\tI love {corpus}, with\ta tab.\n2\t-0.25\tSo-so {corpus}.\nbroken line\n"
        )
        for corpus in CORPORA
    }
    path = tmp_path / f"{corpora.PACKAGE}.tar.gz"
    inner = archive_of(files)
    path.write_bytes(archive_of({"x/additional_resources/hutto_ICWSM_2014.tar.gz": inner}))
    return path


def test_reads_every_corpus_in_the_published_order(package: pathlib.Path) -> None:
    sentences = corpora.read_sentences(package)
    assert [sentence.corpus for sentence in sentences[::2]] == list(CORPORA)
    assert sentences[0] == Sentence(CORPORA[0], 2.5, f"I love {CORPORA[0]}, with\ta tab.")
    assert len(sentences) == 8


def test_a_package_in_the_cache_is_not_fetched(package: pathlib.Path) -> None:
    assert corpora.package(package.parent) == package


# First byte of the normalised text's SHA-256 as sha256sum prints it: below 26, below 52, above.
@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Watch this movie.", "train"),  # 71
        ("text 7", "train"),  # 63
        ("text 14", "validation"),  # 47
        ("text 6", "validation"),  # 27
        ("text 12", "test"),  # 16
        ("text 13", "test"),  # 19
    ],
)
def test_the_split_of_a_text_is_fixed(text: str, split: str) -> None:
    assert split_of(text) == split


def test_a_damaged_archive_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "package.tar.gz"
    for content in (b"not an archive", archive_of({"other": "file"})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"package\.tar\.gz cannot be read .*delete it"):
            corpora.read_sentences(path)


def test_a_failed_download_says_what_to_do(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(OSError, match=r"could not fetch vaderSentiment==3\.3\.2: check that"):
        corpora.package(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_split_ignores_case_spaces_and_punctuation() -> None:
    for i in range(200):
        assert split_of(f"Sentence,  number {i}!") == split_of(f"sentence number {i}")


def test_splits_are_disjoint_and_about_80_10_10() -> None:
    sentences = [Sentence("tweets", 1.0, f"sentence number {i}") for i in range(3000)]
    splits = split_sentences(sentences)
    texts = [{sentence.text for sentence in split} for split in splits.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 3000
    assert len(splits["train"]) == pytest.approx(2400, abs=100)
    assert len(splits["test"]) == pytest.approx(300, abs=60)


def test_repeated_neutral_and_empty_sentences_are_left_out() -> None:
    sentences = [
        Sentence("tweets", 2.0, "Great!"),
        Sentence("tweets", -2.0, "great"),
        Sentence("tweets", 0.3, "Neutral enough"),
        Sentence("tweets", -0.31, "A little bad"),
        Sentence("tweets", 1.0, "?!"),
    ]
    kept = [s for split in split_sentences(sentences).values() for s in split]
    assert sorted((s.text, s.label) for s in kept) == [("A little bad", 0), ("Great!", 1)]
