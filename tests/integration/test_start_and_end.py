"""How the server becomes ready, and how it ends when something does not."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from safetensors.numpy import save_file

from harness import MINILM, Code
from test_model_lifecycle import POLL, ready_versions, wait_for, write_model
from test_streams import Stream


class Start:
    """A server that is started without waiting until it is ready."""

    def __init__(self, start_server, folder, *arguments):
        self._log = folder / "server0/server.log"
        self._pool = ThreadPoolExecutor(1)
        self._server = self._pool.submit(start_server, *arguments)

    def wait_for_log(self, text):
        wait_for(lambda: self._log.exists() and text in self._log.read_text())

    def server(self):
        """Once it is ready."""
        with self._pool:
            return self._server.result()


def link_minilm(folder):
    """A copy of the model that costs nothing but the time to load it; files may be added."""
    folder.mkdir(parents=True)
    for file in MINILM.resolve().iterdir():
        (folder / file.name).symlink_to(file)


def write_slow_golden(folder):
    """Makes loading take long: all of it is computed, and found to be near enough."""
    sequences, length = 1024, 64
    save_file({"input_ids": np.full(sequences * length, 2000, np.int32),
               "cu_lengths": np.arange(0, sequences * length + 1, length, dtype=np.int32),
               "embedding": np.zeros((sequences, 384), np.float32)},
              folder / "golden.safetensors")
    (folder / "serving.textproto").write_text("golden_tolerance: 1\n")


def test_a_model_that_is_added_during_the_start_is_not_judged_with_it(start_server, tmp_path):
    models = tmp_path / "models"
    for name in ("a", "b", "c"):
        link_minilm(models / name)
    start = Start(start_server, tmp_path, [models], POLL, "--require_all_models")
    start.wait_for_log("listening")
    link_minilm(models / ".late")
    write_slow_golden(models / ".late")  # it is being loaded when the others are ready
    (models / ".late").rename(models / "late")
    server = start.server()
    assert server.http("/readyz")[0] == 200
    client = server.client()
    wait_for(lambda: "model ready model=late" in server.log(), 60)
    assert server.log().index(" ready seconds=") < server.log().index("model ready model=late")
    assert all(ready_versions(client, name) == [1] for name in ("a", "b", "c"))
    client.close()
    assert server.terminate() == 0


def test_the_ready_file_comes_once_the_first_model_is_repaired(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    weights = tmp_path / "models/m/model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1000])
    start = Start(start_server, tmp_path, [tmp_path / "models"], POLL)
    start.wait_for_log("no model serves")
    weights.write_bytes(good)
    server = start.server()
    assert server.http("/readyz")[0] == 200


def test_a_running_load_does_not_hold_the_end(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"], POLL, "--drain_timeout=0")
    link_minilm(tmp_path / "models/.slow")
    write_slow_golden(tmp_path / "models/.slow")
    (tmp_path / "models/.slow").rename(tmp_path / "models/slow")
    wait_for(lambda: "loading" in server.http("/readyz")[2])
    begin = time.monotonic()
    assert server.terminate() == 0, "all that was accepted is done"
    assert time.monotonic() - begin < 4
    assert "ending without it" in server.log()


def test_work_that_takes_too_long_is_cancelled_and_told_apart(start_server, repository):
    server = start_server([repository / "minilm"], "--drain_timeout=100ms")
    client = server.client()
    with ThreadPoolExecutor(32) as pool:
        texts = [f"{i} " + "word " * 200 for i in range(32)]
        calls = [pool.submit(client.embed, [f"{call} {text}" for text in texts])
                 for call in range(32)]
        wait_for(lambda: server.metrics().value("contextpool_in_flight_requests") >= 4)
        exit_code = server.terminate()
        codes = {call.exception().code() for call in calls if call.exception()}
    client.close()
    assert exit_code == 1
    assert "accepted work took longer than --drain_timeout and was cancelled" in server.log()
    assert "stopped" in server.log(), "it ended by itself"
    assert codes & {Code.CANCELLED, Code.UNAVAILABLE}, codes


def test_replies_that_nobody_reads_are_no_unfinished_work(start_server, repository):
    server = start_server([repository / "minilm"], "--drain_timeout=500ms")
    # The client buffers little of what it does not read.
    client = server.client(("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))
    stream = Stream(client)
    for _ in range(8):
        stream.send(*["word"] * 1024)
    stream.next()
    wait_for(lambda: server.metrics().value("contextpool_in_flight_requests") == 0)
    begin = time.monotonic()
    assert server.terminate() == 0, server.log()
    assert time.monotonic() - begin < 5
    assert "did not read every reply" in server.log()
    assert "accepted work took longer" not in server.log()
    client.close()
