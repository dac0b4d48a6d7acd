"""Pieces of model cards."""

import dataclasses
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from contextpool_training.facts import IDENTITY_SIGMA, PoolFacts, Spread


def command_row(command: str) -> str:
    return f"| command | `{command}` |"


def settings_of(options: Any, **actual: object) -> str:
    """Every one by its flag's name; but for those that are each run's own or change nothing."""
    values = {**dataclasses.asdict(options), **actual}
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
        if name not in ("seed", "checkpoint_steps")
    )


def filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def plus_minus(values: Sequence[float], digits: int) -> str:
    return f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""


def legend(data: str, unit: str) -> str:
    """Of facts_table; the facts are those of this data."""
    return filled(
        f"Over {data}. Support sizes are in {unit}; pooling weights lie between 0 and 1. With a "
        f"support size below {IDENTITY_SIGMA} a neighbour of the same pooling weight counts for "
        "less than 0.4 % of what the token itself does; one of a greater weight counts for more in "
        "proportion."
    )


def facts_table(facts: Sequence[PoolFacts], places: Sequence[object]) -> str:
    head = "| layer | support size: mean (5 % … median … 95 %) | pooling weight |"
    lines = [f"{head} below {IDENTITY_SIGMA} |"]
    lines.append("|---|---|---|---|")
    for place, fact in zip(places, facts, strict=True):
        lines.append(
            f"| {place} | {_numbers(fact.sigma)} | {_numbers(fact.weight)} | "
            f"{fact.identity_share:.1%} of the tokens |"
        )
    return "\n".join(lines)


def shrunk(facts: Sequence[PoolFacts], places: Sequence[object]) -> str:
    """Says so where training has made the pool do little, else nothing."""
    layers = [
        str(place) for place, fact in zip(places, facts, strict=True) if fact.identity_share > 0.5
    ]
    if not layers:
        return ""
    return (
        filled(
            f"In layer {', '.join(layers)} the support size of most tokens has shrunk to almost 0, "
            "where the pool is nearly the identity and has hardly a gradient."
        )
        + "\n\n"
    )


def _numbers(spread: Spread) -> str:
    return f"{spread.mean:.2f} ({spread.low:.2f} … {spread.middle:.2f} … {spread.high:.2f})"


def words(labels: Sequence[str]) -> str:
    return ", ".join(labels[:-1]) + f" and {labels[-1]}"


def listed_versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
