"""The sentiment experiment from the archive to the model's directory, on made-up sentences."""

import dataclasses
import importlib.metadata
import pathlib
import random
from typing import Any

import pytest

from contextpool_training import card as card_module
from contextpool_training import corpora, sentiment
from contextpool_training.__main__ import main
from contextpool_training.export import FILES
from contextpool_training.facts import facts_of
from contextpool_training.pools import context_pools_of
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


def in_this_process(
    runs: list[sentiment.Run], cache: pathlib.Path, epochs: int, limit: None = None, jobs: int = 1
) -> list[dict[str, Any]]:
    """In place of run_all, whose processes take seconds to start."""
    return [sentiment._run_one(run, cache, epochs, limit) for run in runs]


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
    assert "| command | `script/train bytes -- --seed 1 2 --epochs 1` |" in card
    prose = " ".join(card.split())
    assert "standard deviation over 2 seeds" in prose and "of its 2 seeds" in prose
    assert f"torch {importlib.metadata.version('torch')}, transformers" in card
    recipe = sentiment.RECIPES["bytes"]
    for options in (recipe.model, recipe.training):
        for name, value in dataclasses.asdict(options).items():
            row = f"{name.replace('_', ' ')} {1 if name == 'epochs' else value}"
            assert name in ("seed", "checkpoint_steps") or row in card, name
    assert len(list((work / "sentiment").glob("bytes-*/result.json"))) == 6
    assert not list((work / "sentiment").glob("bytes-*/checkpoint.pt"))


def test_finished_runs_are_not_trained_again(
    models: pathlib.Path, work: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = sentiment.Run("bytes", "contextpool", 2)
    first = in_this_process([run], work, epochs=1)
    assert "already trained" in capfd.readouterr().out
    assert first[0]["seed"] == 2


def test_a_run_of_other_data_or_versions_is_not_taken(
    models: pathlib.Path, work: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[sentiment.Run] = []

    def stop(run: sentiment.Run, _: object) -> None:
        trained.append(run)
        raise RuntimeError("it would be trained")

    monkeypatch.setattr(sentiment, "build_model", stop)
    monkeypatch.setattr(sentiment, "_loaded", sentiment.load_data)
    run = sentiment.Run("bytes", "contextpool", 2)
    result = sentiment._run_one(run, work, 1, None)
    data = sentiment.load_data(sentiment.RECIPES["bytes"], work)
    assert result["data"] == data.digest and result["versions"] == sentiment.versions()
    assert not trained

    def refused() -> None:
        with pytest.raises(RuntimeError, match="would be trained"):
            sentiment._run_one(run, work, 1, None)

    for name in sentiment.versions():
        with monkeypatch.context() as patch:
            patch.setattr(sentiment, "versions", lambda old=name: {**result["versions"], old: "0"})
            refused()
    for split in ("train", "test"):
        sentences = {**data.sentences, split: data.sentences[split][1:]}
        with monkeypatch.context() as patch:
            other = dataclasses.replace(data, sentences=sentences)
            patch.setattr(sentiment, "_loaded", lambda *_, other=other: other)
            refused()
    assert len(trained) == 6


def test_a_lesser_comparison_does_not_replace_a_whole_one(
    models: pathlib.Path,
    work: pathlib.Path,
    tmp_path: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentiment, "run_all", in_this_process)
    directory = tmp_path / "sentiment-bytes-contextpool"
    directory.mkdir()
    card = directory / "README.md"
    card.write_text("# x\n\n| command | `script/train bytes` |\n")
    command = ["sentiment", str(tmp_path), "--work", str(work), "--tokenizer", "bytes"]
    command += ["--seed", "1", "--epochs", "1", "--arm", "contextpool"]
    assert main(command) == 1
    lesser = "script/train bytes -- --arm contextpool --seed 1 --epochs 1"
    error = capfd.readouterr().err
    assert f"holds the model of the whole comparison, and `{lesser}` makes less" in error
    assert [path.name for path in directory.iterdir()] == ["README.md"]
    assert main([*command, "--replace"]) == 0
    assert f"| command | `{lesser}` |" in card.read_text()
    assert "the only one (validation accuracy" in card.read_text()
    assert "±" not in card.read_text() and "fixed blur" not in card.read_text()
    assert main(command) == 0  # a lesser one gives way to its like


def test_backticks_in_a_list_of_tokens_stay_visible() -> None:
    assert card_module._listed([("`", 0.5), ("a", 1)]) == "`` ` `` 0.50, `a` 1.00"


def test_the_arms_have_the_pools_that_they_are_named_for(work: pathlib.Path) -> None:
    data = sentiment.load_data(sentiment.RECIPES["bytes"], work)
    plain, blur, pool = (
        sentiment.build_model(sentiment.Run("bytes", arm, 1), data) for arm in sentiment.ARMS
    )
    assert context_pools_of(plain) == []
    (blurring,) = context_pools_of(blur)
    assert not list(blurring.parameters())
    assert len(list(context_pools_of(pool)[0].parameters())) == 4
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentiment, "run_all", in_this_process)
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
