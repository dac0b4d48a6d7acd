"""Programs that may hang or crash, run under a time limit."""

import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass
class Result:
    status: int
    timed_out: bool
    output: str


def end_group(process: subprocess.Popen) -> None:
    """The program and what it started, such as compilers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(arguments: list[str], seconds: float) -> Result:
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []

    def read() -> None:
        with process.stdout:
            lines.extend(process.stdout)

    # Not communicate(): what was printed before the limit counts.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    timed_out = False
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
    end_group(process)
    reader.join(timeout=5)
    return Result(process.returncode, timed_out, "".join(lines))


def follow(
    arguments: list[str],
    take: Callable[[dict], None],
    limit: Callable[[], float],
    folder: pathlib.Path,
) -> str:
    """Hands each line of JSON that a program prints to `take`; how it ended.

    Kills it at the time limit(), of time.monotonic(), which is asked for anew after each line. Its
    standard error is added to worker.log.
    """
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ended = "ended"
    while True:
        try:
            line = lines.get(timeout=max(0.0, limit() - time.monotonic()))
        except queue.Empty:
            ended = "took too long"
            break
        if line is None:
            status = process.wait()
            ended = f"the process ended ({status}): {last_line(folder / 'worker.log')}"
            break
        take(json.loads(line))
    end_group(process)
    reader.join(timeout=5)
    return ended


def last_line(path: pathlib.Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
