"""Reads anybody's labelled texts: TSV, CSV or JSON lines."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from contextpool_training.corpora import SPLITS, normalized, split_of
from contextpool_training.texts import Example

FORMATS = (".tsv", ".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class Row:
    text: str
    label: str
    # In its file, from 1.
    line: int = dataclasses.field(default=0, compare=False)


class DataError(ValueError):
    """Names the file and the line."""


def read_rows(path: pathlib.Path, text_key: str = "text", label_key: str = "label") -> list[Row]:
    """TSV and CSV have a first line with the columns' names; JSON lines are objects."""
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: its name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    read = _json_lines if path.suffix == ".jsonl" else _table
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, values in read(path, file):
                rows.append(_row(path, line, values, text_key, label_key))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{_first_bad_line(path)}: not UTF-8 text") from error
    if not rows:
        raise DataError(f"{path}: no rows")
    return rows


def _first_bad_line(path: pathlib.Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def key_of(text: str) -> str:
    """Equal for texts that are the same but for case, spaces and punctuation."""
    return normalized(text) or text.strip()


def distinct(rows: Iterable[Row], others: Collection[str] = ()) -> list[Row]:
    """The first row of each text, without those whose key_of is among the others."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(key_of(row.text), row)
    return [row for key, row in first.items() if key not in others]


def split_rows(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Train, validation and test by the text's hash, without repeated texts."""
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for row in distinct(rows):
        splits[split_of(row.text)].append(row)
    return splits


def labels_of(rows: Iterable[Row], path: pathlib.Path) -> list[str]:
    labels = sorted({row.label for row in rows})
    if len(labels) < 2:
        raise DataError(f"{path}: all training texts have the label {labels[0]!r}; give two labels")
    return labels


def to_examples(rows: Iterable[Row], labels: list[str], path: pathlib.Path) -> list[Example]:
    numbers = {label: i for i, label in enumerate(labels)}
    for row in rows:
        if row.label not in numbers:
            raise DataError(
                f"{path}:{row.line}: the label {row.label!r} does not occur in the training texts"
            )
    return [Example(row.text, numbers[row.label]) for row in rows]


def _table(path: pathlib.Path, file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".csv":
        reader = csv.reader(file)
    else:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = _names(path, reader)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{line}: {error}") from error
        if not fields:
            continue
        if len(fields) != len(names):
            raise DataError(
                f"{path}:{line}: {len(fields)} columns, but the first line has {len(names)}"
            )
        yield line, dict(zip(names, fields, strict=True))


def _names(path: pathlib.Path, reader: Any) -> list[str]:
    try:
        names: list[str] = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}:1: {error}") from error
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}:1: more than one column is named {name!r}")
    return names


def _json_lines(path: pathlib.Path, file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(file, start=1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (RecursionError, ValueError) as error:  # ValueError: of thousands of digits, too
            raise DataError(f"{path}:{line}: not JSON that can be read ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{line}: not an object")
        yield line, values


def _row(
    path: pathlib.Path, line: int, values: dict[str, Any], text_key: str, label_key: str
) -> Row:
    for key in (text_key, label_key):
        if key not in values:
            raise DataError(f"{path}:{line}: no {key!r}; there is {', '.join(values) or 'nothing'}")
    text, label = values[text_key], values[label_key]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{path}:{line}: {text_key!r} must be a text that is not empty")
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        raise DataError(f"{path}:{line}: {label_key!r} must be a text or an integer, not empty")
    for key, value in ((text_key, text), (label_key, str(label))):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise DataError(
                f"{path}:{line}: {key!r} has half of a surrogate pair, which is no text"
            )
    return Row(text, str(label), line)
