"""Deadlines and full queues."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from harness import MINILM, Code, embed_request

LONG = "word " * 250


@pytest.fixture
def small_queue(start_server, tmp_path):
    """A server whose model lets only few inputs wait."""
    model = tmp_path / "models" / "narrow"
    model.mkdir(parents=True)
    for file in MINILM.iterdir():
        (model / file.name).symlink_to(file)
    (model / "serving.textproto").write_text(
        "batching { token_budget: 512 }\nqueue { max_inputs: 8 }\n")
    return start_server([model.parent])


def retry_delay(error):
    """Seconds from google.rpc.RetryInfo, or None."""
    from google.rpc import error_details_pb2, status_pb2
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return None


def distinct(name, count):
    """Long texts that no other call asks for: the same text would be computed once."""
    return [f"{name} {i} {LONG}" for i in range(count)]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def outcome(client, texts, **keywords):
    try:
        client.embed(texts, **keywords)
        return None
    except grpc.RpcError as error:
        return error


def test_a_full_queue_refuses_with_a_delay(small_queue):
    client = small_queue.client()
    with ThreadPoolExecutor(48) as pool:
        errors = [error for error in pool.map(
            lambda i: outcome(client, distinct(i, 2), model="narrow"), range(48)) if error]
    assert 0 < len(errors) < 48
    for error in errors:
        assert error.code() == Code.RESOURCE_EXHAUSTED, error.details()
        assert 0 < retry_delay(error) <= 60
    metrics = small_queue.metrics()
    assert metrics.value("contextpool_rejected_total", model="narrow",
                         reason="queue_full") == len(errors)
    assert metrics.value("contextpool_requests_total", model="narrow", endpoint="Embed",
                         code="RESOURCE_EXHAUSTED") == len(errors)
    client.embed(["fits again"], model="narrow")
    client.close()


def test_more_than_the_whole_queue_is_no_use_retrying(small_queue):
    client = small_queue.client()
    error = outcome(client, ["x"] * 9, model="narrow")
    assert error.code() == Code.INVALID_ARGUMENT
    assert retry_delay(error) is None
    client.close()


def test_work_that_cannot_be_done_in_time_is_refused_at_once(server):
    client = server.client()
    stop = threading.Event()

    def load(name):
        own = server.client()
        rounds = itertools.count()
        while not stop.is_set():
            own.embed(distinct(f"{name} {next(rounds)}", 12))
        own.close()

    loaders = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for loader in loaders:
        loader.start()

    def refused():
        return server.metrics().value("contextpool_rejected_total", model="minilm",
                                      reason="deadline")

    before = refused()
    errors = []
    try:
        # Long enough to reach the queue on a busy machine, too short for what waits there already.
        for timeout in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5):
            error = outcome(client, distinct(timeout, 32), timeout=timeout)
            if error is not None:
                errors.append(error)
            if refused() > before:
                break
    finally:
        stop.set()
        for loader in loaders:
            loader.join()
    assert refused() > before
    assert errors[-1].code() == Code.RESOURCE_EXHAUSTED, errors[-1].details()
    assert 0 < retry_delay(errors[-1]) <= 60
    assert "deadline" in errors[-1].details()
    # The others may have been late before they came to the queue.
    assert {error.code() for error in errors[:-1]} <= {Code.DEADLINE_EXCEEDED,
                                                        Code.RESOURCE_EXHAUSTED}
    client.embed(["the server goes on"])
    client.close()


def test_a_cancelled_call_leaves_the_queue(server):
    # Work for a second or two: the deadline must be far away on a busy machine too.
    inputs = 32

    def cancelled(metrics):
        return metrics.value("contextpool_dropped_total", model="minilm", reason="cancelled")

    def computed(metrics):
        return metrics.value("contextpool_batch_inputs_sum", model="minilm")

    def in_flight():
        return server.metrics().value("contextpool_in_flight_requests")

    client = server.client()
    before = server.metrics()
    calls = [client.embedding.Embed.future(embed_request(distinct(i, inputs))) for i in range(4)]
    wait_until(lambda: in_flight() == 4)
    time.sleep(0.1)  # tokenised and in the queue
    for call in calls[1:]:
        call.cancel()
    assert len(calls[0].result().results) == inputs
    for call in calls[1:]:
        assert call.cancelled()
    wait_until(lambda: in_flight() == 0)
    after = server.metrics()
    assert cancelled(after) > cancelled(before)
    assert computed(after) - computed(before) < 4 * inputs
    client.embed(["the server goes on"])
    client.close()
