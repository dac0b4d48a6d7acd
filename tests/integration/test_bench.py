"""The load tool, `contextpool bench`, against the real server."""

import json
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

import tiny_models
from harness import BIN, run_cli

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def small_server(start_server, tmp_path):
    """A server of one small classifier, that nobody else asks."""
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_models.write_classifier(folder / "sentiment", ["negative", "positive"],
                                 "single_label_classification")
    return start_server([folder])


@pytest.fixture
def bench(small_server, tmp_path):
    """Runs the tool; the completed process and what it wrote as JSON, or None."""
    file = tmp_path / "bench.json"

    def run(*arguments):
        file.unlink(missing_ok=True)
        done = run_cli("bench", "--task", "classify", "--warmup", "100ms", "--json", file,
                       *arguments, server=small_server.address)
        return done, json.loads(file.read_text()) if file.exists() else None

    return run


def start(server, file, *arguments):
    """The tool as a process that can be interrupted."""
    return subprocess.Popen([BIN / "contextpool", "bench", "--task", "classify", "--server",
                             server.address, "--json", file, *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answered(server):
    return server.metrics().value("contextpool_requests_total", model="sentiment",
                                  endpoint="Classify", code="OK")


def test_a_closed_loop_counts_what_the_server_counts(bench, small_server, tmp_path):
    plot = tmp_path / "plot.svg"
    done, report = bench("--concurrency", "1,4", "--duration", "500ms", "--batch", "3",
                         "--connections", "2", "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert report["server"]["model"] == "sentiment"
    assert report["host"]["cores"] >= 1
    assert [point["load"]["concurrency"] for point in report["points"]] == [1, 4]
    assert report["calls_by_code_in_all"] == {"OK": answered(small_server)}
    for point in report["points"]:
        assert point["offered"] and point["calls"] > 0
        assert point["codes"] == {"OK": point["calls"]}
        assert point["inputs_per_s"] == pytest.approx(3 * point["ok_calls_per_s"])
        assert sum(count for _, count in point["ok_histogram_ms"]) == point["calls"]
        latency = point["ok_latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert 0 < point["server_mean_ms"]["total"] <= latency["mean"]
        assert point["client_cpu_us_per_call"] > 0
    assert "4 in flight" in done.stdout and "load 2 of 2" in done.stderr
    root = ElementTree.parse(plot).getroot()
    assert len(root.findall(SVG + "polyline")) == 3


def test_tokens_are_what_the_server_counts(bench, small_server, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("good film\nawful\n")
    done, report = bench("--concurrency", "1", "--duration", "300ms", texts)
    assert done.returncode == 0, done.stderr
    # [CLS] good film [SEP], [CLS] awful [SEP]
    assert report["texts"]["tokens_per_input"] == pytest.approx(3.5, abs=0.1)
    assert report["texts"]["distinct_texts"] == 2


def test_classes_and_deadlines_are_reported_apart(bench):
    done, report = bench("--concurrency", "2", "--duration", "500ms", "--bulk", "0.4",
                         "--deadline", "30s:0.5,none:0.5")
    point, = report["points"]
    groups = point["groups"]
    assert set(groups) == {"interactive", "bulk", "deadline 30s", "no deadline"}
    assert all(group["calls"] > 0 for group in groups.values())
    assert groups["interactive"]["calls"] + groups["bulk"]["calls"] == point["calls"]
    assert groups["deadline 30s"]["calls"] + groups["no deadline"]["calls"] == point["calls"]
    assert point["good_calls"] == point["calls"]
    assert "  bulk" in done.stdout and "  deadline 30s" in done.stdout


def test_an_open_loop_sends_its_schedule(bench, small_server):
    done, report = bench("--rate", "100", "--duration", "1s", "--arrivals", "constant")
    # 100 in the measured second, 10 in the warm-up, and the first look.
    assert report["calls_by_code_in_all"] == {"OK": 111}
    assert answered(small_server) == 111
    point, = report["points"]
    if not point["offered"]:  # a busy machine woke the sender too late
        assert done.returncode == 1 and "late" in point["not_offered_because"]
        return
    assert done.returncode == 0, done.stderr
    assert point["scheduled_calls"] == point["calls"] == 100
    assert point["send_lag_ms"]["count"] == 100
    assert point["late_calls"] <= 1


def test_a_search_finds_a_rate_that_holds(small_server, tmp_path):
    file = tmp_path / "bench.json"
    process = start(small_server, file, "--find-rate", "--p99", "100ms", "--warmup", "100ms",
                    "--duration", "300ms")
    try:
        out, err = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:  # a busy machine: what is known by now will do
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    report = json.loads(file.read_text())
    found = report["find_rate"]
    assert "probe: " in err and ("Highest rate that holds p99 <= 100ms" in out or
                                 "No rate was found that holds p99 <= 100ms" in out or
                                 "No rate can hold p99 <= 100ms" in out)
    if found["interrupted"] or found["held_per_s"] is None:
        assert process.returncode == 1
        return
    assert process.returncode == (1 if found["client_limited"] else 0)
    by_rate = {point["load"]["rate_per_s"]: point for point in report["points"]}
    held, failed = by_rate[found["held_per_s"]], by_rate[found["failed_per_s"]]
    assert held["offered"] and held["offered_p99_ms"] <= 100
    assert held["calls"] >= 800
    assert failed["offered"] != found["client_limited"]
    assert found["held_per_s"] < found["failed_per_s"] <= 1.06 * found["held_per_s"]


def test_a_search_ends_where_no_rate_can_hold(bench):
    done, report = bench("--find-rate", "--p99", "1us", "--duration", "600s")
    assert done.returncode == 1
    assert "No rate can hold p99 <= 1us" in done.stdout and "probe: " not in done.stderr
    assert "half took" in report["find_rate"]["hopeless_because"]
    assert report["points"] == []


def test_an_impossible_rate_is_refused(bench, tmp_path):
    plot = tmp_path / "plot.svg"
    done, report = bench("--rate", "1000000", "--duration", "200ms", "--plot", plot)
    assert done.returncode == 1
    point, = report["points"]
    assert not point["offered"]
    assert "could be sent in time" in point["not_offered_because"]
    assert set(point) == {"load", "offered", "interrupted", "not_offered_because"}
    assert "not offered:" in done.stdout
    assert not plot.exists()


def test_an_interruption_reports_what_was_measured(small_server, tmp_path):
    file = tmp_path / "bench.json"
    process = start(small_server, file, "--concurrency", "2,4", "--warmup", "0s", "--duration",
                    "600s")
    before = answered(small_server)
    deadline = time.monotonic() + 30
    while answered(small_server) < before + 50:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted after" in out and "interrupted" in err
    point, = json.loads(file.read_text())["points"]
    assert point["interrupted"] and 0 < point["measured_s"] < 60
    assert point["calls"] >= 40
    assert point["abandoned_calls"] <= 2


def test_errors_say_what_to_do(bench):
    done, report = bench("--concurrency", "1", "-m", "no-such")
    assert (done.returncode, report) == (1, None)
    assert "NOT_FOUND" in done.stderr and "contextpool models" in done.stderr
    done = run_cli("bench", "--concurrency", "1", "--server", "localhost:1", "--timeout", "1")
    assert done.returncode == 1
    assert "cannot reach localhost:1: is the server running?" in done.stderr
    done, _ = bench()
    assert done.returncode == 2
    assert "give --concurrency N (closed loop), --rate R (open loop) or --find-rate" in done.stderr
    done, _ = bench("--concurrency", "1", "--plot", "/no-such-folder/plot.svg")
    assert done.returncode == 1
    assert "cannot write /no-such-folder/plot.svg" in done.stderr


def test_a_file_that_cannot_even_be_looked_at_is_an_error_like_others():
    name = "/tmp/" + 300 * "a"
    for flag in ["--json", "--plot"]:
        done = run_cli("bench", "--concurrency", "1", flag, name, server="localhost:1")
        assert done.returncode == 1
        assert f"cannot write {name}" in done.stderr
