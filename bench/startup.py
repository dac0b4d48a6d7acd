"""Measures the server's start and rest: seconds from exec to ready, resident memory, idle CPU."""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(server: str, repository: str, idle_seconds: float) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        ready = pathlib.Path(folder) / "ready.json"
        command = [server, f"--model_repository={repository}", "--grpc_port=0", "--metrics_port=0",
                   f"--ready_file={ready}"]  # fmt: skip
        start = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the server ended with {process.returncode}")
                time.sleep(0.002)
            seconds = time.monotonic() - start
            json.loads(ready.read_text())
            before = cpu_seconds(process.pid)
            time.sleep(idle_seconds)
            idle = (cpu_seconds(process.pid) - before) / idle_seconds
            memory = resident_mib(process.pid)
            process.send_signal(signal.SIGTERM)
        return seconds, memory, idle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle_seconds", type=float, default=5)
    args = parser.parse_args()
    rounds = [measure(args.server, args.model, args.idle_seconds) for _ in range(args.rounds)]
    starts, memories, idles = map(list, zip(*rounds))
    print("| figure | median | min | max |\n|---|---|---|---|")
    print(f"| start to ready, s | {statistics.median(starts):.2f} | {min(starts):.2f} "
          f"| {max(starts):.2f} |")  # fmt: skip
    print(f"| resident memory when idle, MiB | {statistics.median(memories):.0f} "
          f"| {min(memories):.0f} | {max(memories):.0f} |")  # fmt: skip
    print(f"| CPU when idle, share of a core | {statistics.median(idles):.4f} | {min(idles):.4f} "
          f"| {max(idles):.4f} |")  # fmt: skip


if __name__ == "__main__":
    main()
