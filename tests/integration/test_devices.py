"""Which device a model gets, and a program that could use GPUs on a machine that has none."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import harness
import tiny_models
from harness import BIN

HAS_GPU = Path("/dev/nvidiactl").exists()
without_gpu = pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")


def start_with(*flags):
    """The ended process of a server whose start has to fail."""
    return subprocess.run([BIN / "contextpool-server", "--model_repository=models", "--grpc_port=0",
                           "--metrics_port=0", *flags],
                          cwd=harness.ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def built_with_cuda():
    has_cuda = "built without CUDA" not in start_with("--device=cuda").stderr
    if "CONTEXTPOOL_EXPECT_CUDA" in os.environ:
        assert has_cuda, f"{BIN} holds a server without CUDA"
    return has_cuda


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cpu,cuda:3"])
def test_a_gpu_that_is_asked_for_must_be_there(built_with_cuda, device):
    done = start_with(f"--device={device}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"--device={device.split(',')[-1]}: " in last
    assert ("nvidia-smi" if built_with_cuda else "script/build --cuda") in last


@without_gpu
def test_without_a_gpu_the_cpu_serves_and_the_log_says_why_once(built_with_cuda, start_server,
                                                                repository):
    server = start_server([repository])
    assert server.log().count("computing on the CPU alone: ") == (1 if built_with_cuda else 0)
    assert server.log().count("computing devices=cpu\n") == 1
    client = server.client()
    assert len(client.embed(["a cat"]).results[0].embedding.values) == 384
    client.close()


@without_gpu
def test_the_cpu_alone_asks_for_no_gpu(start_server, repository):
    server = start_server([repository], "--device=cpu")
    assert "GPU" not in server.log()


@without_gpu
def test_a_model_gets_the_device_that_it_names_or_says_what_there_is(start_server, tmp_path):
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
