"""Times of GPU work: captured in CUDA graphs, replayed in turns, by CUDA events."""

import math
import statistics
import time
from collections.abc import Callable

import torch

# A call with the input set of that number; what it returns is kept until the next pass.
Contender = Callable[[int], object]

MIN_ROUNDS, MAX_ROUNDS = 5, 25


def input_sets(bytes_per_call: int, device: torch.device) -> int:
    """So many that together they are larger than the second-level cache, within reason."""
    if device.type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(2, min(32, math.ceil(3 * cache / max(1, bytes_per_call))))


class Graph:
    """Many calls of a contender as one graph: what a launch costs the host is not in its time."""

    def __init__(self, contender: Contender, sets: int, passes: int) -> None:
        self.calls = sets * passes
        self.kept: dict[int, object] = {}
        self.error = ""
        self._contender = contender
        self._sets, self._passes = sets, passes
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                contender(0)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._run()
        except RuntimeError as error:
            self.error = str(error).splitlines()[0]
            self._graph = None
        torch.cuda.synchronize()

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def _run(self) -> None:
        for _ in range(self._passes):
            for number in range(self._sets):
                self.kept[number] = self._contender(number)

    def replay(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()


def measure(
    contenders: dict[str, Contender], sets: int, expected_us: float, seconds: float
) -> dict[str, dict[str, float]]:
    """Microseconds a call of each: median, tenth and ninetieth percentile over rounds.

    In a round each contender runs its whole graph once; the order turns from round to round.
    `expected_us` is a lower bound of a call's time, from which the graph's length follows.
    """
    passes = math.ceil(min(400.0, max(8.0, 1000 / max(expected_us, 1.0))) / sets)
    graphs = {name: Graph(contender, sets, passes) for name, contender in contenders.items()}
    for graph in graphs.values():
        graph.replay()
    torch.cuda.synchronize()
    names = list(graphs)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.monotonic() + seconds
    for number in range(MAX_ROUNDS):
        if number >= MIN_ROUNDS and time.monotonic() > end:
            break
        events = {}
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begin, finish = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graphs[name].replay()
            finish.record()
            events[name] = (begin, finish)
        torch.cuda.synchronize()
        for name, (begin, finish) in events.items():
            times[name].append(begin.elapsed_time(finish) * 1000 / graphs[name].calls)
    return {
        name: {
            "us": statistics.median(values),
            "us_low": percentile(values, 10),
            "us_high": percentile(values, 90),
            "rounds": len(values),
            "captured": graphs[name].captured,
        }
        for name, values in times.items()
    }


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * percent / 100)]


def copy_rate(device: torch.device) -> float:
    """Bytes read and written in a nanosecond."""
    source = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = measure({"copy": lambda _: target.copy_(source)}, 1, 700, 0.5)
    return 2 * source.numel() / copied["copy"]["us"] / 1e3


def ceilings(device: torch.device) -> dict[str, float]:
    """What this GPU reaches here: a copy within its memory, and PyTorch's matrix product."""
    found = {"copy_gb_s": copy_rate(device)}
    size = 8192
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        left, right, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
        product = measure(
            {"matmul": lambda _, a=left, b=right, c=out: torch.mm(a, b.t(), out=c)}, 1, 1500, 0.5
        )
        found[f"{name}_tflop_s"] = 2 * size**3 / product["matmul"]["us"] / 1e6
    small = torch.ones(8, device=device)
    node = measure({"node": lambda _: small.add_(1)}, 1, 1, 0.2)
    found["smallest_kernel_us"] = node["node"]["us"]
    return found
