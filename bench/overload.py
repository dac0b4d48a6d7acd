"""Offers more than the server can do, and counts what still arrives in time.

First the peak: the best throughput of closed loops. Then open loops with Poisson arrivals at
multiples of the peak, every call with a deadline. Goodput counts calls that were answered with OK
before their deadline; long texts are refused sooner than short ones, so their tokens are counted
too. `--peer NAME=PROGRAM` repeats the open loops, arrival for arrival, with another server program,
such as an earlier build. Server and load generator have CPUs of their own.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile

import load
from host import cpu_model, revision
from harness import BIN, Server, generate_stubs
from plot import Plot

CLOSED_LOOPS = (8, 32, 128)
REFUSED = "RESOURCE_EXHAUSTED"


@dataclasses.dataclass
class Peak:
    """Per second."""

    calls: float
    tokens: float


@dataclasses.dataclass
class Row:
    """One load on one server. Rates are per second, latencies in milliseconds."""

    server: str
    load: float  # of the peak
    offered: float
    goodput: float
    ok_tokens: float
    accepted: int  # answered with anything but a refusal
    in_time: int
    refused: int
    ok_p50_ms: float
    ok_p99_ms: float
    refusal_p99_ms: float | None  # inside the server


class Quantile:
    """A quantile of what a server's histogram counted between two pages."""

    def __init__(self, name: str, before, after) -> None:
        self.buckets = sorted(
            (float(dict(labels)["le"]), value - before.samples.get((series, labels), 0))
            for (series, labels), value in after.samples.items()
            if series == f"{name}_bucket")  # fmt: skip

    def upper_bound(self, share: float) -> float | None:
        """The bound of its bucket: never too low. None: nothing was counted, or not by name."""
        count = self.buckets[-1][1] if self.buckets else 0
        if count == 0:
            return None
        return next(bound for bound, below in self.buckets if below >= share * count)


class Overload:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.args = args
        self.folder = folder
        self.model = pathlib.Path(args.model).name
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("overload needs two CPUs: one for the server, one for the generator")
        self.server_cpus, self.client_cpus = cpus[: len(cpus) // 2], cpus[len(cpus) // 2 :]

    def start(self, name: str, program: pathlib.Path) -> Server:
        """On the server's CPUs, which also sets how many threads it uses."""
        os.sched_setaffinity(0, self.server_cpus)
        try:
            return Server(self.folder / name, [self.args.model], program=program)
        finally:
            os.sched_setaffinity(0, self.client_cpus)

    def peak(self, server: Server) -> Peak:
        """Of the closed loop that computes most."""
        loops = ",".join(map(str, CLOSED_LOOPS))
        points = load.points(server, self.model, f"--concurrency={loops}", "--shuffle",
                             f"--duration={self.args.seconds}s", self.args.texts)  # fmt: skip
        best = max(points, key=lambda point: point["tokens_per_s"])
        return Peak(best["ok_calls_per_s"], best["tokens_per_s"])

    def row(self, name: str, server: Server, share: float, peak: Peak) -> Row:
        before = server.metrics()
        flags = (f"--rate={share * peak.calls:.1f}", f"--deadline={self.args.deadline_ms}ms",
                 "--warmup=2s", f"--duration={self.args.seconds}s", "--shuffle")  # fmt: skip
        point = load.points(server, self.model, *flags, self.args.texts)[0]
        refusals = Quantile("contextpool_refusal_duration_seconds", before, server.metrics())
        refusal_p99_s = refusals.upper_bound(0.99)
        refused = point["codes"].get(REFUSED, 0)
        return Row(
            server=name,
            load=share,
            offered=point["calls"] / point["measured_s"],
            goodput=point["good_calls_per_s"],
            ok_tokens=point["tokens_per_s"],
            accepted=point["calls"] - refused,
            in_time=point["good_calls"],
            refused=refused,
            ok_p50_ms=point["ok_latency_ms"].get("p50", 0),
            ok_p99_ms=point["ok_latency_ms"].get("p99", 0),
            refusal_p99_ms=None if refusal_p99_s is None else refusal_p99_s * 1e3,
        )

    def run(self) -> tuple[Peak, list[Row]]:
        programs = {"contextpool": BIN / "contextpool-server"}
        for peer in self.args.peer:
            name, _, path = peer.partition("=")
            programs[name] = pathlib.Path(path).resolve()
        servers = {name: self.start(name, program) for name, program in programs.items()}
        try:
            peak = self.peak(servers["contextpool"])
            rows = []
            for share in self.args.loads:
                # One after the other at each load, so that both meet the same machine.
                for name, server in servers.items():
                    rows.append(self.row(name, server, share, peak))
                    print(f"    {rows[-1]}", file=sys.stderr)
            return peak, rows
        finally:
            for server in servers.values():
                server.stop()


def markdown(rows: list[Row], peak: Peak) -> str:
    lines = ["| load, of the peak | server | offered, calls/s | goodput, calls/s | of the peak | "
             "its tokens, of the peak's | accepted | of these in time | refused | "
             "refusals in the server, p99 ms | OK, p50 ms | p99 ms |\n" + "|---" * 12 + "|"]
    for row in rows:
        in_time = f"{row.in_time / row.accepted:.2%}" if row.accepted else ""
        refusal = "" if row.refusal_p99_ms is None else f"<= {row.refusal_p99_ms:.2f}"
        lines.append(f"| {row.load:g} | {row.server} | {row.offered:.1f} | {row.goodput:.1f} "
                     f"| {row.goodput / peak.calls:.1%} | {row.ok_tokens / peak.tokens:.1%} "
                     f"| {row.accepted} | {in_time} | {row.refused} "
                     f"| {refusal} | {row.ok_p50_ms:.1f} | {row.ok_p99_ms:.1f} |")  # fmt: skip
    return "\n".join(lines)


def write(overload: Overload, rows: list[Row], peak: Peak) -> None:
    folder = overload.args.output
    folder.mkdir(parents=True, exist_ok=True)
    found = {"revision": revision(), "processor": cpu_model(),
             "deadline_ms": overload.args.deadline_ms,
             "peak_per_s": dataclasses.asdict(peak),
             "rows": [dataclasses.asdict(row) for row in rows]}  # fmt: skip
    (folder / "overload.json").write_text(json.dumps(found, indent=1) + "\n")
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row.server, []).append((row.load, row.goodput / peak.calls))
    title = f"Calls answered within {overload.args.deadline_ms} ms"
    Plot(title, "offered, of the peak", "goodput, of the peak", lines,
         dots=True).write(folder / "overload.svg")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--texts", required=True, help="file with one text a line")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PROGRAM")
    parser.add_argument("--loads", nargs="*", type=float, default=[0.5, 0.8, 1.0, 1.2, 1.5, 2.0])
    parser.add_argument("--deadline_ms", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--output", type=pathlib.Path, default=load.ROOT / "build/bench")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "stubs").mkdir()
        generate_stubs(folder / "stubs")
        overload = Overload(args, folder)
        peak, rows = overload.run()
    print(f"- contextpool {revision()}; {cpu_model()}; server on CPUs {overload.server_cpus}, load "
          f"generator on CPUs {overload.client_cpus}")  # fmt: skip
    print(f"- peak: {peak.calls:.1f} calls/s with {peak.tokens:.0f} tokens/s, the best of closed "
          f"loops with {', '.join(map(str, CLOSED_LOOPS))} calls in flight; {args.seconds:g} s for "
          f"each load; deadline {args.deadline_ms} ms\n")  # fmt: skip
    print(markdown(rows, peak))
    write(overload, rows, peak)


if __name__ == "__main__":
    main()
