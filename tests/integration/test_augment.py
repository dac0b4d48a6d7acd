"""A ContextPool whose gate is closed changes no embedding of a real model; an open one does."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import harness

HIDDEN, LAYERS, BOTTLENECK, TAPS = 384, 6, 8, 3
TEXTS = ["", "a", "Seven bridges cross the quiet river.", *harness.sentences(12, seed=4, longest=150)]


def write_augmented(directory, gamma):
    """all-MiniLM-L6-v2 as `python -m contextpool_training augment` writes it, with this gate."""
    shutil.copytree(harness.MINILM, directory)
    config = json.loads((directory / "config.json").read_text())
    config["context_pool"] = {"residual": "gate", "bottleneck": BOTTLENECK, "kernel_size": TAPS}
    (directory / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    tensors = load_file(directory / "model.safetensors")
    shapes = {"conv1.weight": (BOTTLENECK, HIDDEN, TAPS), "conv1.bias": (BOTTLENECK,),
              "conv2.weight": (2, BOTTLENECK, TAPS), "conv2.bias": (2,)}
    for i in range(LAYERS):
        pool = f"encoder.layer.{i}.context_pool."
        tensors[f"{pool}gamma"] = np.full(1, gamma, np.float32)
        for name, shape in shapes.items():
            tensors[pool + name] = rng.normal(0, 0.1, shape).astype(np.float32)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def embeddings(client, model):
    results = client.embed(TEXTS, model=model).results
    return np.array([result.embedding.values for result in results])


@pytest.fixture
def augmented(start_server, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "minilm").symlink_to(harness.MINILM.resolve())
    write_augmented(folder / "closed", 0.0)
    write_augmented(folder / "open", 0.5)
    client = start_server([folder]).client()
    yield client
    client.close()


def test_a_closed_gate_gives_the_original_embeddings(augmented):
    original = embeddings(augmented, "minilm")
    assert original.shape == (len(TEXTS), HIDDEN)
    np.testing.assert_allclose(embeddings(augmented, "closed"), original, rtol=0, atol=1e-6)
    assert np.abs(embeddings(augmented, "open") - original).max() > 1e-2
