"""EmbedStream and ClassifyStream against the real server."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

from harness import Code, embed_request, sentences


class Stream:
    """One open EmbedStream: send() and next() as the test likes."""

    def __init__(self, client, timeout=60):
        self._requests = queue.Queue()
        self.call = client.embedding.EmbedStream(iter(self._requests.get, None), timeout=timeout)

    def send(self, *texts, model="minilm", **options):
        self._requests.put(embed_request(texts, model, **options))

    def close(self):
        self._requests.put(None)

    def next(self):
        return next(self.call)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_answers_as_single_calls_do(client):
    texts = sentences(300, longest=40)
    single = [list(result.embedding.values) for result in client.embed(texts).results]
    stream = Stream(client)
    for text in texts:
        stream.send(text)
    stream.close()
    replies = list(stream.call)
    assert stream.call.code() == Code.OK
    assert len(replies) == len(texts)
    for reply, values in zip(replies, single):
        assert list(reply.response.results[0].embedding.values) == pytest.approx(values, abs=1e-5)


def test_a_bad_message_is_answered_in_its_place(client):
    stream = Stream(client)
    stream.send("first")
    stream.send("second", model="nobody")
    stream.send("third", dimensions=7)
    stream.send("fourth")
    stream.close()
    kinds = [reply.error.code or "vector" for reply in stream.call]
    assert kinds == ["vector", Code.NOT_FOUND.value[0], Code.INVALID_ARGUMENT.value[0], "vector"]
    assert stream.call.code() == Code.OK


def test_classify_stream(client):
    from contextpool.v1 import classification_pb2 as pb
    requests = [pb.ClassifyRequest(inputs=[dict(text=text)], model=dict(name="sentiment"))
                for text in ("good", "bad", "")]
    replies = list(client.classification.ClassifyStream(iter(requests), timeout=60))
    assert [len(reply.response.results[0].classification.scores) for reply in replies] == [3, 3, 3]


def test_messages_count_as_calls(start_server, repository):
    server = start_server([repository / "sentiment"])
    client = server.client()
    stream = Stream(client)
    for _ in range(20):
        stream.send("x", model="sentiment")
    stream.send("x", model="nobody")
    stream.close()
    assert len(list(stream.call)) == 21
    metrics = server.metrics()
    labels = dict(endpoint="EmbedStream")
    assert metrics.value("contextpool_requests_total", code="OK", model="sentiment", **labels) == 20
    assert metrics.value("contextpool_requests_total", code="NOT_FOUND", model="", **labels) == 1
    assert metrics.value("contextpool_requests_received_total", model="sentiment", **labels) == 20
    assert metrics.value("contextpool_requests_received_total", model="", **labels) == 1
    client.close()


VANISHING = """
import sys
sys.path[:0] = sys.argv[2:]
import harness
from test_streams import Stream
client = harness.Client(int(sys.argv[1]))
stream = Stream(client)
for i in range(60):
    stream.send(f"{i} " + "word " * 250)
stream.next()
print("streaming", flush=True)
while True:
    stream.next()
"""


def test_work_of_a_client_that_dies_is_dropped(start_server, repository, stubs):
    server = start_server([repository / "minilm"])
    here = os.path.dirname(__file__)
    generated = [path for path in sys.path if os.path.isdir(os.path.join(path, "contextpool"))]
    process = subprocess.Popen([sys.executable, "-c", VANISHING, str(server.grpc_port), here,
                                *generated], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "streaming\n"
    process.send_signal(signal.SIGKILL)
    process.wait()

    def in_flight():
        return server.metrics().value("contextpool_in_flight_requests")

    wait_until(lambda: in_flight() == 0)
    metrics = server.metrics()
    received = metrics.value("contextpool_requests_received_total", endpoint="EmbedStream")
    assert metrics.value("contextpool_requests_total", endpoint="EmbedStream") == received
    assert metrics.value("contextpool_requests_total", endpoint="EmbedStream",
                         code="CANCELLED") > 0
    assert server.terminate() == 0, server.log()


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_clients_that_do_not_read_cost_no_more_than_their_windows(start_server, repository):
    texts, window_mib, reply_mib = [""] * 4096, 16, 6
    server = start_server([repository / "minilm"])
    client = server.client()
    client.embed(texts)
    before = resident_mib(server)
    streams = [Stream(client) for _ in range(8)]
    for stream in streams:
        for _ in range(64):
            stream.send(*texts)

    def answered():
        return server.metrics().value("contextpool_requests_total", endpoint="EmbedStream")

    wait_until(lambda: answered() >= len(streams) * window_mib // reply_mib)
    # Until a second brings no more.
    counts = [-1, answered()]
    while counts[-1] > counts[-2]:
        time.sleep(1)
        counts.append(answered())
    # Half as much again for what the allocator keeps of requests and results that are gone.
    assert resident_mib(server) - before < 1.5 * len(streams) * (window_mib + reply_mib)
    for stream in streams:
        stream.call.cancel()
    client.close()


def test_sigterm_ends_a_stream_after_what_was_read(start_server, repository):
    server = start_server([repository / "minilm"])
    client = server.client()
    stream = Stream(client)
    for i in range(40):
        stream.send(f"{i} " + "word " * 250)
    stream.next()
    wait_until(lambda: server.metrics().value("contextpool_requests_received_total",
                                              endpoint="EmbedStream", model="minilm") == 40)
    exit_code = []
    end = threading.Thread(target=lambda: exit_code.append(server.terminate()))
    end.start()
    replies = 1
    with pytest.raises(grpc.RpcError) as error:
        while True:
            assert stream.next().HasField("response")
            replies += 1
    end.join()
    assert error.value.code() == Code.UNAVAILABLE
    assert "draining" in error.value.details()
    assert replies == 40
    assert exit_code == [0], server.log()
    client.close()
