"""What serving costs over the engine alone, in one interleaved run.

idle        latency of single calls beside the engine's own time for the same text, and beside an
            RPC that does nothing
saturation  throughput of real texts beside the engine called directly on them
metrics     throughput while /metrics is read, beside the same load in peace

Every round runs what is compared one after the other. Server, engine and load generator share the
same cores: what the generator takes for itself is measured and shown.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

import load
from host import cpu_model, pin, revision, run
from harness import Server, embed_request, generate_stubs

# Words of the texts whose latency is compared.
LENGTHS = (4, 24, 96)
WORDS = "the old bridge over the river was closed when the long winter came to this small city"


def spread(values: list[float], digits: int = 2) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


class Serving:
    """The server under test and the engine beside it, on the same model, CPUs and threads."""

    def __init__(self, args: argparse.Namespace, server: Server, folder: pathlib.Path) -> None:
        self.args = args
        self.server = server
        self.folder = folder
        self.model = pathlib.Path(args.model).name
        self.cores = len(os.sched_getaffinity(0))

    def engine(self, texts: pathlib.Path, *flags: str) -> dict:
        command = [self.args.engine_bench, f"--model={self.args.model}", f"--texts={texts}",
                   f"--threads={self.cores}", "--rounds=1", *flags]  # fmt: skip
        return run(command)[0]

    def load(self, texts: pathlib.Path, concurrency: int, batch: int = 1) -> dict:
        flags = (f"--concurrency={concurrency}", f"--batch={batch}",
                 f"--duration={self.args.seconds}s")  # fmt: skip
        return load.points(self.server, self.model, *flags, texts)[0]


def call_and_bare_rpc(serving: Serving, text: str) -> list[tuple[float, float, float]]:
    """Of each call in ms: how long it took, what of it the engine computed, and how long an RPC of
    the same server takes that does nothing, after the same time of rest. The client is Python's for
    both, and neither parses nor builds a message meanwhile."""
    from contextpool.v1 import embedding_pb2

    def timed(method: str, message: bytes) -> tuple[float, bytes]:
        began = time.perf_counter()
        reply = client.raw(method, message)
        return (time.perf_counter() - began) * 1e3, reply

    request = embed_request([text], serving.model).SerializeToString()
    client = serving.server.client()
    triples = []
    for _ in range(serving.args.calls):
        call, reply = timed("/contextpool.v1.EmbeddingService/Embed", request)
        computed = embedding_pb2.EmbedResponse.FromString(reply).timing.compute_ns / 1e6
        time.sleep(computed / 1e3)
        bare, _ = timed("/grpc.health.v1.Health/Check", b"")
        time.sleep(computed / 1e3)
        triples.append((call, computed, bare))
    client.close()
    return triples


def idle(serving: Serving) -> None:
    print("\n### One call at a time\n")
    print("| tokens | engine called directly, ms | call by the load tool, ms | inside the server "
          "beside its engine, ms | call by Python, ms | of it computing | RPC that does nothing, ms "
          "| the rest: what the server adds, ms |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for words in LENGTHS:
        path = serving.folder / f"{words}.txt"
        line = " ".join((WORDS.split() * 6)[:words])
        path.write_text((line + "\n") * serving.args.calls)
        engine, call, inside, split = [], [], [], []
        for _ in range(serving.args.rounds):
            own = serving.engine(path, "--in_flight=1", "--each")
            engine.append(statistics.median(own["each"]) * 1e3)
            point = serving.load(path, 1)
            call.append(point["ok_latency_ms"]["p50"])
            mean = point["server_mean_ms"]
            inside.append(mean["total"] - mean["queue"] - mean["compute"])
            found = call_and_bare_rpc(serving, line)
            rest = [whole - computed - bare for whole, computed, bare in found]
            split.append([statistics.median(column) for column in (*zip(*found), rest)])
        tokens = round(point["tokens_per_s"] / point["inputs_per_s"])
        columns = " | ".join(spread(list(column)) for column in zip(*split))
        print(f"| {tokens} | {spread(engine)} | {spread(call)} | {spread(inside)} | {columns} |")


def saturation(serving: Serving, tokens: int) -> None:
    print("\n### Saturated\n")
    print("| texts a call | in flight | engine, texts/s | server, texts/s | generator's share of "
          "the cores | server / engine, as measured | with the generator's share given back |\n"
          "|---|---|---|---|---|---|---|")  # fmt: skip
    texts = pathlib.Path(serving.args.texts)
    for batch, concurrency in ((1, 32), (1, 128), (32, 4)):
        rates, rates_beside, shares, raw, fair = [], [], [], [], []
        for _ in range(serving.args.rounds):
            own = serving.engine(texts, f"--in_flight={batch * concurrency}")
            # By tokens: the load's end cuts the list somewhere.
            engine_rate = tokens / own["seconds"][0]
            point = serving.load(texts, concurrency, batch)
            rates.append(own["inputs"] / own["seconds"][0])
            raw.append(point["tokens_per_s"] / engine_rate)
            rates_beside.append(rates[-1] * raw[-1])
            shares.append(load.client_cores(point) / serving.cores)
            fair.append(raw[-1] / (1 - shares[-1]))
        print(f"| {batch} | {concurrency} | {spread(rates, 0)} | {spread(rates_beside, 0)} "
              f"| {spread(shares, 3)} | {spread(raw, 3)} | {spread(fair, 3)} |")  # fmt: skip


@contextlib.contextmanager
def scraping(server: Server, per_s: float):
    """Reads /metrics so often; yields a list that holds how often it was read in the end."""
    stop, reads = threading.Event(), []

    def read() -> None:
        while not stop.wait(1 / per_s if per_s else 3600):
            reads.append(len(server.http("/metrics")[2]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield reads
    finally:
        stop.set()
        reader.join()


def cpu_ms_of_a_page(server: Server, pages: int = 300) -> float:
    """Of the server at rest, which computes nothing else meanwhile."""
    before = server.metrics().value("process_cpu_seconds_total")
    for _ in range(pages):
        server.http("/metrics")
    return (server.metrics().value("process_cpu_seconds_total") - before) * 1e3 / pages


def metrics(serving: Serving) -> None:
    print("\n### Metrics\n")
    page_ms = cpu_ms_of_a_page(serving.server)
    print(f"- a page of {len(serving.server.http('/metrics')[2]) / 1024:.0f} KiB costs the server "
          f"{page_ms:.2f} ms of one core: read once a second, {page_ms / 10 / serving.cores:.3f}% "
          f"of {serving.cores} cores\n")  # fmt: skip
    print("| pages read per second | tokens/s | of the rate in peace |\n|---|---|---|")
    frequencies = (0, 1, 10)
    rates: dict[float, list[float]] = {per_s: [] for per_s in frequencies}
    texts = pathlib.Path(serving.args.texts)
    for _ in range(serving.args.rounds):
        for per_s in frequencies:
            with scraping(serving.server, per_s):
                rates[per_s].append(serving.load(texts, 32)["tokens_per_s"])
    for per_s in frequencies:
        ratios = [own / peace for own, peace in zip(rates[per_s], rates[0])]
        print(f"| {per_s} | {spread(rates[per_s], 0)} | {spread(ratios, 4)} |")


def token_count(server: Server, model: str, texts: pathlib.Path) -> int:
    """Of the whole list, as the model reads it."""
    client = server.client()
    reply = client.tokenize(texts.read_text().splitlines(), model)
    client.close()
    return sum(result.usage.tokens_used for result in reply.results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--engine_bench", required=True)
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--texts", required=True, help="file with one text a line")
    parser.add_argument("--parts", nargs="*", default=["idle", "saturation", "metrics"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--calls", type=int, default=500, help="of the engine alone, for idle")
    args = parser.parse_args()
    cpus = pin(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "stubs").mkdir()
        generate_stubs(folder / "stubs")
        server = Server(folder / "server", [args.model])
        try:
            serving = Serving(args, server, folder)
            print(f"- contextpool {revision()}; {cpu_model()}; CPUs {','.join(map(str, cpus))} for "
                  f"server, engine and load generator alike")  # fmt: skip
            print(f"- {args.rounds} rounds of {args.seconds:g} s; median (min-max)")
            if "idle" in args.parts:
                idle(serving)
            if "saturation" in args.parts:
                tokens = token_count(server, serving.model, pathlib.Path(args.texts))
                saturation(serving, tokens)
            if "metrics" in args.parts:
                metrics(serving)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
