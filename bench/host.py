"""What every benchmark says about the machine and the code, and how it starts programs."""

import json
import os
import pathlib
import platform
import subprocess

HERE = pathlib.Path(__file__).parent


def cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def revision() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--tags", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown revision"


def pin(threads: int) -> list[int]:
    """Keeps this process and all that it starts on the first `threads` CPUs it may use."""
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cpus)
    return cpus


def run(command: list[str]) -> list[dict]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
