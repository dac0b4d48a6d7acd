"""The model card (README.md) of an image classifier, made from the results of all arms."""

import json
import statistics
from collections.abc import Sequence

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
from contextpool_training.facts import facts_of_images
from contextpool_training.image_classifier import ImageClassifier
from contextpool_training.image_runs import (
    ARMS,
    Data,
    Recipe,
    Result,
    best,
    context_pool_of,
    parameters_of,
    versions,
)
from contextpool_training.options import Fixed

_KINDS = {"vit": "ViT", "resnet": "ResNet"}
_CARD = """# {name}

{summary}

## Test scores

{arms}

{scores}

{reading}

{stored}

{learned}## How it was made

| | |
|---|---|
| data | {data} |
| model | {model} |
| ContextPool | `{pool}` |
| training | {training} |
{command}
| time | {minutes:.1f} minutes per run on average, waiting for other work of the machine \
included |
| versions | {versions} |
"""


def image_card(
    name: str,
    recipe: Recipe,
    data: Data,
    results: Sequence[Result],
    model: ImageClassifier,
    source: str,
    command: str,
) -> str:
    """Of `model`, which is the best of the results. `source`: what the data are; `command`: what
    makes the model again."""
    return _CARD.format(
        name=name,
        summary=_summary(recipe, data, results, model, command),
        arms=_arms(recipe, data, results),
        scores=_scores_table(recipe, data, results),
        reading=_reading(recipe, data, results),
        stored=_stored(results),
        learned=_learned(recipe, data, model),
        data=source,
        model=settings_of(recipe.sizes),
        pool=json.dumps(recipe.context_pool.to_dict()),
        training=(
            f"AdamW; {settings_of(recipe.training)}; the learning rate rises in the warm-up and "
            "then falls evenly; the epoch with the best validation accuracy is kept"
        ),
        command=command_row(command),
        minutes=statistics.mean(result.outcome.seconds for result in results) / 60,
        versions=listed_versions(versions()),
    )


def _summary(
    recipe: Recipe, data: Data, results: Sequence[Result], model: ImageClassifier, command: str
) -> str:
    pools = {"plain": "", "blur": " with a fixed blur", "contextpool": " with ContextPool"}
    size = recipe.sizes.image_size
    return filled(
        f"Tells {words(data.labels)} apart: a {_KINDS[recipe.architecture.name]}"
        f"{pools[results[-1].arm]} for images of {size} x {size} pixels, {parameters_of(model):,} "
        f"parameters stored as float32. Trained from nothing by `{command.split(' --')[0]}`."
    )


def _arms(recipe: Recipe, data: Data, results: Sequence[Result]) -> str:
    counts = {name: len(examples) for name, examples in data.examples.items()}
    arms = {result.arm for result in results}
    seeds = len({result.seed for result in results})
    text = (
        f"{counts['train']:,} training, {counts['validation']:,} validation and "
        f"{counts['test']:,} test images."
    )
    if len(arms) > 1:
        text += " The arms share the network, its first weights, the data and all settings."
    if "blur" in arms:
        text += (
            " The fixed blur is a Gaussian of one size, the one that ContextPool starts with, in "
            "ContextPool's place."
        )
    if seeds > 1:
        text += f" The spread is the standard deviation over {seeds} seeds."
    return filled(text)


def _arm_name(arm: str, recipe: Recipe, data: Data) -> str:
    if arm == "blur":
        options = context_pool_of(recipe, arm, data.labels)
        assert options is not None and isinstance(options.size_activation, Fixed)
        return f"fixed blur, sigma {options.size_activation.value:g}"
    return {"plain": "plain", "contextpool": "ContextPool"}[arm]


def _scores_table(recipe: Recipe, data: Data, results: Sequence[Result]) -> str:
    seeds = sorted({result.seed for result in results})
    heads = " | ".join(f"seed {seed}" for seed in seeds)
    lines = [f"| accuracy, macro-F1 | {heads} | mean accuracy | mean macro-F1 |"]
    lines.append("|---" * (len(seeds) + 3) + "|")
    for arm in ARMS:
        mine = sorted((r for r in results if r.arm == arm), key=lambda r: r.seed)
        if not mine:
            continue
        cells = [f"{r.test_accuracy:.1%}, {r.test_macro_f1:.3f}" for r in mine]
        accuracies = [100 * r.test_accuracy for r in mine]
        f1s = [r.test_macro_f1 for r in mine]
        cells.append(f"{statistics.mean(accuracies):.1f}{plus_minus(accuracies, 1)} %")
        cells.append(f"{statistics.mean(f1s):.3f}{plus_minus(f1s, 3)}")
        lines.append(f"| {_arm_name(arm, recipe, data)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _reading(recipe: Recipe, data: Data, results: Sequence[Result]) -> str:
    means = {
        arm: 100 * statistics.mean(r.test_accuracy for r in results if r.arm == arm)
        for arm in ARMS
        if any(r.arm == arm for r in results)
    }
    last = results[-1].arm
    differences = [
        f"{means[last] - mean:+.1f} points against {_arm_name(arm, recipe, data)}"
        for arm, mean in means.items()
        if arm != last
    ]
    found = (
        f"Mean accuracy of {_arm_name(last, recipe, data)}: {', '.join(differences)}. "
        if differences
        else ""
    )
    count = len(data.examples["test"])
    accuracy = means[last] / 100
    error = 100 * (accuracy * (1 - accuracy) / count) ** 0.5
    return filled(
        f"{found}One accuracy on {count:,} images has a standard error of about {error:.1f} "
        f"points: differences between arms below about {2 * error:.1f} points say nothing."
    )


def _stored(results: Sequence[Result]) -> str:
    chosen = best(results)
    seeds = sum(result.arm == chosen.arm for result in results)
    score = (
        f"{chosen.outcome.validation_accuracy:.1%}, epoch {chosen.outcome.best_epoch} of "
        f"{len(chosen.outcome.epochs)}"
    )
    why = (
        f"which has the best validation accuracy of its {seeds} seeds ({score})"
        if seeds > 1
        else f"the only one (validation accuracy {score})"
    )
    return filled(
        f"Stored here is seed {chosen.seed}, {why}; test accuracy {chosen.test_accuracy:.1%}."
    )


def _learned(recipe: Recipe, data: Data, model: ImageClassifier) -> str:
    """A section, or nothing where there is no pool."""
    places = recipe.architecture.places_of(model.config)
    if not places:
        return ""
    facts = facts_of_images(model, data.examples["test"])
    parts = [
        "## What ContextPool learned",
        legend("the test images", "grid cells"),
        facts_table(facts, places),
    ]
    return "\n\n".join(parts) + "\n\n" + shrunk(facts, places)
