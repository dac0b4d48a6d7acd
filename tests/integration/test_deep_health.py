"""The server's own requests to idle models, and what it says of its health."""

import ctypes
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

import harness
from harness import Code

MODELS = ["minilm", "sentiment"]
COUNTED = ["contextpool_batch_inputs_count", "contextpool_batch_tokens_sum",
           "contextpool_input_tokens_count", "contextpool_in_flight_requests"]
# Longer than the interval that the server has by default.
IDLE_SECONDS = 12


@pytest.fixture(scope="module", autouse=True)
def server_without_canaries(stubs, repository, tmp_path_factory):
    """A server that is idle while the tests of this file run, and when it began to be."""
    server = harness.Server(tmp_path_factory.mktemp("without_canaries"),
                            [repository / model for model in MODELS], "--canary_interval=0")
    yield server, time.monotonic()
    server.stop()


def canaries(server, result):
    return {model: server.metrics().value("contextpool_canary_total", model=model, result=result)
            for model in MODELS}


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_healthy_server_says_so(server):
    metrics = server.metrics()
    assert metrics.value("contextpool_engine_healthy") == 1
    assert metrics.value("contextpool_executor_step_seconds") >= 0
    status, _, page = server.http("/readyz")
    assert status == 200
    assert json.loads(page)["healthy"] is True


def test_idle_models_are_asked_again_and_again_and_nothing_else_counts_it(start_server, repository):
    server = start_server([repository / model for model in MODELS], "--canary_interval=200ms")
    wait_for(lambda: min(canaries(server, "ok").values()) >= 3)
    metrics = server.metrics()
    for name in COUNTED:
        assert metrics.value(name) == 0, name
    assert metrics.value("contextpool_requests_total") == 0
    assert metrics.value("contextpool_stage_duration_seconds_count") == 0
    assert set(canaries(server, "failed").values()) == {0}
    assert metrics.value("contextpool_engine_healthy") == 1
    assert server.terminate() == 0, server.log()


def test_a_busy_model_is_not_asked_and_an_idle_one_beside_it_is(start_server, repository):
    server = start_server([repository / model for model in MODELS], "--canary_interval=1s")
    client = server.client()
    begin = time.monotonic()
    longest_pause = 0
    while time.monotonic() < begin + 3.5:
        before = time.monotonic()
        client.embed(["a word"])
        longest_pause = max(longest_pause, time.monotonic() - before)
    asked = canaries(server, "ok")
    client.close()
    assert asked["sentiment"] >= 1
    if longest_pause < 0.5:  # else the machine was too busy to keep the model busy
        assert asked["minilm"] == 0


class Tracer:
    """Stops one thread of a process as a debugger does, while the others run on."""

    ATTACH, DETACH, WALL = 16, 17, 0x40000000

    def __init__(self, thread):
        self.thread = thread
        self._ptrace(self.ATTACH)
        os.waitpid(thread, self.WALL)

    def _ptrace(self, request):
        libc = ctypes.CDLL(None, use_errno=True)
        arguments = [ctypes.c_long(value) for value in (request, self.thread, 0, 0)]
        if libc.ptrace(*arguments) != 0:
            pytest.skip(f"threads cannot be traced here: {os.strerror(ctypes.get_errno())}")

    def release(self):
        self._ptrace(self.DETACH)

    def reap(self):
        """Lets the stopped thread end with its process."""
        os.waitpid(self.thread, self.WALL)


def cpu_ticks(process):
    """User time of each thread."""
    threads = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        threads[int(task.name)] = int((task / "stat").read_text().rsplit(")", 1)[1].split()[11])
    return threads


def executor_thread(server, client):
    """The thread that computes: the one that was busy meanwhile."""
    before = cpu_ticks(server.process)
    for _ in range(20):
        client.embed(["word " * 200])
    after = cpu_ticks(server.process)
    return max(after, key=lambda thread: after[thread] - before.get(thread, 0))


def test_a_batch_that_hangs_turns_health_off_until_it_ends(start_server, repository):
    server = start_server([repository / "minilm"], "--threads=1", "--canary_interval=0",
                          "--unhealthy_exit=0")
    client = server.client()
    thread = executor_thread(server, client)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.embed, [f"{i} " + "word " * 200 for i in range(64)])
        wait_for(lambda: server.metrics().value("contextpool_executor_step_seconds") > 0)
        tracer = Tracer(thread)
        try:
            if call.done():
                pytest.skip("the machine is too busy to stop a batch half-way")
            wait_for(lambda: client.health() == 2)
            status, _, page = server.http("/readyz")
            assert status == 503
            assert "a batch has been computed for longer than" in json.loads(page)["reason"]
            assert server.http("/healthz")[0] == 200
            assert server.metrics().value("contextpool_engine_healthy") == 0
            assert server.metrics().value("contextpool_executor_step_seconds") >= 5
            with pytest.raises(grpc.RpcError) as error:
                client.embed(["another"])
            assert error.value.code() == Code.UNAVAILABLE
        finally:
            tracer.release()
        assert len(call.result().results) == 64
    wait_for(lambda: client.health() == 1)
    client.embed(["another"])
    client.close()
    assert server.terminate() == 0, server.log()


def test_an_executor_that_takes_no_work_any_more_ends_the_server(start_server, repository):
    server = start_server([repository / "minilm"], "--threads=1", "--canary_interval=500ms",
                          "--unhealthy_exit=1s")
    client = server.client()
    thread = executor_thread(server, client)
    tracer = Tracer(thread)
    # Until it is stopped between batches, of which canaries are some.
    for _ in range(100):
        if server.metrics().value("contextpool_executor_step_seconds") == 0:
            break
        tracer.release()
        tracer = Tracer(thread)
    else:
        tracer.release()
        pytest.skip("the thread was never stopped between batches")
    client.close()
    wait_for(lambda: "ending" in server.log())
    tracer.reap()
    assert server.process.wait(30) == 1
    assert "the canary of model" in server.log()
    assert not server.ready_file.exists()


def test_no_model_is_asked_where_canaries_are_off(server_without_canaries):
    server, idle_since = server_without_canaries
    time.sleep(max(0, idle_since + IDLE_SECONDS - time.monotonic()))
    for result in ("ok", "failed", "skipped"):
        assert set(canaries(server, result).values()) == {0}, result
    assert server.metrics().value("contextpool_engine_healthy") == 1
