"""The sentiment experiment from the archive to the model's directory, on made-up sentences."""

import pathlib
import random

import pytest
from contextpool_training import bert, corpora, sentiment
from contextpool_training.__main__ import main
from contextpool_training.export import FILES
from contextpool_training.facts import facts_of
from test_corpora import archive_of

ANALYZER = """
class SentimentIntensityAnalyzer:
    def polarity_scores(self, text):
        return {"compound": 0.5 * text.count("lovely") - 0.5 * text.count("awful")}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A work folder with an archive laid out as the published one."""
    chance = random.Random(1)
    files: dict[str, str | bytes] = {}
    for corpus in corpora.CORPORA:
        lines = []
        for i in range(60):
            rating, word = chance.choice([(2, "lovely"), (-2, "awful"), (1, "fine"), (0, "plain")])
            lines.append(f"{i}\t{rating}\tA {word} thing in {corpus}, number {i}\n")
        files[f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt"] = "".join(lines)
    folder = f"{corpora.PACKAGE}/vaderSentiment"
    archive = archive_of(
        {
            f"{corpora.PACKAGE}/additional_resources/hutto_ICWSM_2014.tar.gz": archive_of(files),
            f"{folder}/vaderSentiment.py": ANALYZER,
            f"{folder}/vader_lexicon.txt": "",
            f"{folder}/emoji_utf8_lexicon.txt": "",
        }
    )
    path = tmp_path_factory.mktemp("work")
    (path / f"{corpora.PACKAGE}.tar.gz").write_bytes(archive)
    return path


@pytest.fixture(scope="module")
def models(work: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("models")
    command = ["sentiment", str(out), "--work", str(work), "--tokenizer", "bytes"]
    assert main([*command, "--seed", "1", "2", "--epochs", "1"]) == 0
    return out


def test_writes_the_best_seed_with_all_scores(models: pathlib.Path, work: pathlib.Path) -> None:
    directory = models / "sentiment-bytes-contextpool"
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    card = (directory / "README.md").read_text()
    for row in ("plain", "fixed blur, sigma 1", "ContextPool", "VADER lexicon"):
        assert f"\n| {row} |" in card
    assert "| seed 1 | seed 2 |" in card
    assert len(list((work / "sentiment").glob("bytes-*/result.json"))) == 6
    assert not list((work / "sentiment").glob("bytes-*/checkpoint.pt"))


def test_finished_runs_are_not_trained_again(
    models: pathlib.Path, work: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = sentiment.Run("bytes", "contextpool", 2)
    first = sentiment.run_all([run], work, epochs=1)
    assert "already trained" in capfd.readouterr().out
    assert first[0]["seed"] == 2


def test_the_arms_have_the_pools_that_they_are_named_for(work: pathlib.Path) -> None:
    data = sentiment.load_data(sentiment.RECIPES["bytes"], work)
    plain, blur, pool = (
        sentiment.build_model(sentiment.Run("bytes", arm, 1), data) for arm in sentiment.ARMS
    )
    assert bert.context_pools_of(plain) == []
    (blurring,) = bert.context_pools_of(blur)
    assert not list(blurring.parameters())
    assert len(list(bert.context_pools_of(pool)[0].parameters())) == 4
    # ContextPool starts where the blur stays.
    (facts,) = facts_of(pool, data.encoded["test"], data.tokenizer, least_count=1)
    assert facts.sigma.mean == pytest.approx(sentiment.BLUR_SIGMA, rel=0.3)
    assert facts.identity_share == 0
    (facts,) = facts_of(blur, data.encoded["test"], data.tokenizer, least_count=1)
    assert facts.sigma.low == facts.sigma.high == sentiment.BLUR_SIGMA
    assert facts.weight.mean == 1


def test_vader_counts_ties_as_positive(work: pathlib.Path) -> None:
    data = sentiment.load_data(sentiment.RECIPES["bytes"], work)
    sentences = data.sentences["test"]
    ties = sum("fine" in sentence.text for sentence in sentences)
    assert ties > 0
    result = sentiment.vader_result(data, work)
    # The made-up lexicon knows "lovely" and "awful"; "fine" is a tie, and positive.
    assert result["test_accuracy"] == 1
    assert result["undecided"] == pytest.approx(ties / len(sentences))
    assert result["accuracy_where_decided"] == 1


def test_a_changed_run_is_not_written(
    models: pathlib.Path,
    work: pathlib.Path,
    tmp_path: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    finished = next((work / "sentiment").glob("bytes-contextpool-1-*/result.json"))
    before = finished.read_text()
    result = sentiment.run_all([sentiment.Run("bytes", "contextpool", 1)], work, epochs=1)[0]
    score = f'"test_accuracy": {result["test_accuracy"]}'
    assert score in before
    finished.write_text(before.replace(score, '"test_accuracy": 0.123'))
    command = ["sentiment", str(tmp_path), "--work", str(work), "--tokenizer", "bytes"]
    assert main([*command, "--seed", "1", "--epochs", "1", "--arm", "contextpool"]) == 1
    finished.write_text(before)
    assert "not 0.1230 as it did when trained" in capfd.readouterr().err
