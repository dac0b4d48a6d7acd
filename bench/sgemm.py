"""Measures PyTorch's sgemm (MKL) on random data: the ceiling of everything compare_cpu.py times.

    sgemm.py THREADS

Prints a JSON line per shape: {"shape": "1024x384x1536", "gflops": ...}, the median of all products.
"""

import json
import statistics
import sys
import time

import torch

SHAPES = [(1024, 384, 1536), (128, 384, 1536)]
SECONDS = 1.0


def gflops(rows: int, inner: int, columns: int) -> float:
    x, weight = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.empty(rows, columns)
    torch.mm(x, weight, out=out)
    seconds = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(x, weight, out=out)
        seconds.append(time.perf_counter() - start)
    return 2e-9 * rows * inner * columns / statistics.median(seconds)


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    for shape in SHAPES:
        print(json.dumps({"shape": "x".join(map(str, shape)), "gflops": gflops(*shape)}))


if __name__ == "__main__":
    main()
