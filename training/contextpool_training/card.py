"""The model card (README.md) of a sentiment model, made from the experiment's results."""

import re
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BertConfig

from contextpool_training import corpora
from contextpool_training.card_text import (
    command_row,
    facts_table,
    filled,
    legend,
    listed_versions,
    plus_minus,
    settings_of,
    shrunk,
    words,
)
from contextpool_training.facts import LayerFacts
from contextpool_training.sentiment import ARMS, BLUR_SIGMA, Data, Recipe, versions
from contextpool_training.texts import cut_share
from contextpool_training.trainer import Outcome

_NAMES = {
    "plain": "plain",
    "blur": f"fixed blur, sigma {BLUR_SIGMA:g}",
    "contextpool": "ContextPool",
}
_CORPUS_NAMES = {
    "movieReviewSnippets": "movie reviews",
    "amazonReviewSnippets": "product reviews",
    "nytEditorialSnippets": "newspaper editorials",
    "tweets": "tweets",
}
_KINDS = {"wordpiece": "WordPiece tokens", "bytes": "single bytes"}
_ARMS = (
    " The arms share the transformer, its first weights, the order of the data and all settings."
)
_BLUR = (
    " The fixed blur is a Gaussian of one size, the one that ContextPool starts with, in "
    "ContextPool's place."
)
_CARD = """# {name}

{summary}

## Test scores

{arms}

{scores}

{reading}

{stored}

{lexicon}

## What ContextPool learned

{legend}

{facts}

{shrunk}{lists}

## How it was made

| | |
|---|---|
| data | the four human-rated corpora inside the source distribution of vaderSentiment 3.3.2 on \
PyPI (Hutto and Gilbert, ICWSM 2014): movie reviews, product reviews, newspaper editorials, tweets |
| labels | mean rating of twenty people above {neutral} is positive, below -{neutral} negative, \
the rest is left out |
| split | by a hash of the letters, 80 / 10 / 10, after removing duplicates |
| read-out | mean over all tokens |
| model | {model} |
| training | {training} |
{command}
| time | {minutes:.1f} minutes per run on average, one thread of a shared processor |
| versions | {versions} |

Test scores are measured on the stored float16 weights, validation scores before the weights are
rounded to them. The model knows only what these sentences teach: use it as an example, not to judge
people.
"""


def sentiment_card(
    recipe: Recipe,
    data: Data,
    results: Sequence[dict[str, Any]],
    chosen: dict[str, Any],
    vader: dict[str, Any],
    facts: Sequence[LayerFacts],
    command: str,
) -> str:
    """`command`: what makes this model again."""
    layers = range(len(facts))
    return _CARD.format(
        name=model_name(recipe.tokenizer),
        summary=_summary(recipe, chosen),
        arms=_arms(data, results),
        scores=_scores_table(results, vader, data),
        reading=_reading(results, len(data.sentences["test"])),
        stored=_stored(chosen, results),
        lexicon=_lexicon(vader, results, _cut(recipe, data)),
        legend=legend("the test sentences", "tokens"),
        facts=facts_table(facts, layers),
        shrunk=shrunk(facts, layers),
        lists=_lists(facts),
        neutral=corpora.NEUTRAL,
        model=settings_of(recipe.model) + f", vocabulary at most {recipe.vocabulary}",
        training=(
            f"AdamW; {settings_of(recipe.training, epochs=len(chosen['epochs']))}; the learning "
            "rate rises in the warm-up and then falls evenly; the epoch with the best validation "
            "accuracy is kept"
        ),
        command=command_row(command),
        minutes=statistics.mean(result["seconds"] for result in results) / 60,
        versions=listed_versions(chosen["versions"]),
    )


def model_name(tokenizer: str) -> str:
    return "sentiment-contextpool" if tokenizer == "wordpiece" else "sentiment-bytes-contextpool"


def _scores_table(results: Sequence[dict[str, Any]], vader: dict[str, Any], data: Data) -> str:
    seeds = sorted({result["seed"] for result in results})
    heads = [f"seed {seed}" for seed in seeds]
    lines = [f"| accuracy, macro-F1 | {' | '.join(heads)} | mean accuracy | mean macro-F1 |"]
    lines.append("|---" * (len(seeds) + 3) + "|")
    for arm in ARMS:
        mine = sorted((r for r in results if r["arm"] == arm), key=lambda r: int(r["seed"]))
        if not mine:
            continue
        cells = [f"{r['test_accuracy']:.1%}, {r['test_macro_f1']:.3f}" for r in mine]
        accuracies = [100 * r["test_accuracy"] for r in mine]
        f1s = [r["test_macro_f1"] for r in mine]
        cells.append(f"{statistics.mean(accuracies):.1f}{plus_minus(accuracies, 1)} %")
        cells.append(f"{statistics.mean(f1s):.3f}{plus_minus(f1s, 3)}")
        lines.append(f"| {_NAMES[arm]} | {' | '.join(cells)} |")
    blank = " |" * len(seeds)
    lines.append(
        f"| VADER lexicon |{blank} {100 * vader['test_accuracy']:.1f} % | "
        f"{vader['test_macro_f1']:.3f} |"
    )
    positive = statistics.mean(data.encoded["test"].labels)
    lines.append(f"| the larger class |{blank} {100 * max(positive, 1 - positive):.1f} % | |")
    return "\n".join(lines)


def _summary(recipe: Recipe, chosen: Mapping[str, Any]) -> str:
    model = recipe.model
    layers = "1 layer" if model.layers == 1 else f"{model.layers} layers"
    return filled(
        "Tells positive from negative English sentences. A small BERT with ContextPool over "
        f"{_KINDS[recipe.tokenizer]}: {layers} of width {model.width}, {chosen['parameters']:,} "
        f"parameters stored as float16, at most {model.max_tokens} tokens. Trained from nothing by "
        "`script/train`."
    )


def _arms(data: Data, results: Sequence[dict[str, Any]]) -> str:
    counts = {name: len(sentences) for name, sentences in data.sentences.items()}
    arms = {result["arm"] for result in results}
    seeds = len({result["seed"] for result in results})
    return filled(
        f"{counts['train']:,} training, {counts['validation']:,} validation and "
        f"{counts['test']:,} test sentences."
        + (_ARMS if len(arms) > 1 else "")
        + (_BLUR if "blur" in arms else "")
        + (f" The spread is the standard deviation over {seeds} seeds." if seeds > 1 else "")
    )


def _reading(results: Sequence[dict[str, Any]], count: int) -> str:
    means = {
        arm: 100 * statistics.mean(r["test_accuracy"] for r in results if r["arm"] == arm)
        for arm in ARMS
        if any(r["arm"] == arm for r in results)
    }
    error = 100 * (0.25 / count) ** 0.5
    differences = [
        f"{means['contextpool'] - mean:+.1f} points against {_NAMES[arm]}"
        for arm, mean in means.items()
        if arm != "contextpool"
    ]
    found = f"ContextPool's mean accuracy: {', '.join(differences)}. " if differences else ""
    return filled(
        f"{found}One accuracy on {count:,} sentences has a standard error of about {error:.1f} "
        f"points: differences between arms below about {2 * error:.0f} points say nothing."
    )


def _stored(chosen: Mapping[str, Any], results: Sequence[dict[str, Any]]) -> str:
    corpora_scores = ", ".join(
        f"{_CORPUS_NAMES[name]} {score:.1%}"
        for name, score in chosen["test_accuracy_by_corpus"].items()
    )
    score = (
        f"{chosen['validation_accuracy']:.1%}, epoch {chosen['best_epoch']} of "
        f"{len(chosen['epochs'])}"
    )
    seeds = sum(result["arm"] == "contextpool" for result in results)
    why = (
        f"which has the best validation accuracy of its {seeds} seeds ({score})"
        if seeds > 1
        else f"the only one (validation accuracy {score})"
    )
    return filled(
        f"Stored here is ContextPool's seed {chosen['seed']}, {why}. Its "
        f"test accuracy by corpus: {corpora_scores}."
    )


def _cut(recipe: Recipe, data: Data) -> str:
    """Says so where the model does not see whole sentences, else nothing."""
    texts = [sentence.text for sentence in data.sentences["test"]]
    share = cut_share(data.tokenizer, texts, recipe.model.max_tokens)
    if share == 0:
        return ""
    return (
        f" It reads every sentence whole, while the arms cut {share:.1%} of the test sentences "
        f"after {recipe.model.max_tokens} tokens."
    )


def _lexicon(vader: Mapping[str, Any], results: Sequence[dict[str, Any]], cut: str) -> str:
    best = max(result["test_accuracy"] for result in results)
    return filled(
        "VADER is a lexicon with rules by the corpora's authors, used as published. A compound "
        f"score of 0, which it gives to {vader['undecided']:.1%} of the test sentences, counts as "
        f"positive; of the others it has {vader['accuracy_where_decided']:.1%} right."
        + (" It beats every arm here." if vader["test_accuracy"] > best else "")
        + cut
    )


def _lists(facts: Sequence[LayerFacts]) -> str:
    lines = []
    for layer, fact in enumerate(facts):
        lines.append(f"- layer {layer}, largest weights: {_listed(fact.heaviest)}")
        lines.append(f"- layer {layer}, smallest weights: {_listed(fact.lightest)}")
        lines.append(f"- layer {layer}, widest support: {_listed(fact.widest)}")
    return "\n".join(lines)


def _listed(tokens: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{_code(token)} {value:.2f}" for token, value in tokens)


def _code(token: str) -> str:
    """In Markdown, backticks included."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", token)), default=0))
    return f"{fence}{token}{fence}" if len(fence) == 1 else f"{fence} {token} {fence}"


_OWN_CARD = """# {name}

Tells {labels} apart: a BERT of {layers} layers of width {width}, {parameters:,} parameters stored
as float16, at most {max_tokens} tokens, {pool}.

| | |
|---|---|
| data | {counts} |
| test scores | {scores} |
| epochs | {epochs}; number {best} had the best validation accuracy ({validation:.1%}) and is kept |
| versions | {versions} |

Made by

{command}

The validation accuracy is that of the float32 weights; the test scores are those of the stored
float16 ones.
"""


def own_card(
    name: str,
    config: BertConfig,
    parameters: int,
    counts: Mapping[str, int],
    scores: Mapping[str, float],
    outcome: Outcome,
    command: str,
) -> str:
    """Of a model that `train` made from anybody's data, by this command (one or more lines)."""
    with_pool = getattr(config, "context_pool", None) is not None
    return _OWN_CARD.format(
        name=name,
        labels=words([str(label) for label in (config.id2label or {}).values()]),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        parameters=parameters,
        max_tokens=config.max_position_embeddings,
        pool="with ContextPool" if with_pool else "without ContextPool",
        counts=", ".join(f"{count:,} {split}" for split, count in counts.items()),
        scores=", ".join(f"{key} {score:.4f}" for key, score in scores.items()),
        epochs=len(outcome.epochs),
        best=outcome.best_epoch,
        validation=outcome.validation_accuracy,
        versions=listed_versions(versions()),
        command=textwrap.indent(command, "    "),
    )
