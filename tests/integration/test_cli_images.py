"""The command line client with image files, against the real server."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import harness
from harness import run_cli
from test_images import MODELS, encode, golden

NAME = "digits-vit-contextpool"


def vary(folder, **preprocessor):
    """The same model, which prepares its images in another way."""
    shutil.copytree(MODELS / NAME, folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **preprocessor}))


@pytest.fixture(scope="module")
def digits_server(stubs, tmp_path_factory):
    repository = tmp_path_factory.mktemp("digits")
    for path in MODELS.glob("digits-*"):
        (repository / path.name).symlink_to(path)
    crop = {"do_center_crop": True, "crop_size": {"height": 8, "width": 8}}
    vary(repository / "crops", size={"height": 16, "width": 24}, **crop)
    vary(repository / "pads", size={"height": 4, "width": 6}, **crop)
    server = harness.Server(tmp_path_factory.mktemp("server"), [repository])
    yield server
    server.stop()


@pytest.fixture
def cli(digits_server):
    def run(command, *arguments, model=NAME, **keywords):
        return run_cli(command, "-m", model, *arguments, server=digits_server.address, **keywords)

    return run


@pytest.fixture
def photos(tmp_path):
    """A file, a folder of two with a note beside them, and what the model finds in the three."""
    pixels, logits, _ = golden(NAME)
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "note.txt").write_text("no image")
    for name, each in (("one.png", 0), ("album/b.webp", 2), ("album/a.PNG", 1)):
        kind = {"kind": "WEBP", "lossless": True, "exact": True} if "webp" in name else {}
        (tmp_path / name).write_bytes(encode(pixels[each], **kind))
    return tmp_path, [str(np.argmax(each)) for each in logits[:3]]


def lines_of(done, exit_code=0):
    assert done.returncode == exit_code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def labels_of(lines):
    return [line["scores"][0]["label"] for line in lines]


def test_files_folders_patterns_and_lists_are_classified_in_their_order(cli, photos):
    folder, labels = photos
    (folder / "names.txt").write_text(f"{folder}/album/b.webp\n{folder}/one.png\n")
    for words, expected in (
        ([folder / "one.png", folder / "album"], [0, 1, 2]),
        ([folder / "album" / "[ab].*", folder / "o?e.png"], [1, 2, 0]),
        (["--input", folder / "names.txt"], [2, 0]),
    ):
        found = lines_of(cli("classify", "--json", "--top-k", "1", *words))
        assert labels_of(found) == [labels[i] for i in expected]
        names = ["one.png", "album/a.PNG", "album/b.webp"]
        assert [line["file"] for line in found] == [f"{folder}/{names[i]}" for i in expected]


def test_the_standard_input_is_one_image(cli, photos):
    folder, labels = photos
    file = (folder / "one.png").read_bytes()
    found = lines_of(cli("classify", "--json", "--top-k", "1", folder / "album/a.PNG", "-",
                         stdin=file))
    assert labels_of(found) == [labels[1], labels[0]]
    assert found[1]["file"] == "-"


def test_people_see_the_file_and_its_labels(cli, photos):
    folder, labels = photos
    done = cli("classify", "--top-k", "1", folder / "one.png")
    assert done.returncode == 0, done.stderr
    headline, label = done.stdout.splitlines()
    assert headline.startswith("0  ") and headline.endswith("/one.png  (17 tokens)")
    assert label.split()[0] == labels[0]


def test_images_are_embedded_as_pytorch_does(cli, photos):
    folder, _ = photos
    done = cli("embed", "--output", folder / "vectors.npy", folder / "one.png", folder / "album")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(folder / "vectors.npy"), golden(NAME)[2][:3], atol=1e-4)


def test_broken_files_are_named_and_the_others_answered(cli, photos):
    folder, labels = photos
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:-30])
    (folder / "empty.jpg").write_bytes(b"")
    names = ["one.png", "cut.png", "album/note.txt", "empty.jpg", "missing.png", "album/a.PNG"]
    files = [folder / name for name in names]
    done = cli("classify", "--top-k", "1", *files)
    assert done.returncode == 1
    for index, reason in ((1, "the PNG file"), (2, "no JPEG, PNG or WebP"), (3, "no JPEG, PNG"),
                          (4, "No such file")):
        error, = [line for line in done.stderr.splitlines() if f"input {index} " in line]
        assert f"({files[index]})" in error and reason in error
    assert len(done.stderr.splitlines()) == 4
    lines = lines_of(cli("classify", "--json", "--top-k", "1", *files), exit_code=1)
    assert ["error" in line for line in lines] == [False, True, True, True, True, False]
    assert labels_of([lines[0], lines[5]]) == labels[:2]
    assert [line["file"] for line in lines] == list(map(str, files))


def test_words_that_mean_no_image_are_refused_before_anything_is_sent(cli, photos):
    folder, _ = photos
    (folder / "bare").mkdir()
    (folder / "bare" / "note.txt").write_text("no image")
    for word, reason in ((folder / "bare", f"no *.jpg, *.jpeg, *.png or *.webp file in {folder}"),
                         (folder / "*.tiff", "no file matches")):
        done = cli("classify", folder / "one.png", word)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr


def read_picture(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


# Of a picture, in pixels: a grid of 4 x 4 in panels with titles above and a legend below.
SIDE, MARGIN, TITLE, LEGEND = 336, 24, 46, 40
CELL = SIDE // 4


def panels_of(picture, layers):
    """The image and each layer, [SIDE, SIDE, 3]."""
    height, width, _ = picture.shape
    assert width == max(MARGIN + (layers + 1) * (SIDE + MARGIN), 640)
    assert height == TITLE + SIDE + MARGIN + LEGEND
    return [picture[TITLE:TITLE + SIDE, x:x + SIDE]
            for x in range(MARGIN, width - SIDE, SIDE + MARGIN)]


def check_circles(panel, image, layer):
    """Tokens have circles of their support sizes, over a faded image that is left alone elsewhere."""
    weight, size = (np.array(layer[key][-16:]) for key in ("weight", "support_size"))
    y, x = np.mgrid[:SIDE, :SIDE]
    grey = image @ (0.299, 0.587, 0.114)
    drawn = np.abs(panel - 0.6 * grey[..., None]).max(2) > 2
    covered = np.zeros_like(drawn)
    for token in range(16):
        column, row = ((place + 0.5) * CELL - 0.5 for place in (token % 4, token // 4))
        distance = np.hypot(x - column, y - row)
        covered |= distance <= max(size[token] * CELL, 3) + 1.5
        if weight[token] > 0.5 * weight.max():
            assert drawn[np.abs(distance - size[token] * CELL) < 0.5].all(), f"rim of {token}"
            assert drawn[distance < 3].all(), f"middle of {token}"
    assert not (drawn & ~covered).any()


def enlarge(pixels):
    """To the size of a panel, each pixel a square."""
    return pixels.repeat(SIDE // len(pixels), 0).repeat(SIDE // len(pixels), 1)


def test_explain_draws_the_support_of_every_token_over_the_image(cli, photos):
    folder, _ = photos
    photo, out = folder / "one.png", folder / "out.png"
    done = cli("classify", f"--explain={out}", photo)
    assert done.returncode == 0, done.stderr
    assert f"wrote {out}" in done.stdout
    line, = lines_of(cli("classify", "--json", "--explain", photo))
    layers = line["explanation"]["layers"]
    image, *drawn = panels_of(read_picture(out), len(layers))
    enlarged = enlarge(read_picture(photo))
    np.testing.assert_array_equal(image, enlarged)
    for panel, layer in zip(drawn, layers, strict=True):
        check_circles(panel, enlarged, layer)


def test_explain_draws_a_file_for_each_image_that_is_answered(cli, photos):
    folder, _ = photos
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:-30])
    files = [folder / name for name in ("one.png", "cut.png", "album/a.PNG")]
    done = cli("embed", f"--explain={folder}/out.png", *files)
    assert done.returncode == 1 and "cut.png" in done.stderr
    assert sorted(path.name for path in folder.glob("out*")) == ["out-0.png", "out-2.png"]
    for index in (0, 2):
        image = panels_of(read_picture(folder / f"out-{index}.png"), 2)[0]
        np.testing.assert_array_equal(image, enlarge(read_picture(files[index])))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_stand_upright(cli, tmp_path, kind):
    # Blocks that stay as they are in a JPEG file, and that no orientation leaves where they are.
    pixels = np.kron([[0, 90], [170, 255]], np.ones((8, 8)))[..., None].repeat(3, 2)
    upright = [pixels, pixels[:, ::-1], pixels[::-1, ::-1], pixels[::-1]]
    upright += [each.transpose(1, 0, 2) for each in
                (pixels, pixels[::-1], pixels[::-1, ::-1], pixels[:, ::-1])]
    for orientation, expected in enumerate(upright, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo, out = tmp_path / f"{orientation}.{kind}", tmp_path / "out.png"
        photo.write_bytes(encode(pixels.astype(np.uint8), kind, exif=exif, quality=100))
        done = cli("classify", f"--explain={out}", photo)
        assert done.returncode == 0, done.stderr
        image = panels_of(read_picture(out), 2)[0]
        np.testing.assert_allclose(image, enlarge(expected), atol=3)


@pytest.mark.parametrize("model", ["crops", "pads"])
def test_circles_lie_on_the_part_of_the_image_that_the_model_saw(cli, tmp_path, model):
    height, width = {"crops": (32, 48), "pads": (4, 6)}[model]
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    photo.write_bytes(encode(pixels))
    if model == "crops":  # 8 x 8 in the middle of 16 x 24, which is half of the photo
        seen, box = pixels[8:24, 16:32], (1 / 3, 1 / 4, 1 / 3, 1 / 2)
    else:  # 4 x 6 in the middle of 8 x 8
        seen, box = np.pad(pixels, ((2, 2), (1, 1), (0, 0))), (-1 / 6, -1 / 2, 8 / 6, 2)
    done = cli("classify", f"--explain={out}", photo, model=model)
    assert done.returncode == 0, done.stderr
    line, = lines_of(cli("classify", "--json", "--explain", photo, model=model))
    found = [line["explanation"]["grid_box"][key] for key in ("left", "top", "width", "height")]
    np.testing.assert_allclose(found, box, rtol=1e-6)
    layers = line["explanation"]["layers"]
    image, *drawn = panels_of(read_picture(out), len(layers))
    np.testing.assert_array_equal(image, enlarge(seen))
    for panel, layer in zip(drawn, layers, strict=True):
        check_circles(panel, enlarge(seen), layer)
