"""Fixtures: the generated stubs, the models, and one server that most tests share."""

import pytest

import harness
import tiny_models


@pytest.fixture(scope="session", autouse=True)
def stubs(tmp_path_factory):
    harness.generate_stubs(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """minilm (real weights), sentiment, topics, stars, pooled (random weights), broken (damaged)."""
    folder = tmp_path_factory.mktemp("models")
    assert (harness.MINILM / "model.safetensors").exists(), (
        f"no model in {harness.MINILM}: run script/bootstrap, or set CONTEXTPOOL_MINILM_DIR")
    (folder / "minilm").symlink_to(harness.MINILM.resolve())
    tiny_models.write_classifier(folder / "sentiment", ["negative", "neutral", "positive"],
                                 "single_label_classification")
    tiny_models.write_classifier(folder / "topics", ["arts", "sports", "weather", "science"],
                                 "multi_label_classification", seed=2)
    tiny_models.write_classifier(folder / "stars", ["stars"], "regression", seed=3)
    tiny_models.write_classifier(folder / "pooled", ["negative", "positive"],
                                 "single_label_classification", seed=4, context_pool=True)
    tiny_models.write_broken(folder / "broken", folder / "sentiment")
    return folder


@pytest.fixture(scope="session")
def server(stubs, repository, tmp_path_factory):
    server = harness.Server(tmp_path_factory.mktemp("server"), [repository])
    server.first_metrics = server.metrics()
    yield server
    server.stop()


@pytest.fixture
def client(server):
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def start_server(stubs, tmp_path):
    """Starts a server of the test's own."""
    started = []

    def start(repositories, *flags):
        started.append(harness.Server(tmp_path / f"server{len(started)}", repositories, *flags))
        return started[-1]

    yield start
    for server in started:
        server.stop()
