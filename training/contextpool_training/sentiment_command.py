"""Trains the sentiment models from the corpora inside vaderSentiment's source distribution, which
pip fetches: for each tokeniser the same transformer plain, with a fixed blur and with ContextPool,
several seeds each. Writes the ContextPool seed with the best validation accuracy to
OUT/sentiment-contextpool (wordpiece) and OUT/sentiment-bytes-contextpool (bytes). Finished runs are
kept in the work folder and not trained again; a run that was killed goes on from its last
checkpoint."""

import argparse
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from contextpool_training import corpora, sentiment
from contextpool_training.arguments import positive, seed
from contextpool_training.bert import BertForSequenceClassification
from contextpool_training.card import model_name, sentiment_card
from contextpool_training.card_text import command_row
from contextpool_training.export import export, spread
from contextpool_training.facts import facts_of
from contextpool_training.scores import predictions_of
from contextpool_training.trainer import set_deterministic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder of the models")
    parser.add_argument(
        "--tokenizer",
        nargs="+",
        choices=list(sentiment.RECIPES),
        default=list(sentiment.RECIPES),
        help="one model each",
    )
    parser.add_argument(
        "--arm", nargs="+", choices=sentiment.ARMS, default=sentiment.ARMS, help="what to compare"
    )
    parser.add_argument(
        "--seed", nargs="+", type=seed, default=sentiment.SEEDS, help="one run each"
    )
    parser.add_argument("--epochs", type=positive, help="instead of what the recipe says")
    parser.add_argument("--limit", type=positive, help="sentences per split, to try things out")
    parser.add_argument(
        "--jobs", type=positive, default=1, help="runs at the same time, one thread each"
    )
    parser.add_argument(
        "--work", type=pathlib.Path, default=corpora.cache_folder(), help="the work folder"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace the model of a whole comparison even if --arm, --seed, --epochs or --limit "
        "make this one less",
    )


def run(args: argparse.Namespace) -> None:
    if "contextpool" not in args.arm:
        raise ValueError("--arm must name contextpool, too: that model is the one written")
    for tokenizer in args.tokenizer:
        _check_replaceable(tokenizer, args)
    runs = [
        sentiment.Run(tokenizer, arm, seed)
        for tokenizer in args.tokenizer
        for seed in args.seed
        for arm in args.arm
    ]
    results = sentiment.run_all(runs, args.work, args.epochs, args.limit, args.jobs)
    for tokenizer in args.tokenizer:
        mine = [result for result in results if result["tokenizer"] == tokenizer]
        directory = args.out / model_name(tokenizer)
        command = command_of(tokenizer, args)
        write_model(tokenizer, mine, directory, args.work, args.limit, command)
        print(f"wrote {directory}")


def command_of(tokenizer: str, args: argparse.Namespace) -> str:
    """That repeats this model's runs."""
    flags = []
    if tuple(args.arm) != tuple(sentiment.ARMS):
        flags += ["--arm", *args.arm]
    if tuple(args.seed) != tuple(sentiment.SEEDS):
        flags += ["--seed", *map(str, args.seed)]
    for name in ("epochs", "limit"):
        value = getattr(args, name)
        if value is not None:
            flags += [f"--{name}", str(value)]
    return shlex.join(["script/train", tokenizer, *(["--", *flags] if flags else [])])


def _check_replaceable(tokenizer: str, args: argparse.Namespace) -> None:
    """Raises ValueError if a whole comparison's model would give way to a lesser one's."""
    directory = args.out / model_name(tokenizer)
    card = directory / "README.md"
    whole = command_row(f"script/train {tokenizer}")
    command = command_of(tokenizer, args)
    if args.replace or command_row(command) == whole or not card.exists():
        return
    if whole in card.read_text(encoding="utf-8").splitlines():
        raise ValueError(
            f"{directory} holds the model of the whole comparison, and `{command}` makes less: "
            "give another OUT, or --replace"
        )


def check_scores(
    model: BertForSequenceClassification, data: sentiment.Data, result: dict[str, Any]
) -> None:
    """Raises ValueError if what is to be written does not score as the run did."""
    scores = sentiment.scores_on_test(data, predictions_of(model, data.encoded["test"]))
    if scores["test_accuracy"] != result["test_accuracy"]:
        raise ValueError(
            f"{result['folder']} scores {scores['test_accuracy']:.4f} on the test sentences, not "
            f"{result['test_accuracy']:.4f} as it did when trained: delete the folder and run again"
        )


def write_model(
    tokenizer: str,
    results: Sequence[dict[str, Any]],
    directory: pathlib.Path,
    work: pathlib.Path,
    limit: int | None,
    command: str,
) -> None:
    """Exports the best ContextPool run, with all results in its card."""
    set_deterministic(threads=1)
    recipe = sentiment.RECIPES[tokenizer]
    data = sentiment.load_data(recipe, work, limit)
    candidates = [result for result in results if result["arm"] == "contextpool"]
    chosen = max(candidates, key=lambda r: (r["validation_accuracy"], -r["seed"]))
    model = sentiment.trained_model(chosen, data)
    check_scores(model, data, chosen)
    facts = facts_of(model, data.encoded["test"], data.tokenizer)
    vader = sentiment.vader_result(data, work)
    card = sentiment_card(recipe, data, results, chosen, vader, facts, command)
    texts = spread([sentence.text for sentence in data.sentences["test"]])
    tqdm.write(f"{tokenizer}: computing golden values")
    export(directory, model, data.tokenizer, texts, card)
