"""Times of GPU work: captured in CUDA graphs, replayed in turns, by CUDA events."""

import math
import statistics
import time
from collections.abc import Callable

import torch

# A call with the input set of that number; what it returns is kept until the next pass.
Contender = Callable[[int], object]

MIN_ROUNDS, MAX_ROUNDS = 5, 25
# Of a replay: so long, or so many calls.
LONG_US, MAX_CALLS = 2000, 400
SLEEP_CYCLES = 2_000_000
# Whole calls of each contender in a round.
CALLS_A_ROUND = 5


def input_sets(bytes_per_call: int, device: torch.device) -> int:
    """So many that together they are larger than the second-level cache, within reason."""
    if device.type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(2, min(32, math.ceil(3 * cache / max(1, bytes_per_call))))


class Graph:
    """Calls of a contender as one graph: what a launch costs the host is not in its time.

    Each set of inputs in turn, so often that a replay takes a few milliseconds or has many calls.
    """

    def __init__(self, contender: Contender, sets: int) -> None:
        self._contender = contender
        self._sets = sets
        self.kept: dict[int, object] = {}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                contender(0)
        torch.cuda.current_stream().wait_stream(side)
        self._capture(passes=1)
        if self.captured:
            once_us = min(self.time_us() for _ in range(3))
            self._capture(passes=math.ceil(min(MAX_CALLS, LONG_US / once_us) / sets))

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def _capture(self, passes: int) -> None:
        self._passes = passes
        torch.cuda.synchronize()
        self._graph: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._run()
        except RuntimeError:
            self._graph = None
        torch.cuda.synchronize()

    def _run(self) -> None:
        for _ in range(self._passes):
            for number in range(self._sets):
                self.kept[number] = self._contender(number)

    def begin(self) -> Callable[[], float]:
        """Starts a replay; the result waits for it and gives microseconds a call."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()
        end.record()

        def finish() -> float:
            end.synchronize()
            return begin.elapsed_time(end) * 1000 / (self._sets * self._passes)

        return finish

    def time_us(self) -> float:
        return self.begin()()


def measure(
    contenders: dict[str, Contender], sets: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Microseconds a call of each: median, tenth and ninetieth percentile over rounds.

    In a round each contender runs its whole graph once; the order turns from round to round.
    """
    graphs = {name: Graph(contender, sets) for name, contender in contenders.items()}
    names = list(graphs)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and time.monotonic() < end):
        turn = rounds % len(names)
        # All of a round are queued before the first is waited for, behind a millisecond of nothing:
        # no graph waits for the host.
        torch.cuda._sleep(SLEEP_CYCLES)
        started = {name: graphs[name].begin() for name in names[turn:] + names[:turn]}
        for name, finish in started.items():
            times[name].append(finish())
        rounds += 1
    return {
        name: summary(values, rounds) | {"captured": graphs[name].captured}
        for name, values in times.items()
    }


def measure_calls(contenders: dict[str, Contender], seconds: float) -> dict[str, dict[str, float]]:
    """The same of whole calls that wait for their result, by the host's clock."""
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for contender in contenders.values():
        for _ in range(3):
            contender(0)
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and time.monotonic() < end):
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            torch.cuda.synchronize()
            for _ in range(CALLS_A_ROUND):
                begin = time.perf_counter()
                contenders[name](0)
                times[name].append((time.perf_counter() - begin) * 1e6)
        rounds += 1
    return {name: summary(values, rounds) for name, values in times.items()}


def summary(values: list[float], rounds: int) -> dict[str, float]:
    return {
        "us": statistics.median(values),
        "us_low": percentile(values, 10),
        "us_high": percentile(values, 90),
        "rounds": rounds,
    }


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * percent / 100)]


def memory_rate(device: torch.device) -> float:
    """Gigabytes a second, read and written: the most that simple kernels of PyTorch reach."""
    first, second, out = (torch.randn(1 << 28, device=device).bfloat16() for _ in range(3))
    ways: dict[str, tuple[int, Contender]] = {
        "copy": (2, lambda _: out.copy_(first)),
        "abs": (2, lambda _: torch.abs(first, out=out)),
        "add": (3, lambda _: torch.add(first, second, out=out)),
    }
    times = measure({name: contender for name, (_, contender) in ways.items()}, 1, 0.5)
    size = first.numel() * first.element_size()
    return max(moved * size / times[name]["us"] / 1e3 for name, (moved, _) in ways.items())


def ceilings(device: torch.device) -> dict[str, float]:
    """What this GPU reaches here: its memory, and PyTorch's matrix product."""
    found = {"memory_gb_s": memory_rate(device)}
    size = 8192
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        left, right, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
        product = measure(
            {"matmul": lambda _, a=left, b=right, c=out: torch.mm(a, b.t(), out=c)}, 1, 0.5
        )
        found[f"{name}_tflop_s"] = 2 * size**3 / product["matmul"]["us"] / 1e6
    small = torch.ones(8, device=device)
    node = measure({"node": lambda _: small.add_(1)}, 1, 0.2)
    found["smallest_kernel_us"] = node["node"]["us"]
    return found


def profile(call: Callable[[], object], calls: int = 5) -> list[dict[str, object]]:
    """Where the GPU's time goes: each kernel's name, launches and microseconds a call."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CUDA]) as recorded:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    found = [
        {
            "name": event.key,
            "launches": event.count / calls,
            "us": event.self_device_time_total / calls,
        }
        for event in recorded.key_averages()
        if event.self_device_time_total > 0
    ]
    return sorted(found, key=lambda entry: -entry["us"])
