"""Starts the programs under test and speaks to them."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "contextpool-server"
BIN = Path(os.environ.get("CONTEXTPOOL_BIN_DIR", ROOT / "build/release/bin"))
MINILM = Path(os.environ.get("CONTEXTPOOL_MINILM_DIR", CACHE / "models/all-MiniLM-L6-v2"))

Code = grpc.StatusCode


def generate_stubs(folder: Path):
    """Python modules of proto/, importable from then on."""
    files = [str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")]
    include = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{include}", f"--python_out={folder}",
                 f"--grpc_python_out={folder}", *sorted(files)]
    assert protoc.main(arguments) == 0, arguments
    sys.path.insert(0, str(folder))


class Client:
    """Stubs of every service over one connection."""

    def __init__(self, port, *more_options):
        from contextpool.v1 import (classification_pb2_grpc, embedding_pb2_grpc, model_pb2_grpc)
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1),
                   *more_options]
        self.channel = grpc.insecure_channel(f"localhost:{port}", options)
        self.embedding = embedding_pb2_grpc.EmbeddingServiceStub(self.channel)
        self.classification = classification_pb2_grpc.ClassificationServiceStub(self.channel)
        self.model = model_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def embed(self, texts, model="minilm", timeout=60, **options):
        return self.embedding.Embed(embed_request(texts, model, **options), timeout=timeout)

    def classify(self, texts, model="sentiment", timeout=60, **options):
        from contextpool.v1 import classification_pb2 as pb
        request = pb.ClassifyRequest(inputs=inputs(texts), options=pb.ClassifyOptions(**options))
        request.model.name = model
        return self.classification.Classify(request, timeout=timeout)

    def tokenize(self, texts, model="minilm", **fields):
        from contextpool.v1 import model_pb2 as pb
        request = pb.TokenizeRequest(texts=texts, **fields)
        request.model.name = model
        return self.model.Tokenize(request, timeout=60)

    def raw(self, method, data: bytes, timeout=60) -> bytes:
        """Calls a method with a message of these bytes, whatever they are."""
        call = self.channel.unary_unary(method, request_serializer=lambda x: x,
                                        response_deserializer=lambda x: x)
        return call(data, timeout=timeout)

    def health(self, service=""):
        """grpc.health.v1.HealthCheckResponse.status: 1 is SERVING, 2 is NOT_SERVING."""
        return health_status(self.raw("/grpc.health.v1.Health/Check", health_request(service)))

    def watch_health(self, service=""):
        """Yields each status that the server announces."""
        call = self.channel.unary_stream("/grpc.health.v1.Health/Watch",
                                         request_serializer=lambda x: x,
                                         response_deserializer=health_status)
        return call(health_request(service))


def health_request(service):
    return (b"\x0a" + bytes([len(service)]) + service.encode()) if service else b""


def health_status(message):
    return message[1] if message else 0


def inputs(values):
    """Input messages from texts, bytes (images) and lists (token ids)."""
    from contextpool.v1 import types_pb2 as pb
    result = []
    for value in values:
        if isinstance(value, pb.Input):
            result.append(value)
        elif isinstance(value, str):
            result.append(pb.Input(text=value))
        elif isinstance(value, bytes):
            result.append(pb.Input(image=value))
        else:
            result.append(pb.Input(token_ids=pb.TokenIds(ids=value)))
    return result


def embed_request(texts, model="minilm", **options):
    from contextpool.v1 import embedding_pb2 as pb
    request = pb.EmbedRequest(inputs=inputs(texts), options=pb.EmbedOptions(**options))
    request.model.name = model
    return request


class Server:
    """One contextpool-server process on free ports. The folder holds its ready file and log."""

    def __init__(self, folder: Path, repositories, *flags, program=BIN / "contextpool-server"):
        folder.mkdir(parents=True, exist_ok=True)
        self.ready_file = folder / "ready.json"
        self.log_file = folder / "server.log"
        command = [program, f"--model_repository={','.join(map(str, repositories))}",
                   "--grpc_port=0", "--metrics_port=0", "--bind_address=127.0.0.1",
                   f"--ready_file={self.ready_file}", *flags]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process.poll() is None, f"the server ended early:\n{self.log()}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{self.log()}"
            time.sleep(0.02)
        ports = json.loads(self.ready_file.read_text())
        self.grpc_port = ports["grpc_port"]
        self.metrics_port = ports["metrics_port"]

    @property
    def address(self):
        return f"localhost:{self.grpc_port}"

    def log(self):
        return self.log_file.read_text()

    def client(self, *options):
        return Client(self.grpc_port, *options)

    def http(self, path):
        """Status, content type and text of a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}",
                                        timeout=30) as reply:
                return reply.status, reply.headers["Content-Type"], reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    def metrics(self):
        return Metrics(self.http("/metrics")[2])

    def terminate(self, timeout=60):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Metrics:
    """A page in Prometheus' text format, read strictly."""

    def __init__(self, page):
        self.types = {}
        self.samples = {}
        for line in page.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                assert name not in self.types, f"{name} stands twice"
                self.types[name] = kind
            elif line and not line.startswith("#"):
                name, labels, value = self._sample(line)
                key = (name, frozenset(labels.items()))
                assert key not in self.samples, f"{line} stands twice"
                self.samples[key] = value
                family = name
                for suffix in ("_bucket", "_sum", "_count"):
                    if family.endswith(suffix) and family[:-len(suffix)] in self.types:
                        family = family[:-len(suffix)]
                assert family in self.types, f"{line} has no type"

    @staticmethod
    def _sample(line):
        series, value = line.rsplit(" ", 1)
        name, _, rest = series.partition("{")
        labels = {}
        if rest:
            assert rest.endswith("}"), line
            for pair in filter(None, rest[:-1].split('",')):
                key, _, label = pair.partition('="')
                labels[key] = label.rstrip('"')
        return name, labels, float(value)

    def value(self, name, **labels):
        """The sum over the series with (at least) these labels, of which there must be one."""
        wanted = set(labels.items())
        found = [value for (series, have), value in self.samples.items()
                 if series == name and wanted <= have]
        assert found, f"no series {name}{labels}"
        return math.fsum(found)

    def labels(self, name, label):
        """Every value that this label has among the series of a name."""
        return {dict(labels)[label] for series, labels in self.samples if series == name}


def run_cli(*arguments, server=None, stdin=None, environment=None):
    """Runs `contextpool`; the completed process with text output."""
    variables = {key: value for key, value in os.environ.items() if key != "CONTEXTPOOL_SERVER"}
    if server is not None:
        variables["CONTEXTPOOL_SERVER"] = server
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([BIN / "contextpool", *map(str, arguments)], input=data or b"",
                          capture_output=True, env={**variables, **(environment or {})},
                          timeout=60, check=False)
    done.stdout = done.stdout.decode()
    done.stderr = done.stderr.decode()
    return done


def sentences(count, seed=0, longest=60):
    """Made-up English-like texts of 1 to `longest` words, the same for the same seed."""
    words = ("the a river city quiet machine learns from small stones while evening light falls "
             "over seven bridges and nobody counts boats café naïve data, people; music. 42 "
             "transformer pooling context vectors unbelievable extraordinarily").split()
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=rng.randint(1, longest))) for _ in range(count)]
