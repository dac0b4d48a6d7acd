"""The server's own requests to idle models, and what it says of its health."""

import json
import time

MODELS = ["minilm", "sentiment"]
COUNTED = ["contextpool_batch_inputs_count", "contextpool_batch_tokens_sum",
           "contextpool_input_tokens_count", "contextpool_in_flight_requests"]


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


def test_no_model_is_asked_where_canaries_are_off(start_server, repository):
    server = start_server([repository / "sentiment"], "--canary_interval=0")
    time.sleep(1)
    metrics = server.metrics()
    for result in ("ok", "failed", "skipped"):
        assert metrics.value("contextpool_canary_total", model="sentiment", result=result) == 0
