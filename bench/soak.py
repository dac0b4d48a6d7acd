"""Keeps a storm going and watches what it leaves: memory, threads, files, queues.

The clients are those of tests/integration/test_storm.py: mixed models, lengths, classes, unary
calls and streams, of which 30% are cancelled, some disconnected and some have no time; a model is
reloaded again and again. Every answer is checked. Writes soak.json, soak.md and soak.svg, prints
the Markdown, and fails if a check does.
"""

import argparse
import asyncio
import collections
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))

import harness  # noqa: E402
import storm_scene  # noqa: E402
from host import cpu_model, revision  # noqa: E402
from plot import Plot  # noqa: E402
from storm import Storm  # noqa: E402
from storm_books import disagreements, unrest  # noqa: E402
from storm_plan import Bank  # noqa: E402

MIB = 1 << 20
# What the server needs to reach its working size is not called growth.
WARM_UP = 0.1


@dataclasses.dataclass
class Sample:
    seconds: float
    resident_mib: float
    threads: int
    open_files: int
    queued_inputs: int
    calls_in_flight: int


def sample(server, seconds: float) -> Sample:
    page = server.metrics()
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    threads = next(line for line in status.splitlines() if line.startswith("Threads:"))
    return Sample(
        seconds=round(seconds, 2),
        resident_mib=round(page.value("process_resident_memory_bytes") / MIB, 2),
        threads=int(threads.split()[1]),
        open_files=int(page.value("process_open_fds")),
        queued_inputs=int(page.value("contextpool_queue_depth")),
        calls_in_flight=int(page.value("contextpool_in_flight_requests")),
    )


class Soak:
    def __init__(self, server, storm: Storm, args: argparse.Namespace) -> None:
        self.server = server
        self.storm = storm
        self.seconds = args.minutes * 60
        self.reload_every_s = args.reload_every
        self.samples: list[Sample] = []
        self.reloads = 0

    async def run(self) -> None:
        await self.storm.run(self.seconds, asyncio.gather(self._watch(), self._reload()))

    async def _watch(self) -> None:
        start = time.monotonic()
        while (now := time.monotonic() - start) < self.seconds:
            self.samples.append(await asyncio.to_thread(sample, self.server, now))
            await asyncio.sleep(max(0, start + len(self.samples) - time.monotonic()))

    async def _reload(self) -> None:
        end = time.monotonic() + self.seconds
        while time.monotonic() + self.reload_every_s < end:
            await asyncio.sleep(self.reload_every_s)
            name = ("minilm", "sentiment", "bytes")[self.reloads % 3]
            await storm_scene.reload_model(self.server, name)
            self.reloads += 1


@dataclasses.dataclass
class Growth:
    """Of the memory from some share of the time on."""

    since: str
    mib_per_hour: float
    standard_error: float


def growth(samples: list[Sample], period_s: float, begin: float) -> Growth:
    """Least squares over the lowest memory of each period between reloads, since a reload holds a
    model twice for some seconds."""
    lowest: dict[int, Sample] = {}
    for each in samples[int(len(samples) * begin) :]:
        period = int(each.seconds / period_s)
        if period not in lowest or each.resident_mib < lowest[period].resident_mib:
            lowest[period] = each
    hours = [each.seconds / 3600 for each in lowest.values()]
    memory = [each.resident_mib for each in lowest.values()]
    line = statistics.linear_regression(hours, memory)
    residuals = [y - line.intercept - line.slope * x for x, y in zip(hours, memory)]
    variance = sum(r * r for r in residuals) / (len(hours) - 2)
    error = (variance / sum((x - statistics.mean(hours)) ** 2 for x in hours)) ** 0.5
    return Growth(f"{begin:.0%}", round(line.slope, 2), round(error, 2))


def faults(soak: Soak, before, after, exit_code: int) -> list[str]:
    found = soak.storm.books.faults + unrest(after)
    found += disagreements(before, after, soak.storm.books)
    if exit_code != 0:
        found.append(f"the server ended with {exit_code}")
    return found


def findings(soak: Soak, after, problems: list[str], args: argparse.Namespace) -> dict:
    samples, books = soak.samples, soak.storm.books
    at = {f"{share:.0%}": samples[int(share * (len(samples) - 1))].resident_mib
          for share in (WARM_UP, 0.5, 1)}  # fmt: skip
    dropped = collections.Counter()
    for (name, labels), value in after.samples.items():
        if name == "contextpool_dropped_total":
            dropped[dict(labels)["reason"]] += int(value)
    return {
        "revision": revision(),
        "processor": cpu_model(),
        "seed": args.seed,
        "clients": args.clients,
        "minutes": args.minutes,
        "reload_every_s": args.reload_every,
        "reloads": soak.reloads,
        "calls": books.begun.total(),
        "calls_by_code": dict(books.codes()),
        "calls_given_up": books.given_up.total(),
        "results_compared": books.compared,
        "inputs_dropped": dict(dropped),
        "resident_mib_at": at,
        "resident_mib_at_rest": round(after.value("process_resident_memory_bytes") / MIB, 2),
        "growth": [dataclasses.asdict(growth(samples, args.reload_every, begin))
                   for begin in (WARM_UP, 0.5)],
        "faults": problems,
        "samples": [dataclasses.asdict(each) for each in samples],
    }


def markdown(found: dict) -> str:
    samples = found["samples"]

    def reach(name: str) -> str:
        values = [each[name] for each in samples]
        return f"{min(values):g}-{max(values):g}"

    rows = {
        "calls, messages of streams included": found["calls"],
        **{f"answered {code}": n for code, n in sorted(found["calls_by_code"].items())},
        "given up by their client": found["calls_given_up"],
        **{f"inputs dropped before compute: {why}": n
           for why, n in sorted(found["inputs_dropped"].items())},
        "results compared with the same text alone": found["results_compared"],
        "reloads": found["reloads"],
        **{f"resident memory at {when} of the time, MiB": mib
           for when, mib in found["resident_mib_at"].items()},
        "resident memory at rest afterwards, MiB": found["resident_mib_at_rest"],
        **{f"growth after {part['since']} of the time, MiB an hour (standard error)":
           f"{part['mib_per_hour']:g} ({part['standard_error']:g})" for part in found["growth"]},
        "threads": reach("threads"),
        "open files": reach("open_files"),
        "inputs that wait": reach("queued_inputs"),
        "faults": len(found["faults"]),
    }  # fmt: skip
    head = (f"- contextpool {found['revision']}; {found['processor']}\n"
            f"- {found['minutes']:g} minutes, {found['clients']} clients, seed {found['seed']}\n\n"
            "| figure | value |\n|---|---|\n")  # fmt: skip
    return head + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def write(found: dict, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "soak.md").write_text(markdown(found))
    memory = [(each["seconds"] / 60, each["resident_mib"]) for each in found["samples"]]
    title = f"{found['clients']} clients, a reload every {found['reload_every_s']:g} s"
    Plot(title, "minutes", "resident memory, MiB", {"memory": memory}).write(folder / "soak.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--reload_every", type=float, default=20, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "build/bench")
    args = parser.parse_args()
    if args.minutes * 60 < 6 * args.reload_every:
        parser.error("--minutes: the growth of memory needs at least 6 times --reload_every")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in ("stubs", "models"):
            (folder / part).mkdir()
        harness.generate_stubs(folder / "stubs")
        storm_scene.write_repository(folder / "models")
        server = storm_scene.start_server(folder / "server", folder / "models")
        try:
            found = measure(server, args)
        finally:
            server.stop()
    write(found, args.output)
    print(markdown(found))
    for fault in found["faults"][:20]:
        print(f"- fault: {fault}")
    sys.exit(1 if found["faults"] else 0)


def measure(server, args: argparse.Namespace) -> dict:
    client = server.client()
    storm = Storm(server.grpc_port, Bank(client, args.seed), args.seed, args.clients)
    client.close()
    before = storm_scene.page_at_rest(server)
    soak = Soak(server, storm, args)
    asyncio.run(soak.run())
    after = storm_scene.page_at_rest(server)
    problems = faults(soak, before, after, server.terminate())
    return findings(soak, after, problems, args)


if __name__ == "__main__":
    main()
