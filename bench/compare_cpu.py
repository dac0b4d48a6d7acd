"""Compares the engine with PyTorch, ONNX Runtime and OpenVINO in one interleaved run.

Each round measures the machine's sgemm rate and then runs every program once, one after the other,
each in a process of its own on the same CPUs. A program's outputs are compared with ours before its
times count. The report gives medians over rounds, ratios per round, and GFLOP/s beside the ceiling.
Ours is timed with tokenising, the others without.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np

import peers
from host import cpu_model, pin, revision, run

HERE = pathlib.Path(__file__).parent
OURS = "contextpool"
TOLERANCE = 1e-4


def flops(model_dir: str, lengths: list[int]) -> float:
    """Of the matrix products for texts of these lengths, padding not counted."""
    config = json.loads(pathlib.Path(model_dir, "config.json").read_text())
    d, f = config["hidden_size"], config["intermediate_size"]
    tokens, squares = sum(lengths), sum(n * n for n in lengths)
    return config["num_hidden_layers"] * (tokens * (8 * d * d + 4 * d * f) + squares * 4 * d)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


class Comparison:
    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        self.args = args
        self.folder = folder
        # By workload and program, one number a round.
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.inputs: dict[str, int] = {}
        self.sgemm: dict[str, list[float]] = {}

    def round(self) -> None:
        for row in run([sys.executable, str(HERE / "sgemm.py"), str(self.args.threads)]):
            self.sgemm.setdefault(row["shape"], []).append(row["gflops"])
            print(f"    sgemm {row['shape']} {row['gflops']:.0f} GFLOP/s", file=sys.stderr)
        self.ours()
        for engine in self.args.peers:
            self.peer(engine)

    def note(self, row: dict, program: str) -> None:
        workload = row["workload"]
        rounds = self.seconds.setdefault(workload, {}).setdefault(program, [])
        rounds.append(statistics.median(row["seconds"]))
        self.inputs[workload] = row["inputs"]
        print(f"    {workload:8} {program:20} {rounds[-1] * 1e3:10.1f} ms", file=sys.stderr)

    def ours(self) -> None:
        args = self.args
        base = [args.engine_bench, f"--model={args.model}", f"--threads={args.threads}",
                f"--output={self.folder}/{OURS}"]  # fmt: skip
        rows = run([*base, f"--shapes={','.join(args.shapes)}", "--rounds=3", "--max_tokens=512"])
        if args.orders:
            rows += run([*base, f"--texts={args.texts}", "--rounds=1"])
        for row in rows:
            self.note(row, OURS)

    def peer(self, engine: str) -> None:
        args = self.args
        base = [sys.executable, str(HERE / "peers.py"), engine, args.model,
                f"--threads={args.threads}", f"--output={self.folder}/{engine}"]  # fmt: skip
        runs = [(engine, [shape, "--rounds=3"]) for shape in args.shapes]
        if engine != "torch":  # Eager PyTorch is compared on the shapes only.
            for order in args.orders:
                command = ["list", "--texts", args.texts, "--order", order, "--rounds=1"]
                runs.append((f"{engine} {order}", command))
        for program, command in runs:
            for row in run([*base, *command]):
                self.check(engine, row["workload"])
                self.note(row, program)

    def check(self, engine: str, workload: str) -> None:
        ours, theirs = (np.fromfile(f"{self.folder}/{program}.{workload}", np.float32)
                        for program in (OURS, engine))  # fmt: skip
        if ours.shape != theirs.shape:
            sys.exit(f"{workload}: {ours.size} values, but {theirs.size} from {engine}")
        error = float(np.abs(ours - theirs).max())
        if not error <= TOLERANCE:
            sys.exit(f"{workload}: the outputs differ by {error:.1e} from {engine}'s")
        print(f"    {workload:8} {engine} differs by at most {error:.1e}", file=sys.stderr)

    def flops(self, workload: str) -> float:
        if workload == "list":
            lengths = [len(ids) for ids in peers.tokenized(self.args.model, self.args.texts)]
        else:
            inputs, tokens = map(int, workload.split("x"))
            lengths = [tokens] * inputs
        return flops(self.args.model, lengths)

    def report(self, cpus: list[int]) -> None:
        args = self.args
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in args.peers)
        print(f"- {OURS} {revision()}; {versions}")
        print(f"- {cpu_model()}; {args.threads} threads; every program pinned as a whole to CPUs "
              f"{','.join(map(str, cpus))}, single threads not pinned")  # fmt: skip
        print(f"- {args.rounds} rounds; outputs agree to {TOLERANCE:.0e}")
        for shape, rates in self.sgemm.items():
            print(f"- sgemm {shape}: {statistics.median(rates):.0f} GFLOP/s "
                  f"({min(rates):.0f}-{max(rates):.0f})")  # fmt: skip
        print("- ceiling = the faster sgemm of the round; ratio = their seconds / ours in the same "
              "round (above 1: ours is faster), median (min-max)\n")  # fmt: skip
        print("| workload | program | median ms | texts/s | GFLOP/s | of the ceiling | ratio |")
        print("|---|---|---|---|---|---|---|")
        for workload in self.seconds:
            self.report_workload(workload)

    def report_workload(self, workload: str) -> None:
        programs = self.seconds[workload]
        work = self.flops(workload) / 1e9
        ceilings = [max(rates) for rates in zip(*self.sgemm.values())]

        def ratio(rounds: list[float]) -> str:
            return spread([theirs / mine for theirs, mine in zip(rounds, programs[OURS])])

        for program, rounds in programs.items():
            median = statistics.median(rounds)
            share = statistics.median(work / s / c for s, c in zip(rounds, ceilings))
            print(f"| {workload} | {program} | {median * 1e3:.1f} "
                  f"| {self.inputs[workload] / median:.1f} | {work / median:.1f} | {share:.0%} "
                  f"| {'' if program == OURS else ratio(rounds)} |")  # fmt: skip
        rivals = [rounds for program, rounds in programs.items()
                  if program != OURS and (workload != "list" or program.endswith(" sorted"))]  # fmt: skip
        if len(rivals) > 1:
            best = [min(seconds) for seconds in zip(*rivals)]
            name = "the better peer, sorted" if workload == "list" else "the best peer"
            print(f"| {workload} | {name} | | | | | {ratio(best)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine_bench", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--shapes", nargs="*", default=["1x16", "1x128", "8x128", "32x32", "8x512"])
    parser.add_argument("--peers", nargs="*", default=["torch", "onnxruntime", "openvino"])
    parser.add_argument("--orders", nargs="*", default=["sorted"], choices=["sorted", "arrival"],
                        help="of the list, for the peers; none: no list")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    cpus = pin(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args, folder)
        for round_number in range(1, args.rounds + 1):
            print(f"==> round {round_number} of {args.rounds}", file=sys.stderr)
            comparison.round()
        comparison.report(cpus)


if __name__ == "__main__":
    main()
