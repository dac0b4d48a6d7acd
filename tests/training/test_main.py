"""What the command line says where something is wrong: one line, and no traceback."""

import pathlib
import sys

import pytest

from contextpool_training import __main__ as command_line
from contextpool_training import augment, train_command
from contextpool_training.__main__ import main


@pytest.mark.parametrize(("command", "resumes"), [("train", True), ("augment", False)])
def test_only_what_can_go_on_says_so_when_it_is_stopped(
    command: str,
    resumes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command if command == "train" else augment, "run", stop)
    assert main([command, "in", "out"]) == 130
    assert ("the same command goes on" in capsys.readouterr().err) == resumes


def test_a_download_that_fails_is_one_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    assert main(["sentiment", str(tmp_path / "out"), "--work", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: pip could not fetch") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context-pool", "[" * 100_000], "argument --context-pool: it is nested too deeply"),
        (["--context-pool", "{"], "argument --context-pool: Expecting"),
        (["--threads", "0"], "argument --threads: '0' is not a positive integer"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "data.tsv", "out", *arguments])
    assert message in capsys.readouterr().err


def test_every_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sentiment", "train", "augment"):
        (subcommands,) = command_line.parser()._subparsers._group_actions  # type: ignore[union-attr]
        for action in subcommands.choices[command]._actions:  # type: ignore[index]
            assert action.help and action.help.strip(), f"{command} {action.dest}"
