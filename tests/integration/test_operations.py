"""Ports, health, metrics, flags, start and stop."""

import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from harness import BIN, MINILM, ROOT, Code, embed_request, sentences

SERVICES = ["contextpool.v1.EmbeddingService", "contextpool.v1.ClassificationService"]


def test_health_of_everything(client):
    for service in ["", *SERVICES, "model:minilm", "model:sentiment"]:
        assert client.health(service) == 1, service
    assert client.health("model:broken") == 2
    with pytest.raises(grpc.RpcError) as error:
        client.health("no.such.Service")
    assert error.value.code() == Code.NOT_FOUND


def test_reflection_lists_the_services(client):
    call = client.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda x: x, response_deserializer=lambda x: x)
    reply = b"".join(call(iter([b"\x3a\x01*"])))  # list_services: "*"
    for service in [*SERVICES, "contextpool.v1.ModelService", "grpc.health.v1.Health"]:
        assert service.encode() in reply
    symbol = b"contextpool.v1.EmbedRequest"
    reply = b"".join(call(iter([b"\x22" + bytes([len(symbol)]) + symbol])))
    assert b"contextpool/v1/embedding.proto" in reply


def test_pages(server):
    assert server.http("/healthz")[0] == 200
    status, _, text = server.http("/readyz")
    assert status == 200
    assert "minilm" in text and "broken" in text and "failed" in text
    status, content_type, _ = server.http("/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert server.http("/nothing-here")[0] == 404


SERIES = {
    "contextpool_requests_total": dict(model="minilm", version="1", endpoint="Embed",
                                       protocol="grpc", code="OK"),
    "contextpool_request_duration_seconds_count": dict(model="sentiment", endpoint="Classify",
                                                       protocol="grpc"),
    "contextpool_input_errors_total": dict(model="minilm", code="INVALID_ARGUMENT"),
    "contextpool_batch_inputs_count": dict(model="minilm"),
    "contextpool_batch_tokens_sum": dict(model="minilm"),
    "contextpool_truncated_inputs_total": dict(model="minilm"),
    "contextpool_rejected_total": dict(model="minilm", reason="queue_full"),
    "contextpool_dropped_total": dict(model="minilm", reason="deadline"),
    "contextpool_input_tokens_count": dict(model="minilm"),
    "contextpool_in_flight_requests": {},
}


@pytest.mark.parametrize("name", SERIES)
def test_series_exist_at_zero_before_the_first_request(server, name):
    assert server.first_metrics.value(name, **SERIES[name]) == 0


def test_gauges_and_facts_exist_from_the_start(server):
    first = server.first_metrics
    for kind in ("interactive", "bulk"):
        assert first.value("contextpool_queue_depth", model="minilm", **{"class": kind}) == 0
        assert first.value("contextpool_queue_tokens", model="minilm", **{"class": kind}) == 0
    for stage in ("decode", "tokenize", "admission", "queue", "batch_wait", "host_to_device",
                  "compute", "device_to_host", "encode"):
        first.value("contextpool_stage_duration_seconds_count", model="minilm", stage=stage)
    assert first.value("contextpool_model_info", model="minilm", version="1", dtype="float32",
                       device="cpu", architecture="BertModel") == 1
    assert first.value("contextpool_model_load_duration_seconds", model="minilm") > 0
    assert first.value("contextpool_build_info") == 1
    assert first.value("process_resident_memory_bytes") > 1e6


def test_metrics_move_with_requests(server, client):
    texts = ["short", "word " * 300, "two words"]
    before = server.metrics()
    client.embed([*texts, []])
    with pytest.raises(grpc.RpcError):
        client.embed([])
    after = server.metrics()

    def grown(name, **labels):
        return after.value(name, **labels) - before.value(name, **labels)

    model = dict(model="minilm")
    assert grown("contextpool_requests_total", endpoint="Embed", code="OK", **model) == 1
    assert grown("contextpool_requests_total", endpoint="Embed", code="INVALID_ARGUMENT") == 1
    assert grown("contextpool_request_duration_seconds_count", endpoint="Embed", **model) >= 1
    assert grown("contextpool_input_errors_total", code="INVALID_ARGUMENT", **model) == 1
    assert grown("contextpool_truncated_inputs_total", **model) == 1
    assert grown("contextpool_input_tokens_count", **model) == 3
    assert grown("contextpool_input_tokens_sum", **model) == 3 + 256 + 4
    assert grown("contextpool_batch_inputs_sum", **model) == 3
    for stage in ("decode", "tokenize", "queue", "compute", "encode"):
        name = "contextpool_stage_duration_seconds"
        assert grown(f"{name}_count", stage=stage, **model) >= 1, stage
    assert grown("contextpool_stage_duration_seconds_sum", stage="compute", **model) > 0


def test_histograms_are_cumulative(server, client):
    client.embed(["something"])
    buckets = {}
    for (name, labels), value in server.metrics().samples.items():
        if name.endswith("_bucket"):
            labels = dict(labels)
            bound = float(labels.pop("le"))
            buckets.setdefault((name, frozenset(labels.items())), []).append((bound, value))
    assert buckets
    for series, values in buckets.items():
        values.sort()
        counts = [count for _, count in values]
        assert counts == sorted(counts), series
        assert values[-1][0] == float("inf"), series


def test_no_label_carries_what_a_caller_wrote(server, client):
    with pytest.raises(grpc.RpcError):
        client.embed(["x"], model="attacker-chosen")
    assert "attacker-chosen" not in server.http("/metrics")[2]


def defined_flags():
    """The flags of the program, from its source."""
    source = (ROOT / "server/config/flags.cc").read_text()
    return re.findall(r"ABSL_FLAG\(\s*[\w:]+(?:<[^>]*>)?,\s*(\w+),", source)


def test_help_documents_every_flag():
    done = subprocess.run([BIN / "contextpool-server", "--help"], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == 0
    flags = defined_flags()
    assert len(flags) >= 15 and "grpc_port" in flags
    for flag in flags:
        assert re.search(rf"^ *--{flag}\b.*\n +\S", done.stdout, re.M), flag


@pytest.mark.parametrize("arguments, part", [
    (["--nonsense=1"], "nonsense"),
    (["--grpc_port=70000"], "grpc_port"),
    (["--model_repository=/nonexistent"], "/nonexistent"),
    ([], "model_repository"),
    (["text"], "text")])
def test_a_wrong_start_says_why(arguments, part):
    done = subprocess.run([BIN / "contextpool-server", *arguments], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode not in (0, -6, -11)
    assert part in done.stdout + done.stderr


def test_require_all_models_makes_a_failed_one_fatal(repository):
    done = subprocess.run(
        [BIN / "contextpool-server", f"--model_repository={repository / 'broken'}",
         "--require_all_models", "--grpc_port=0", "--metrics_port=0"],
        capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode not in (0, -6, -11)
    assert "broken" in done.stdout + done.stderr


def test_a_lone_model_needs_no_name(start_server, repository):
    server = start_server([repository / "sentiment"])
    client = server.client()
    assert client.classify(["good"], model="").model.name == "sentiment"
    assert client.embed(["good"], model="").model.name == "sentiment"
    client.close()


def test_healthcheck_asks_the_running_server(server):
    command = [BIN / "contextpool-server", "--healthcheck"]
    ask = lambda port: subprocess.run([*command, f"--metrics_port={port}"], capture_output=True,
                                      timeout=20, check=False).returncode
    assert ask(server.metrics_port) == 0
    assert ask(1) != 0


def test_sigterm_answers_everything_that_was_accepted(start_server, repository):
    server = start_server([repository / "minilm"])
    client = server.client()
    statuses, watching = [], threading.Event()

    def watch():
        try:
            for status in client.watch_health():
                statuses.append(status)
                watching.set()
        except grpc.RpcError:
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert watching.wait(10)
    text = "word " * 60
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(client.embed, [f"{i} {text}"], timeout=60) for i in range(64)]
        deadline = time.monotonic() + 30
        while True:
            metrics = server.metrics()
            accepted = metrics.value("contextpool_in_flight_requests") + metrics.value(
                "contextpool_requests_total", endpoint="Embed", code="OK")
            if accepted >= 64:
                break
            assert time.monotonic() < deadline
        waiting = metrics.value("contextpool_in_flight_requests")
        exit_code = server.terminate()
        answers = [call.result() for call in calls]
    watcher.join(10)
    client.close()
    assert waiting > 0, "everything was answered before the signal"
    assert exit_code == 0, server.log()
    assert all(len(answer.results[0].embedding.values) == 384 for answer in answers)
    assert statuses[0] == 1 and 2 in statuses[1:], "watchers must hear of the end"


def test_sigterm_at_rest_is_quick(start_server, repository):
    server = start_server([repository / "sentiment"])
    begin = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - begin < 5


def test_ctrl_c_in_the_script_ends_well(tmp_path):
    """The terminal sends SIGINT to the script and the server alike."""
    (tmp_path / "script").mkdir()
    for name in ("server", "lib.sh"):
        (tmp_path / "script" / name).symlink_to(ROOT / "script" / name)
    for name in ("bootstrap", "build"):
        (tmp_path / "script" / name).write_text("#!/bin/sh\n")
        (tmp_path / "script" / name).chmod(0o755)
    (tmp_path / "build/release").mkdir(parents=True)
    (tmp_path / "build/release/bin").symlink_to(BIN)
    models = tmp_path / "cache/contextpool-server/models"
    models.mkdir(parents=True)
    (models / "minilm").symlink_to(MINILM.resolve())
    script = subprocess.Popen(
        [tmp_path / "script/server", "--grpc_port=0", "--metrics_port=0",
         "--bind_address=127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    try:
        seen = []
        for line in script.stdout:
            seen.append(line)
            if "Ctrl-C stops" in line:
                break
        os.killpg(script.pid, signal.SIGINT)
        rest = script.stdout.read()
        assert script.wait(30) == 0, "".join(seen) + rest
        assert "stopped" in rest
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
            script.wait()


def test_signals_that_come_together_count_as_one(start_server, repository):
    server = start_server([repository / "minilm"])
    client = server.client()
    with ThreadPoolExecutor(16) as pool:
        # Work for a second or two: draining must end in time on a busy machine too.
        texts = ["word " * 200, "other " * 200]
        calls = [pool.submit(client.embed, [f"{i} {text}" for text in texts], timeout=60)
                 for i in range(16)]
        while server.metrics().value("contextpool_in_flight_requests") < 2:
            assert not all(call.done() for call in calls)
            time.sleep(0.005)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        exit_code = server.terminate()
        for call in calls:
            try:
                call.result()
            except grpc.RpcError as error:
                assert error.code() == Code.UNAVAILABLE
    client.close()
    assert exit_code == 0, server.log()


def wait_until_not_ready(server):
    deadline = time.monotonic() + 20
    while server.http("/readyz")[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_calls_are_served_for_the_grace_time_although_health_says_no(start_server, repository):
    server = start_server([repository / "sentiment"], "--drain_grace=2s")
    client = server.client()
    client.classify(["before"])
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wait_until_not_ready(server)
    assert client.health() == 2
    assert not server.ready_file.exists()
    client.classify(["during"])
    client.tokenize(["during"], model="sentiment")
    assert time.monotonic() - begin < 2, "this machine is too slow for this test"
    assert server.process.wait(30) == 0, server.log()
    assert time.monotonic() - begin >= 2
    client.close()


def test_a_second_signal_ends_the_grace_time_too(start_server, repository):
    server = start_server([repository / "sentiment"], "--drain_grace=10m")
    server.process.send_signal(signal.SIGTERM)
    wait_until_not_ready(server)
    time.sleep(1.1)  # signals closer together count as one
    assert server.terminate(20) == 1, server.log()


def test_every_call_across_sigterm_gets_one_answer(start_server, repository):
    server = start_server([repository / "minilm"], "--drain_grace=1s")
    client = server.client()
    calls = []

    def offer(seconds):
        """Calls at a steady rate, whatever becomes of them, with the time at which each began."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            request = embed_request([f"{len(calls)} " + "word " * 20])
            calls.append((time.monotonic(), client.embedding.Embed.future(request, timeout=60)))
            time.sleep(0.01)

    offer(0.5)
    refusing = time.monotonic() + 1  # at the earliest
    server.process.send_signal(signal.SIGTERM)
    offer(2)
    codes = [(begin, call.code()) for begin, call in calls]
    assert server.process.wait(60) == 0, server.log()
    assert {code for _, code in codes} <= {Code.OK, Code.UNAVAILABLE, Code.CANCELLED}
    # gRPC's own answer (github.com/grpc/grpc/issues/41785) to what arrives while it shuts down.
    missed = [call.details() for _, call in calls if call.code() == Code.CANCELLED]
    refused = [code for _, code in codes if code == Code.UNAVAILABLE]
    assert set(missed) <= {"CANCELLED"}
    assert len(missed) < len(refused)
    # A call needs some time from its beginning here to its arrival there.
    assert all(code == Code.OK for begin, code in codes if begin < refusing - 0.3)
    assert all(call.exception() is not None or len(call.result().results) == 1
               for _, call in calls)
    client.close()


def test_an_open_stream_does_not_hold_the_end(start_server, repository):
    server = start_server([repository / "sentiment"])
    client = server.client()
    done = threading.Event()

    def requests():
        yield b"\x3a\x01*"
        done.wait(60)

    call = client.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda x: x, response_deserializer=lambda x: x)(requests())
    next(call)
    begin = time.monotonic()
    assert server.terminate() == 0, server.log()
    assert time.monotonic() - begin < 6
    assert not server.ready_file.exists()
    done.set()
    client.close()


def test_log_lines_can_be_json(start_server, repository):
    import json
    server = start_server([repository / "sentiment", repository / "broken"], "--log_format=json")
    server.terminate()
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert any("broken" in json.dumps(line) for line in lines)
    assert len(lines) >= 2


def test_many_texts_in_one_request(client):
    texts = sentences(600, longest=3)
    assert len(client.embed(texts).results) == 600
