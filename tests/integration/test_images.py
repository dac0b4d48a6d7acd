"""Images through the real server: the repository's own models, files made by Pillow."""

import io
import struct
import zlib

import grpc
import harness
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

MODELS = harness.ROOT / "models"
NAMES = sorted(path.name for path in MODELS.glob("digits-*"))


@pytest.fixture(scope="module")
def images_server(stubs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    repository = folder / "models"
    repository.mkdir()
    for name in NAMES:
        (repository / name).symlink_to(MODELS / name)
    server = harness.Server(folder / "server", [repository, harness.MINILM])
    yield server
    server.stop()


@pytest.fixture
def images(images_server):
    client = images_server.client()
    yield client
    client.close()


def golden(name):
    """Pixels [m, h, w, 3], and what PyTorch makes of them: logits and embeddings."""
    tensors = load_file(MODELS / name / "golden.safetensors")
    return tensors["pixels"], tensors["logits"], tensors["embedding"]


def encode(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def logits_of(result):
    scores = sorted(result.classification.scores, key=lambda score: score.index)
    return np.array([score.logit for score in scores])


def classify(client, files, name, **options):
    return client.classify(files, model=name, logits=True, **options).results


def bomb(width=60000, height=60000):
    """A PNG of a few bytes that claims billions of pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) +
            chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", NAMES)
def test_lossless_files_are_classified_and_embedded_as_pytorch_does(images, name):
    pixels, logits, embeddings = golden(name)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        files = [encode(each, kind, **options) for each in pixels]
        results = classify(images, files, name)
        found = np.stack([logits_of(result) for result in results])
        np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-4)
        reply = images.embed(files, model=name)
        found = np.stack([result.embedding.values for result in reply.results])
        np.testing.assert_allclose(found, embeddings, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_jpeg_files_get_the_label_of_their_pixels(images, name):
    pixels, logits, _ = golden(name)
    results = classify(images, [encode(each, "JPEG", quality=95) for each in pixels], name)
    found = [np.argmax(logits_of(result)) for result in results]
    assert found == [np.argmax(each) for each in logits]


@pytest.mark.parametrize("name", NAMES)
def test_each_image_is_answered_in_its_place_whatever_the_others_are(images, name):
    pixels, logits, _ = golden(name)
    good = encode(pixels[0])
    bad = {
        "no JPEG, PNG or WebP": b"GIF89a not an image",
        "60000 x 60000 pixels; at most": bomb(),
        "PNG": good[:-30],
        "JPEG": encode(pixels[0], "JPEG")[:200],
        "no JPEG": b"",
    }
    files = [file for broken in bad.values() for file in (broken, good)]
    results = classify(images, files, name)
    for index, problem in enumerate(bad):
        error = results[2 * index].error
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert error.message.startswith(f"inputs[{2 * index}].image: "), error.message
        assert problem in error.message
        np.testing.assert_allclose(logits_of(results[2 * index + 1]), logits[0], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_of_images_is_answered_in_order(images, name):
    from contextpool.v1 import classification_pb2 as pb
    pixels, logits, _ = golden(name)

    def requests():
        for each in pixels:
            request = pb.ClassifyRequest(inputs=harness.inputs([encode(each), b"broken"]))
            request.model.name = name
            request.options.logits = True
            yield request

    replies = list(images.classification.ClassifyStream(requests(), timeout=60))
    assert len(replies) == len(pixels)
    for reply, expected in zip(replies, logits):
        good, broken = reply.response.results
        np.testing.assert_allclose(logits_of(good), expected, rtol=1e-4, atol=1e-4)
        assert broken.HasField("error")


def test_models_say_what_they_read(images):
    from contextpool.v1 import model_pb2 as pb
    listed = {model.ref.name: model for model in images.model.ListModels(
        pb.ListModelsRequest(), timeout=60).models}
    for name in NAMES:
        pixels = golden(name)[0]
        model = listed[name]
        assert model.modality == pb.MODALITY_IMAGE
        assert (model.image_height, model.image_width) == pixels.shape[1:3]
    text = listed[harness.MINILM.name]
    assert text.modality == pb.MODALITY_TEXT
    assert text.image_height == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_text_for_a_model_of_images_is_refused_by_its_field(images, name):
    with pytest.raises(grpc.RpcError) as refused:
        images.embed(["a text"], model=name)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    reply = images.embed([encode(golden(name)[0][0]), "a text"], model=name)
    assert reply.results[0].HasField("embedding")
    assert reply.results[1].error.message == "inputs[1].text: the model reads images, not text"


def test_an_image_for_a_model_of_texts_is_refused_by_its_field(images):
    with pytest.raises(grpc.RpcError) as refused:
        images.embed([bomb()], model=harness.MINILM.name)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "inputs[0].image" in refused.value.details()


@pytest.mark.parametrize("name", NAMES)
def test_images_are_counted_and_timed(images_server, images, name):
    file = encode(golden(name)[0][0])

    def figures():
        page = images_server.metrics()
        faults = {reason: page.value("contextpool_image_faults_total", model=name, reason=reason)
                  for reason in ("too_large", "no_image", "damaged")}
        return {
            **faults,
            "decoded": page.value("contextpool_stage_duration_seconds_count", model=name,
                                  stage="decode_image"),
            "bytes": page.value("contextpool_image_bytes_sum", model=name),
            "pixels": page.value("contextpool_image_pixels_count", model=name),
        }

    before = figures()
    images.embed([file, file, b"text", bomb(), file[:-20]], model=name)
    after = figures()
    expected = {"too_large": 1, "no_image": 1, "damaged": 1, "decoded": 5, "pixels": 2,
                "bytes": 3 * len(file) - 20 + 4 + len(bomb())}
    assert {key: after[key] - before[key] for key in before} == expected


def test_limits_of_images_can_be_set(start_server):
    server = start_server([MODELS / NAMES[0]], "--max_image_pixels=100", "--max_image_bytes=2000")
    client = server.client()
    small, wide = (encode(np.zeros((10, width, 3), np.uint8)) for width in (10, 11))
    heavy = encode(np.random.default_rng(0).integers(0, 255, (10, 10, 3), np.uint8)) + bytes(2000)
    results = client.embed([small, wide, heavy], model=NAMES[0]).results
    client.close()
    assert results[0].HasField("embedding")
    assert "11 x 10 pixels; at most 100" in results[1].error.message
    assert "bytes; at most 2000" in results[2].error.message


def test_what_context_pool_chose_comes_with_the_grid_of_the_image(images):
    name = "digits-vit-contextpool"
    reply = classify(images, [encode(golden(name)[0][0])], name, explain=True)[0].explanation
    grid = reply.grid_height * reply.grid_width
    assert grid > 0 and not reply.tokens
    for layer in reply.layers:
        weight, size = np.array(layer.weight), np.array(layer.support_size)
        assert len(weight) == len(size) > grid, "tokens before the grid are there too"
        assert (weight[:-grid] == 0).all() and (size[:-grid] == 0).all(), "and pass by"
        assert (weight[-grid:] > 0).all() and (size[-grid:] > 0).all()
