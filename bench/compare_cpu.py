"""Compares the engine with PyTorch, ONNX Runtime and OpenVINO in one interleaved run.

Each round runs every program once, one after the other, each in a process of its own with all the
threads; the report gives the median over rounds and the median of the per-round ratios with their
spread. Outputs on the list are compared before anything is reported. Ours is timed with tokenising,
the others without.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent


def cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def run(command: list[str]) -> list[dict]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Comparison:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.folder = tempfile.mkdtemp()

    def note(self, workload: str, program: str, seconds: list[float]) -> None:
        rounds = self.seconds.setdefault(workload, {}).setdefault(program, [])
        rounds.append(statistics.median(seconds))
        print(f"    {workload:8} {program:20} {rounds[-1] * 1e3:10.1f} ms", file=sys.stderr)

    def ours(self, threads: int) -> None:
        args = self.args
        command = [args.engine_bench, f"--model={args.model}", f"--shapes={','.join(args.shapes)}",
                   f"--threads={threads}", "--rounds=3", "--max_tokens=512"]  # fmt: skip
        for row in run(command):
            self.note(row["workload"], "contextpool", row["seconds"])
        command = [args.engine_bench, f"--model={args.model}", f"--texts={args.texts}",
                   f"--threads={threads}", "--rounds=1", f"--output={self.folder}/ours"]  # fmt: skip
        for row in run(command):
            self.note(row["workload"], "contextpool", row["seconds"])

    def peer(self, engine: str, threads: int) -> None:
        args = self.args
        base = [sys.executable, str(HERE / "peers.py"), engine, args.model]
        for shape in args.shapes:
            for row in run([*base, shape, f"--threads={threads}"]):
                self.note(shape, engine, row["seconds"])
        if engine == "torch":
            return
        for order in args.orders:
            command = [*base, "list", "--texts", args.texts, "--order", order,
                       f"--threads={threads}", "--output", f"{self.folder}/{engine}"]  # fmt: skip
            for row in run(command):
                self.note("list", f"{engine} {order}", row["seconds"])
            self.check(engine)

    def check(self, engine: str) -> None:
        ours = np.fromfile(f"{self.folder}/ours", np.float32)
        theirs = np.fromfile(f"{self.folder}/{engine}", np.float32)
        error = float(np.abs(ours - theirs).max())
        print(f"    outputs differ by at most {error:.1e} from {engine}", file=sys.stderr)
        if not error < 1e-4:
            sys.exit(f"the outputs disagree with {engine}: {error}")

    def report(self) -> None:
        versions = {}
        for name in ("torch", "onnxruntime", "openvino"):
            versions[name] = __import__("importlib.metadata").metadata.version(name)
        print(f"CPU: {cpu_model()}, {self.args.threads} threads; versions: {versions}")
        print(f"rounds: {self.args.rounds}; ratio = their seconds / ours (above 1: ours is faster)\n")
        print("| workload | program | median ms | texts/s | ratio median (min-max) |")
        print("|---|---|---|---|---|")
        for workload, programs in self.seconds.items():
            ours = programs["contextpool"]
            inputs = 2000 if workload == "list" else int(workload.split("x")[0])
            for program, rounds in programs.items():
                median = statistics.median(rounds)
                ratios = [theirs / mine for theirs, mine in zip(rounds, ours)]
                print(f"| {workload} | {program} | {median * 1e3:.1f} | {inputs / median:.1f} "
                      f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine_bench", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--shapes", nargs="*", default=["1x16", "1x128", "8x128", "32x32", "8x512"])
    parser.add_argument("--peers", nargs="*", default=["torch", "onnxruntime", "openvino"])
    parser.add_argument("--orders", nargs="*", default=["sorted"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    comparison = Comparison(args)
    for round_number in range(1, args.rounds + 1):
        print(f"==> round {round_number} of {args.rounds}", file=sys.stderr)
        comparison.ours(args.threads)
        for engine in args.peers:
            comparison.peer(engine, args.threads)
    comparison.report()


if __name__ == "__main__":
    main()
