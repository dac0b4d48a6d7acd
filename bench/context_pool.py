"""Compares ContextPool's kernel with PyTorch on the same CPUs, call by call in one run.

Peers, all on sequences of equal length, so that nobody pads:
  eager   the reference module of training/: weights by broadcasting, softmax, matmul
  gemm    weights made in place, without temporaries, then a batched sgemm and a division
  sgemm   that batched sgemm alone, on weights that are there already

Every case checks first that all agree. Ratios are taken between neighbouring measurements; the
table gives their median and spread over rounds.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

import compare_cpu
import sgemm

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "training"))
from contextpool_training.context_pool import EPS, ContextPool  # noqa: E402
from contextpool_training.options import ContextPoolOptions  # noqa: E402

TOKENS = 2048
TOLERANCE = 1e-4
# Support sizes in tokens; "r n" is the largest that the default options allow.
SIZES = ("1", "3", "10", "r n")
R = 0.1
LOG2_E = 1.4426950408889634


@dataclasses.dataclass
class Case:
    columns: int
    length: int
    grid: tuple[int, int] | None  # rows and columns; None: one dimension
    size: str
    x: torch.Tensor  # [sequences, length, columns]
    log_weight: torch.Tensor  # [sequences, length]
    support_size: torch.Tensor

    @classmethod
    def make(cls, columns: int, shape: str, size: str) -> "Case":
        """`shape`: a length, or a grid's rows and columns as in 14x14."""
        sides = [int(side) for side in shape.split("x")]
        length = math.prod(sides)
        generator = torch.Generator().manual_seed(length)
        sequences = max(1, TOKENS // length)
        mean = R * max(sides) if size == "r n" else float(size)
        spread = torch.rand(sequences, length, generator=generator)
        return cls(
            columns,
            length,
            (sides[0], sides[1]) if len(sides) == 2 else None,
            size,
            torch.randn(sequences, length, columns, generator=generator),
            # As sigmoid gives them, and sizes 20% to either side of the mean.
            torch.randn(sequences, length, generator=generator) - 1.5,
            mean * (0.8 + 0.4 * spread),
        )


class Eager:
    def __init__(self, case: Case) -> None:
        options = ContextPoolOptions(num_prefix_tokens=0)
        self.module = ContextPool(case.columns, options, dimensions=2 if case.grid else 1)
        self.case = case
        self.inside = torch.ones(case.x.shape[:2], dtype=torch.bool)

    def __call__(self) -> torch.Tensor:
        case = self.case
        # The part of the module that the kernel replaces.
        distances = self.module._squared_distances(case.x, case.grid, None)
        return self.module._pool(case.x, self.inside, case.log_weight, case.support_size, distances)


class Gemm:
    def __init__(self, case: Case) -> None:
        sides = case.grid or (1, case.length)
        places = torch.cartesian_prod(*(torch.arange(side) for side in sides)).float()
        self.squares = (places[:, None] - places[None, :]).square().sum(dim=2)
        self.case = case
        self.weights = torch.empty(*case.x.shape[:2], case.length)
        self.out = torch.empty_like(case.x)

    def weigh(self) -> None:
        falloff = LOG2_E / (2 * self.case.support_size.square() + EPS)
        torch.mul(self.squares, -falloff[:, :, None], out=self.weights)
        self.weights.add_(self.case.log_weight[:, None, :]).exp2_()

    def multiply(self) -> torch.Tensor:
        return torch.bmm(self.weights, self.case.x, out=self.out)

    def __call__(self) -> torch.Tensor:
        self.weigh()
        sums = self.weights.sum(dim=2, keepdim=True)
        return self.multiply().div_(sums)


class Ours:
    def __init__(self, program: str, threads: int, cpu_time: bool, folder: str) -> None:
        self.folder = pathlib.Path(folder)
        self.process = subprocess.Popen(
            [program, f"--threads={threads}", f"--cpu_time={str(cpu_time).lower()}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, case: Case) -> None:
        self.case = case
        for name in ("x", "log_weight", "support_size"):
            getattr(case, name).numpy().tofile(self.folder / f"{name}.bin")

    def measure(self, seconds: float) -> dict[str, float]:
        case = self.case
        assert self.process.stdin is not None and self.process.stdout is not None
        width = case.grid[1] if case.grid else 0
        shape = f"{len(case.x)} {case.length} {width} {case.columns}"
        self.process.stdin.write(f"{shape} {seconds} {self.folder}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("context_pool_bench ended early")
        return dict(json.loads(line))

    def out(self) -> torch.Tensor:
        values = np.fromfile(self.folder / "out.bin", dtype=np.float32)
        return torch.from_numpy(values).view_as(self.case.x)


def measure(body: Callable[[], object], seconds: float, cpu_time: bool) -> float:
    clock = time.process_time if cpu_time else time.perf_counter
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = clock()
        body()
        times.append(clock() - begin)
    return statistics.median(times)


def check(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    error = (found - expected).abs().max().item()
    if not error <= TOLERANCE:
        sys.exit(f"{name} disagrees by {error}: no times are reported")


def run_case(case: Case, ours: Ours, args: argparse.Namespace) -> str:
    eager, gemm = Eager(case), Gemm(case)
    ours.load(case)
    tiles = ours.measure(0)
    expected = eager()
    check("the kernel", ours.out(), expected)
    check("weights + GEMM", gemm(), expected)
    peers = {"eager": eager, "gemm": gemm, "sgemm": gemm.multiply}
    seconds: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for body in peers.values():
        measure(body, args.seconds, args.cpu_time)
    for _ in range(args.rounds):
        for name, body in peers.items():
            mine = ours.measure(args.seconds)["seconds"]
            # OpenMP's threads go on spinning for a while after their last loop.
            theirs = measure(body, args.seconds, args.cpu_time)
            time.sleep(0.02)
            seconds.append(mine)
            ratios[name].append(theirs / mine)
    share = tiles["computed"] / (tiles["computed"] + tiles["skipped"])
    mine = statistics.median(seconds)
    tokens = len(case.x) * case.length
    gflops = 2e-9 * tokens * case.length * case.columns / mine
    shape = f"{case.grid[0]} x {case.grid[1]}" if case.grid else str(case.length)
    cells = [str(case.columns), shape, case.size, f"{share:.0%}"]
    cells += [f"{mine * 1e9 / tokens:.0f}", f"{gflops * share:.0f}"]
    cells += [compare_cpu.spread(values) for values in ratios.values()]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context_pool_bench", required=True, help="the measuring program")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--columns", type=int, nargs="+", default=[384, 768])
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=["64", "128", "256", "512", "14x14", "24x24", "37x37"],
        help="lengths, or rows and columns of grids",
    )
    parser.add_argument("--sizes", nargs="+", default=SIZES, help='in tokens, or "r n"')
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement")
    parser.add_argument(
        "--cpu_time",
        action="store_true",
        help="compare processor time instead: less exact, but steady on a busy machine",
    )
    args = parser.parse_args()
    allowed = os.sched_getaffinity(0)
    print(f"{compare_cpu.cpu_model()}, PyTorch {torch.__version__}, {compare_cpu.revision()}")
    for threads in args.threads:
        os.sched_setaffinity(0, sorted(allowed)[:threads])
        torch.set_num_threads(threads)
        rates = [sgemm.gflops(*sgemm.SHAPES[0])]
        rows = []
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            ours = Ours(args.context_pool_bench, threads, args.cpu_time, folder)
            for columns in args.columns:
                for shape in args.shapes:
                    for size in args.sizes:
                        rows.append(run_case(Case.make(columns, shape, size), ours, args))
                        print(rows[-1], file=sys.stderr)
            ours.process.communicate()
        rates.append(sgemm.gflops(*sgemm.SHAPES[0]))
        print(f"\n{threads} thread(s), about {TOKENS} tokens; sgemm before and after: ", end="")
        print(" and ".join(f"{rate:.0f}" for rate in rates), "GFLOP/s\n")
        print("| d | n | sigma | computed | ns/token | GFLOP/s | eager | weights + GEMM | GEMM |")
        print("|---|---|---|---|---|---|---|---|---|")
        print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
