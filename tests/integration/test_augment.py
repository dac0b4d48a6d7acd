"""ContextPool with a closed gate changes no embedding, neither of what the `augment` command wrote
nor of a real model; an open gate does."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import harness
import tiny_models

# original: a tiny BERT; augmented: `augment`'s own output for it. See make_augmented.py there.
COMMITTED = harness.ROOT / "tests" / "golden" / "augmented"
HIDDEN, LAYERS, BOTTLENECK, TAPS = 384, 6, 8, 3
TEXTS = ["", "a", "Seven bridges cross the quiet river.", *harness.sentences(12, seed=4, longest=150)]


def write_gated(directory, gamma):
    """all-MiniLM-L6-v2 with random pools behind this gate, made by hand."""
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


def embeddings(client, model, texts=None):
    results = client.embed(texts or TEXTS, model=model).results
    return np.array([result.embedding.values for result in results])


@pytest.fixture
def gated(start_server, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "minilm").symlink_to(harness.MINILM.resolve())
    write_gated(folder / "closed", 0.0)
    write_gated(folder / "open", 0.5)
    client = start_server([folder]).client()
    yield client
    client.close()


def open_gates(directory, target):
    shutil.copytree(directory, target)
    tensors = load_file(target / "model.safetensors")
    gates = [name for name in tensors if name.endswith("context_pool.gamma")]
    assert len(gates) == 2 and all(tensors[name] == 0 for name in gates)
    for name in gates:
        tensors[name] = np.full(1, 0.5, np.float32)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def test_what_augment_writes_computes_what_the_original_does(start_server, tmp_path):
    from contextpool.v1 import model_pb2
    open_gates(COMMITTED / "augmented", tmp_path / "models" / "opened")
    client = start_server([COMMITTED, tmp_path / "models"]).client()
    texts = ["", "good", "not a very good film", "x y z " * 30, " ".join(tiny_models.WORDS)]
    models = client.model.ListModels(model_pb2.ListModelsRequest()).models
    layers = {model.ref.name: list(model.context_pool_layers) for model in models}
    assert layers == {"original": [], "augmented": [0, 1], "opened": [0, 1]}
    original = embeddings(client, "original", texts)
    np.testing.assert_allclose(embeddings(client, "augmented", texts), original, rtol=0, atol=1e-6)
    assert np.abs(original[1:] - original[:-1]).max() > 1e-2
    assert np.abs(embeddings(client, "opened", texts) - original).max() > 1e-2
    client.close()


def test_a_closed_gate_gives_the_embeddings_of_a_real_model(gated):
    original = embeddings(gated, "minilm")
    assert original.shape == (len(TEXTS), HIDDEN)
    np.testing.assert_allclose(embeddings(gated, "closed"), original, rtol=0, atol=1e-6)
    assert np.abs(embeddings(gated, "open") - original).max() > 1e-2
