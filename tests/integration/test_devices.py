"""Which device a model gets, what a GPU answers, and programs that could use GPUs without any."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import harness
import tiny_models
from harness import BIN

HAS_GPU = Path("/dev/nvidiactl").exists()


@pytest.fixture
def without_gpu(monkeypatch):
    """Whatever this machine has: no GPU for the programs that a test starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def start_with(*flags):
    """The ended process of a server whose start has to fail, since no GPU is shown to it."""
    return subprocess.run([BIN / "contextpool-server", "--model_repository=models", "--grpc_port=0",
                           "--metrics_port=0", *flags],
                          env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, cwd=harness.ROOT,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def built_with_cuda():
    has_cuda = "built without CUDA" not in start_with("--device=cuda").stderr
    if "CONTEXTPOOL_EXPECT_CUDA" in os.environ:
        assert has_cuda, f"{BIN} holds a server without CUDA"
    return has_cuda


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cpu,cuda:3"])
def test_a_gpu_that_is_asked_for_must_be_there(built_with_cuda, device):
    done = start_with(f"--device={device}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"--device={device.split(',')[-1]}: " in last
    assert ("nvidia-smi" if built_with_cuda else "script/build --cuda") in last


def test_without_a_gpu_the_cpu_serves_and_the_log_says_why_once(without_gpu, built_with_cuda,
                                                                start_server, repository):
    server = start_server([repository])
    assert server.log().count("computing on the CPU alone: ") == (1 if built_with_cuda else 0)
    assert server.log().count("computing devices=cpu\n") == 1
    client = server.client()
    assert len(client.embed(["a cat"]).results[0].embedding.values) == 384
    client.close()


def test_the_cpu_alone_asks_for_no_gpu(start_server, repository):
    server = start_server([repository], "--device=cpu")
    assert "GPU" not in server.log()


def test_a_model_gets_the_device_that_it_names_or_says_what_there_is(without_gpu, start_server,
                                                                    tmp_path):
    repository = tmp_path / "models"
    for name, settings in [("named", 'device: "cpu" dtype: "float32"'), ("free", ""),
                           ("elsewhere", 'device: "cuda:0"'), ("half", 'dtype: "bfloat16"')]:
        tiny_models.write_classifier(repository / name, ["a", "b"], "single_label_classification")
        (repository / name / "serving.textproto").write_text(settings)
    server = start_server([repository])
    models = {model["name"]: model for model in map(json.loads, harness.run_cli(
        "models", "--json", server=server.address).stdout.splitlines())}
    for name in ("named", "free"):
        assert (models[name]["state"], models[name]["device"], models[name]["dtype"]) == (
            "ready", "cpu", "float32")
        assert server.metrics().value("contextpool_model_info", model=name, device="cpu",
                                      dtype="float32") == 1
    assert models["elsewhere"]["state"] == models["half"]["state"] == "failed"
    assert 'device: "cuda:0" is none of' in models["elsewhere"]["reason"]
    assert 'which are "cpu"' in models["elsewhere"]["reason"]
    assert 'dtype: "bfloat16"' in models["half"]["reason"]
    assert 'device "cpu" computes in "float32"' in models["half"]["reason"]


@pytest.mark.parametrize("device, tolerance", [
    ("cpu", 1e-6),
    pytest.param("cuda:0", 0.02, marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU is here")),
])
def test_a_device_answers_what_the_cpu_answers(built_with_cuda, start_server, tmp_path, device,
                                               tolerance):
    if device != "cpu" and not built_with_cuda:
        pytest.skip("the server is built without CUDA")
    shipped = harness.ROOT / "models/sentiment-contextpool"
    for name, place in [("one", device), ("other", "cpu")]:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        for file in shipped.glob("*.[js]*"):
            (folder / file.name).symlink_to(file)
        (folder / "serving.textproto").write_text(f'device: "{place}"')
    client = start_server([tmp_path / "models"]).client()
    texts = ["A wonderful film.", "Dull, and far too long: " + "it drags " * 40, "x"]
    scores, vectors = [], []
    for name in ("one", "other"):
        scores.append([[score.score for score in sorted(result.classification.scores,
                                                        key=lambda score: score.index)]
                       for result in client.classify(texts, model=name).results])
        vectors.append([list(result.embedding.values)
                        for result in client.embed(texts, model=name).results])
    client.close()
    assert len(scores[0]) == len(vectors[0]) == len(texts)
    assert np.abs(np.subtract(*scores)).max() < tolerance
    assert np.abs(np.subtract(*vectors)).max() < tolerance
