"""Models that come, change and go while the server runs: by polling and by AdminService."""

import shutil
import threading
import time

import grpc
import pytest

from harness import MINILM, ROOT, Code
from test_models import list_models
from tiny_models import write_classifier

POLL = "--repository_poll_interval=100ms"
LABELS = ["negative", "neutral", "positive"]


def write_model(folder, seed=1):
    """Written beside and moved into place, as an operator should."""
    partial = folder.parent / f".{folder.name}"
    write_classifier(partial, LABELS, "single_label_classification", seed=seed)
    partial.rename(folder)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(client, name):
    """(version, state, reason) of each version that is listed, by name of the state."""
    from contextpool.v1 import model_pb2 as pb
    models = client.model.ListModels(pb.ListModelsRequest()).models
    return [(model.ref.version, pb.ModelState.Name(model.state).removeprefix("MODEL_STATE_"),
             model.reason) for model in models if model.ref.name == name]


def ready_versions(client, name):
    return [version for version, state, _ in state_of(client, name) if state == "READY"]


class Admin:
    """AdminService over a client's connection."""

    def __init__(self, client):
        from contextpool.v1 import admin_pb2, admin_pb2_grpc
        self._messages = admin_pb2
        self._stub = admin_pb2_grpc.AdminServiceStub(client.channel)

    def begin(self, verb, name, version=0, timeout=60):
        """The call, which is under way."""
        request = getattr(self._messages, f"{verb}ModelRequest")()
        request.model.name, request.model.version = name, version
        return getattr(self._stub, f"{verb}Model").future(request, timeout=timeout)

    def __call__(self, verb, name, version=0):
        return self.begin(verb, name, version).result()

    def error(self, verb, name, version=0):
        with pytest.raises(grpc.RpcError) as error:
            self(verb, name, version)
        return error.value.code(), error.value.details()


class Traffic:
    """Callers that classify the same text without a pause, each over a connection of its own."""

    def __init__(self, server, name, callers=3):
        self._stop = threading.Event()
        self.answers = [[] for _ in range(callers)]  # (version, logits) of each caller, in order
        self.failures = []
        self._threads = [threading.Thread(target=self._run, args=(server, name, answers))
                         for answers in self.answers]

    def _run(self, server, name, answers):
        client = server.client()
        while not self._stop.is_set():
            try:
                reply = client.classify(["a good film"], model=name, logits=True)
                scores = sorted(reply.results[0].classification.scores, key=lambda s: s.index)
                answers.append((reply.model.version, tuple(score.logit for score in scores)))
            except grpc.RpcError as error:
                self.failures.append((error.code(), error.details()))
        client.close()

    def wait_for_more(self, calls=5):
        """Until each caller has got so many answers more."""
        goals = [len(answers) + calls for answers in self.answers]
        wait_for(lambda: self.failures or all(
            len(answers) >= goal for answers, goal in zip(self.answers, goals)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_new_version_takes_over_by_polling_without_a_failed_call(start_server, tmp_path):
    write_model(tmp_path / "models/m/1", seed=1)
    server = start_server([tmp_path / "models"], POLL)
    client = server.client()
    with Traffic(server, "m") as traffic:
        write_model(tmp_path / "models/m/2", seed=2)
        wait_for(lambda: state_of(client, "m") == [(2, "READY", "")])
        traffic.wait_for_more()
    client.close()
    assert not traffic.failures, traffic.failures[:3]
    for answers in traffic.answers:
        versions = [version for version, _ in answers]
        assert versions == sorted(versions) and set(versions) == {1, 2}
    results = {answer for answers in traffic.answers for answer in answers}
    assert len(results) == 2, "each version has one answer to one text"
    assert server.metrics().value("contextpool_model_info", model="m", version="2") == 1
    assert "model unloaded" in server.log()


def test_garbage_written_over_a_serving_model_changes_nothing(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"], POLL)
    client = server.client()
    weights = tmp_path / "models/m/model.safetensors"
    good, inode = weights.read_bytes(), weights.stat().st_ino
    with Traffic(server, "m") as traffic:
        with weights.open("r+b") as file:
            file.write(bytes(len(good)))
        assert weights.stat().st_ino == inode, "in place"
        wait_for(lambda: state_of(client, "m")[0][2])
        traffic.wait_for_more()
        (version, state, reason), = state_of(client, "m")
        status, _, ready_page = server.http("/readyz")
        weights.write_bytes(good)
        wait_for(lambda: state_of(client, "m") == [(1, "READY", "")])
        traffic.wait_for_more()
    client.close()
    assert (version, state) == (1, "READY")
    assert "still serves" in reason and "model.safetensors" in reason
    assert status == 200 and "still serves" in ready_page
    assert server.log().count("what was loaded before still serves") == 1, "tried once"
    assert not traffic.failures, traffic.failures[:3]
    assert len({answer for answers in traffic.answers for answer in answers}) == 1


def test_files_may_go_under_a_serving_model_when_nobody_looks(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"])
    with Traffic(server, "m") as traffic:
        shutil.rmtree(tmp_path / "models/m")
        traffic.wait_for_more()
    assert not traffic.failures
    assert len({answer for answers in traffic.answers for answer in answers}) == 1


def test_models_come_and_go_with_their_folders(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"], POLL)
    client = server.client()
    write_model(tmp_path / "models/late", seed=3)
    wait_for(lambda: ready_versions(client, "late") == [1])
    assert client.classify(["good"], model="late").model.name == "late"
    assert server.metrics().value("contextpool_requests_total", model="late", endpoint="Embed") == 0
    shutil.rmtree(tmp_path / "models/late")
    wait_for(lambda: list(list_models(client)) == ["m"])
    with pytest.raises(grpc.RpcError) as error:
        client.classify(["good"], model="late")
    assert error.value.code() == Code.NOT_FOUND
    metrics = server.metrics()
    assert metrics.value("contextpool_input_tokens_count", model="late") == 1, "counts never fall"
    shown = [dict(labels)["model"] for name, labels in metrics.samples
             if name == "contextpool_model_info"]
    assert shown == ["m"]
    client.close()


def test_admin_is_off_unless_enabled(client):
    code, details = Admin(client).error("Load", "minilm")
    assert code == Code.UNIMPLEMENTED
    assert "--enable_admin" in details


def test_an_operator_loads_reloads_and_unloads(start_server, tmp_path):
    write_model(tmp_path / "models/m/1", seed=1)
    server = start_server([tmp_path / "models"], "--enable_admin")
    client = server.client()
    admin = Admin(client)
    write_model(tmp_path / "models/m/2", seed=2)
    with Traffic(server, "m") as traffic:
        assert admin("Load", "m").model.ref.version == 2
        assert ready_versions(client, "m") == [1, 2], "an operator unloads himself"
        admin("Unload", "m", 1)
        assert admin("Reload", "m").model.ref.version == 2
        admin("Load", "m", 1)
        admin("Unload", "m", 2)
        traffic.wait_for_more()
    assert not traffic.failures, traffic.failures[:3]
    assert ready_versions(client, "m") == [1], "back to the version before"
    for verb, count in (("Load", 2), ("Reload", 1), ("Unload", 2)):
        assert server.metrics().value("contextpool_requests_total", endpoint=f"{verb}Model",
                                      code="OK") == count
    client.close()


def test_an_operator_is_told_what_is_wrong(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"], "--enable_admin")
    client = server.client()
    admin = Admin(client)
    code, details = admin.error("Load", "nobody")
    assert (code, "it has m" in details) == (Code.NOT_FOUND, True), details
    for name in ("../models/m", "m/", "/etc"):
        assert admin.error("Load", name)[0] == Code.NOT_FOUND
    assert admin.error("Unload", "nobody")[0] == Code.NOT_FOUND
    assert admin.error("Reload", "")[0] == Code.INVALID_ARGUMENT
    weights = tmp_path / "models/m/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    code, details = admin.error("Reload", "m")
    assert code == Code.FAILED_PRECONDITION
    assert "model.safetensors" in details and str(tmp_path) not in details
    assert client.classify(["good"], model="m").model.version == 1
    client.close()


def test_an_operator_who_does_not_wait_changes_nothing(start_server, tmp_path):
    write_model(tmp_path / "models/m")
    server = start_server([tmp_path / "models"], "--enable_admin")
    client = server.client()
    (tmp_path / "models/slow").symlink_to(MINILM.resolve())
    write_model(tmp_path / "models/late")
    admin = Admin(client)
    slow, late = (admin.begin("Load", name) for name in ("slow", "late"))
    wait_for(lambda: state_of(client, "late"))
    late.cancel()
    assert late.code() == Code.CANCELLED, "nobody waits for it, and its turn has not come"
    assert slow.result().model.ref.name == "slow"
    wait_for(lambda: ready_versions(client, "late") == [1])
    client.close()


def test_reloading_takes_no_more_and_more_memory(start_server, tmp_path):
    shutil.copytree(ROOT / "models/sentiment-contextpool", tmp_path / "models/m")
    server = start_server([tmp_path / "models"], "--enable_admin")
    client = server.client()
    admin = Admin(client)
    resident = []
    for _ in range(30):
        admin("Reload", "m")
        # Answered after the old copy has been freed.
        assert admin.error("Unload", "nobody", 1)[0] == Code.NOT_FOUND
        client.classify(["a good film"], model="m")
        resident.append(server.metrics().value("process_resident_memory_bytes"))
    client.close()
    # The allocator's own ups and downs are 5%; a copy kept each time would be far more than 10%.
    assert min(resident[-3:]) <= 1.1 * max(resident[:3]), [int(size) >> 20 for size in resident]
