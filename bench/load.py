"""Runs `contextpool bench`, the load generator, against a server."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

import harness  # noqa: E402


# A moment in which the machine did other things is tried again; a generator that is too slow is not
# helped by that.
ATTEMPTS = 3


def points(server: harness.Server, model: str, *flags: object) -> list[dict]:
    """Each load's figures, as clients/cli/bench/json_report.cc names them. Ends the program if a
    load could not be offered: then nothing is known about the server."""
    for _ in range(ATTEMPTS):
        found = _measure(server, model, *flags)
        reasons = [point["not_offered_because"] for point in found if not point["offered"]]
        if not reasons:
            return found
        print(f"    not offered: {reasons[0]}", file=sys.stderr)
    raise SystemExit(f"{ATTEMPTS} times the load was not offered; the last time: {reasons[0]}")


def _measure(server: harness.Server, model: str, *flags: object) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "load.json")
        command = [harness.BIN / "contextpool", "bench", f"--server={server.address}",
                   f"--model={model}", f"--json={report}", *map(str, flags)]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not report.exists():
            raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                             f"{done.stdout}")  # fmt: skip
        return json.loads(report.read_text())["points"]


def client_cores(point: dict) -> float:
    """How many cores the generator itself kept busy."""
    calls_per_s = sum(point["codes"].values()) / point["measured_s"]
    return point["client_cpu_us_per_call"] * 1e-6 * calls_per_s
