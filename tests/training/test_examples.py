"""Anybody's own texts: formats, and errors that name the file and the line."""

import pathlib

import pytest

from contextpool_training.examples import (
    DataError,
    Row,
    distinct,
    key_of,
    labels_of,
    read_rows,
    split_rows,
    to_examples,
)

ROWS = [Row('He said "no"', "bad"), Row("Fine, thanks", "good")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.tsv", 'label\ttext\tid\nbad\tHe said "no"\t1\ngood\tFine, thanks\t2\n'),
        ("data.csv", 'text,label\n"He said ""no""",bad\n"Fine, thanks",good\n'),
        (
            "data.jsonl",
            '{"text": "He said \\"no\\"", "label": "bad"}\n\n'
            '{"label": "good", "text": "Fine, thanks"}\n',
        ),
    ],
)
def test_reads(name: str, content: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_rows(path) == ROWS


def test_columns_can_have_other_names(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("sentence,stars\nNice,5\n")
    assert read_rows(path, "sentence", "stars") == [Row("Nice", "5")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", r"a\.txt: its name must end in \.tsv, \.csv or \.jsonl"),
        ("a.tsv", "text\tlabel\na\tb\nc\n", r"a\.tsv:3: 1 columns, but the first line has 2"),
        ("a.csv", 'text,label\n"two\nlines",x\n ,y\n', r"a\.csv:4: 'text' must be a text that"),
        ("a.csv", "text,class\na,b\n", r"a\.csv:2: no 'label'; there is text, class"),
        ("a.csv", "text,label\na,\n", r"a\.csv:2: 'label' must be a text or an integer"),
        ("a.csv", "text,label\n", r"a\.csv: no rows"),
        ("a.csv", "", r"a\.csv: no rows"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: not JSON"),
        ("a.jsonl", '{"text": "a", "label": ' + "7" * 5000 + "}", r"a\.jsonl:1: not JSON.*digits"),
        (
            "a.jsonl",
            '{"text": "a", "label": "b"}\n{"text": "\\ud83d", "label": "b"}\n',
            r"a\.jsonl:2: 'text' has half of a surrogate pair",
        ),
        ("a.jsonl", '{"text": "a", "label": "\\udc00"}\n', r"a\.jsonl:1: 'label' has half of a"),
        ("a.csv", "text,label,text\na,b,c\n", r"a\.csv:1: more than one column is named 'text'"),
        ("a.csv", "text," + "x" * 200_000 + "\n", r"a\.csv:1: field larger than"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: not an object"),
        ("a.jsonl", '{"text": 7, "label": "a"}\n', r"a\.jsonl:1: 'text' must be a text"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', r"a\.jsonl:1: 'label' must be a text or"),
    ],
)
def test_refuses(name: str, content: str, message: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_refuses_what_is_not_utf8(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\ngood,x\ncaf\xe9,x\n")
    with pytest.raises(DataError, match=r"a\.csv:3: not UTF-8"):
        read_rows(path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(
    name: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / name
    content = "text,label\na,b\n" if name == "a.csv" else '{"text": "a", "label": "b"}\n'
    path.write_text(content, encoding="utf-8-sig")
    assert read_rows(path) == [Row("a", "b")]


def test_rows_know_their_lines(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text('text,label\n"two\nlines",x\n\nb,other\n')
    rows = read_rows(path)
    assert [row.line for row in rows] == [2, 5]
    with pytest.raises(DataError, match=r"test\.csv:5: the label 'other' does not occur in the tr"):
        to_examples(rows, ["x", "y"], path)


def test_texts_that_differ_in_case_spaces_and_punctuation_are_one() -> None:
    rows = [Row("Fine, thanks!", "a"), Row("fine  thanks", "b"), Row("?!", "c"), Row("!", "d")]
    assert distinct(rows) == [rows[0], rows[2], rows[3]]
    assert distinct(rows, {key_of("FINE thanks")}) == rows[2:]


def test_a_repeated_text_stands_in_one_split_once() -> None:
    splits = split_rows([Row("text 7", "a"), Row("text 7", "a"), Row("text 6", "b")])
    assert splits == {
        "train": [Row("text 7", "a")],
        "validation": [Row("text 6", "b")],
        "test": [],
    }


def test_one_label_is_not_enough() -> None:
    with pytest.raises(DataError, match=r"x\.csv: all training texts have the label 'a'"):
        labels_of([Row("x", "a"), Row("y", "a")], pathlib.Path("x.csv"))
