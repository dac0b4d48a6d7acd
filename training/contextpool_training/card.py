"""The model card (README.md) of a sentiment model, made from the experiment's results."""

import importlib.metadata
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BertConfig

from contextpool_training import corpora
from contextpool_training.facts import IDENTITY_SIGMA, LayerFacts, Spread
from contextpool_training.sentiment import ARMS, BLUR_SIGMA, Data, Recipe
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
_CARD = """# {name}

{summary}

## Test scores

{arms}

{scores}

{reading}

{stored}

{lexicon}

## What ContextPool learned

Over the test sentences. Support sizes are in tokens; pooling weights lie between 0 and 1; identity:
tokens with a support size below {identity_sigma}, to which the pool adds nothing of a neighbour.

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
| training | {training} |
| command | `script/train {tokenizer}` |
| time | {minutes:.1f} minutes per run on average, one thread of a shared processor |
| versions | {versions} |

Scores are measured on the stored float16 weights. The model knows only what these sentences teach:
use it as an example, not to judge people.
"""


def sentiment_card(
    recipe: Recipe,
    data: Data,
    results: Sequence[dict[str, Any]],
    chosen: dict[str, Any],
    vader: dict[str, Any],
    facts: Sequence[LayerFacts],
) -> str:
    options = recipe.training
    return _CARD.format(
        name=model_name(recipe.tokenizer),
        tokenizer=recipe.tokenizer,
        summary=_summary(recipe, chosen),
        arms=_arms(data),
        scores=_scores_table(results, vader, data),
        reading=_reading(results, len(data.sentences["test"])),
        stored=_stored(chosen),
        lexicon=_lexicon(vader, results),
        identity_sigma=IDENTITY_SIGMA,
        facts=_facts_table(facts),
        shrunk=_shrunk(facts),
        lists=_lists(facts),
        neutral=corpora.NEUTRAL,
        training=(
            f"{len(chosen['epochs'])} epochs of batches of {options.batch_size}, AdamW, learning "
            f"rate {options.learning_rate:g} with warm-up and linear decay, weight decay "
            f"{options.weight_decay:g}, dropout {recipe.model.dropout:g}, token dropout "
            f"{options.token_dropout:g}, label smoothing {options.label_smoothing:g}; the epoch "
            "with the best validation accuracy is kept"
        ),
        minutes=statistics.mean(result["seconds"] for result in results) / 60,
        versions=_versions(),
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
        cells.append(f"{statistics.mean(accuracies):.1f} ± {_deviation(accuracies):.1f} %")
        cells.append(f"{statistics.mean(f1s):.3f} ± {_deviation(f1s):.3f}")
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
    return _filled(
        "Tells positive from negative English sentences. A small BERT with ContextPool over "
        f"{_KINDS[recipe.tokenizer]}: {layers} of width {model.width}, {chosen['parameters']:,} "
        f"parameters stored as float16, at most {model.max_tokens} tokens. Trained from nothing by "
        "`script/train`."
    )


def _arms(data: Data) -> str:
    counts = {name: len(sentences) for name, sentences in data.sentences.items()}
    return _filled(
        f"{counts['train']:,} training, {counts['validation']:,} validation and "
        f"{counts['test']:,} test sentences. The arms share the transformer, its first weights, "
        "the order of the data and all settings; the fixed blur is a Gaussian of one size, the one "
        "that ContextPool starts with, in ContextPool's place. The spread is the standard "
        "deviation over the seeds."
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
    return _filled(
        f"{found}One accuracy on {count:,} sentences has a standard error of about {error:.1f} "
        f"points: differences between arms below about {2 * error:.0f} points say nothing."
    )


def _stored(chosen: Mapping[str, Any]) -> str:
    corpora_scores = ", ".join(
        f"{_CORPUS_NAMES[name]} {score:.1%}"
        for name, score in chosen["test_accuracy_by_corpus"].items()
    )
    return _filled(
        f"Stored here is ContextPool's seed {chosen['seed']}, which has the best validation "
        f"accuracy of its seeds ({chosen['validation_accuracy']:.1%}, epoch {chosen['best_epoch']} "
        f"of {len(chosen['epochs'])}). Its test accuracy by corpus: {corpora_scores}."
    )


def _lexicon(vader: Mapping[str, Any], results: Sequence[dict[str, Any]]) -> str:
    best = max(result["test_accuracy"] for result in results)
    return _filled(
        "VADER is a lexicon with rules by the corpora's authors, used as published. A compound "
        f"score of 0, which it gives to {vader['undecided']:.1%} of the test sentences, counts as "
        f"positive; of the others it has {vader['accuracy_where_decided']:.1%} right."
        + (" It beats every arm here." if vader["test_accuracy"] > best else "")
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _facts_table(facts: Sequence[LayerFacts]) -> str:
    lines = ["| layer | support size: mean (5 % … median … 95 %) | pooling weight | identity |"]
    lines.append("|---|---|---|---|")
    for layer, fact in enumerate(facts):
        lines.append(
            f"| {layer} | {_numbers(fact.sigma)} | {_numbers(fact.weight)} | "
            f"{fact.identity_share:.1%} of the tokens |"
        )
    return "\n".join(lines)


def _shrunk(facts: Sequence[LayerFacts]) -> str:
    """Says so where training has made the pool do little, else nothing."""
    layers = [str(layer) for layer, fact in enumerate(facts) if fact.identity_share > 0.5]
    if not layers:
        return ""
    return (
        _filled(
            f"In layer {', '.join(layers)} the support size of most tokens has shrunk to almost 0, "
            "where the pool is the identity and has hardly a gradient."
        )
        + "\n\n"
    )


def _numbers(spread: Spread) -> str:
    return f"{spread.mean:.2f} ({spread.low:.2f} … {spread.middle:.2f} … {spread.high:.2f})"


def _lists(facts: Sequence[LayerFacts]) -> str:
    lines = []
    for layer, fact in enumerate(facts):
        lines.append(f"- layer {layer}, largest weights: {_listed(fact.heaviest)}")
        lines.append(f"- layer {layer}, smallest weights: {_listed(fact.lightest)}")
        lines.append(f"- layer {layer}, widest support: {_listed(fact.widest)}")
    return "\n".join(lines)


def _listed(tokens: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"`{token}` {value:.2f}" for token, value in tokens)


_OWN_CARD = """# {name}

Tells {labels} apart: a BERT of {layers} layers of width {width}, {parameters:,} parameters stored
as float16, at most {max_tokens} tokens, {pool}.

| | |
|---|---|
| data | {counts} |
| test scores | {scores} |
| epochs | {epochs}; number {best} had the best validation accuracy ({validation:.1%}) and is kept |
| versions | {versions} |

Made by `python -m contextpool_training train` with these settings:

{settings}

Scores are measured on the stored float16 weights.
"""


def own_card(
    name: str,
    config: BertConfig,
    parameters: int,
    counts: Mapping[str, int],
    scores: Mapping[str, float],
    outcome: Outcome,
    settings: Mapping[str, object],
) -> str:
    """Of a model that `train` made from anybody's data."""
    with_pool = getattr(config, "context_pool", None) is not None
    return _OWN_CARD.format(
        name=name,
        labels=_words([str(label) for label in (config.id2label or {}).values()]),
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
        versions=_versions(),
        settings="\n".join(f"    {key}: {value}" for key, value in settings.items()),
    )


def _words(labels: Sequence[str]) -> str:
    return ", ".join(labels[:-1]) + f" and {labels[-1]}"


def _versions() -> str:
    names = ("torch", "transformers", "tokenizers", "numpy")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
