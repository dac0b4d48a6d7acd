"""Folders of images, and what the trainer makes of them."""

import pathlib
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from contextpool_training.examples import DataError
from contextpool_training.image_classifier import ARCHITECTURES
from contextpool_training.image_folder import LabelledImage, pixels_of, read_splits
from contextpool_training.images import ImageExamples, pixel_values_of
from vision import write_stripes

VIT = ARCHITECTURES["vit"].processor_of(8)
RESNET = ARCHITECTURES["resnet"].processor_of(8)


def silent(values: Any, **_: object) -> Any:
    return values


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width, len(Image.new(mode, (1, 1)).getbands()))
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Image.fromarray(values if shape[2] > 1 else values[:, :, 0], mode)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    write_stripes(tmp_path, {"train": 40, "test": 10})
    return tmp_path


def test_a_tenth_of_the_training_images_is_held_out(folder: pathlib.Path) -> None:
    splits, labels = read_splits(folder, VIT, silent)
    assert labels == ["across", "down"]
    assert len(splits["train"]) + len(splits["validation"]) == 40 and len(splits["test"]) == 10
    assert 1 <= len(splits["validation"]) <= 10
    for path in folder.rglob("*.png"):  # the pictures decide, not their names
        path.rename(path.with_name(f"{random.Random(path.name).random()}.png"))
    again, _ = read_splits(folder, VIT, silent)
    for split, images in splits.items():
        assert {i.digest for i in images} == {i.digest for i in again[split]}


def test_a_folder_of_its_own_holds_the_validation_images(folder: pathlib.Path) -> None:
    write_stripes(folder, {"validation": 3}, side=14)
    splits, _ = read_splits(folder, VIT, silent)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [40, 3, 10]


def test_a_picture_is_in_one_split_only(folder: pathlib.Path) -> None:
    picture = noise(9, 9)
    for i, split in enumerate(("train", "train", "test")):
        picture.save(folder / split / "down" / f"again{i}.png")
    splits, _ = read_splits(folder, VIT, silent)
    names = [image.path.name for images in splits.values() for image in images]
    assert [name for name in names if name.startswith("again")] == ["again2.png"]


def test_pictures_are_turned_as_their_exif_says(folder: pathlib.Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise(8, 8)
    picture.save(folder / "test" / "down" / "turned.png", exif=exif)
    splits, _ = read_splits(folder, VIT, silent)
    (turned,) = (image for image in splits["test"] if image.path.name == "turned.png")
    wanted = np.asarray(picture.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(turned.pixels, wanted)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pixels_are_those_of_transformers_processor(mode: str) -> None:
    picture = noise(30, 20, "RGB" if mode == "P" else mode).convert(mode)
    for processor in (VIT, RESNET):
        pixels = pixels_of(picture, processor)
        assert pixels.dtype == np.uint8 and pixels.shape == (8, 8, 3)
        wanted = processor(picture, return_tensors="pt").pixel_values
        found = pixel_values_of(torch.from_numpy(pixels).unsqueeze(0), processor)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_vit_sees_the_whole_picture_and_a_resnet_the_middle() -> None:
    picture = noise(16, 8)
    whole = picture.resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels_of(picture, VIT), np.asarray(whole))
    middle = picture.crop((4, 0, 12, 8))
    np.testing.assert_array_equal(pixels_of(picture, RESNET), np.asarray(middle))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "empty.png", "not an image that can be read"),
        (b"\x89PNG\r\n\x1a\n broken", "broken.png", "not an image that can be read"),
        (b"text", "notes.txt", r"its name must end in \.jpeg"),
    ],
)
def test_what_is_no_image_is_named(
    folder: pathlib.Path, content: bytes, name: str, message: str
) -> None:
    (folder / "test" / "down" / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {message}"):
        read_splits(folder, VIT, silent)


def test_a_truncated_image_is_named(folder: pathlib.Path) -> None:
    path = folder / "train" / "down" / "half.png"
    noise(40, 40).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"half\.png: not an image"):
        read_splits(folder, VIT, silent)


def test_folders_that_are_not_as_they_should_be_are_named(folder: pathlib.Path) -> None:
    (folder / "test" / "other").mkdir()
    noise(8, 8).save(folder / "test" / "other" / "a.png")
    with pytest.raises(DataError, match=r"a\.png: no training image has the label 'other'"):
        read_splits(folder, VIT, silent)
    (folder / "test" / ".DS_Store").write_bytes(b"")  # hidden names are passed over
    (folder / "test").rename(folder / "hidden")
    with pytest.raises(DataError, match=r"test: no such folder"):
        read_splits(folder, VIT, silent)
    (folder / "test").mkdir()
    with pytest.raises(DataError, match=r"none is left for test"):
        read_splits(folder, VIT, silent)


def examples(shift: float = 0, flip: float = 0) -> ImageExamples:
    labelled = []
    for seed in range(20):
        pixels = pixels_of(noise(8, 8, seed=seed), VIT)
        labelled.append(LabelledImage(pathlib.Path("x"), "ab"[seed % 2], str(seed), pixels))
    return ImageExamples(labelled, ["a", "b"], VIT, shift, flip)


def test_an_epoch_holds_every_image_once_in_an_order_of_chance() -> None:
    plan = examples().plan(8, random.Random(1))
    assert sorted(row for rows in plan for row in rows) == list(range(20))
    assert [len(rows) for rows in plan] == [8, 8, 4]
    assert plan == examples().plan(8, random.Random(1)) != examples().plan(8, random.Random(2))
    assert examples().plan(15) == [list(range(15)), list(range(15, 20))]


def test_batches_are_disturbed_in_training_only() -> None:
    images = examples(shift=0.125, flip=0.5)
    rows = list(range(20))
    exact = images.batch(rows)
    assert exact.labels.tolist() == [0, 1] * 10
    torch.testing.assert_close(exact.pixel_values, pixel_values_of(images.pixels, VIT))
    assert torch.equal(examples().batch(rows, random.Random(1)).pixel_values, exact.pixel_values)
    moved = images.batch(rows, random.Random(1)).pixel_values
    assert torch.equal(images.batch(rows, random.Random(1)).pixel_values, moved)
    kinds = set()
    for before, after in zip(exact.pixel_values, moved, strict=True):
        # A pixel away from the border tells where the image went.
        (kind,) = (
            (down, right, mirrored)
            for mirrored in (False, True)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if torch.equal(
                (after.flip(2) if mirrored else after)[:, 2:6, 2:6],
                before[:, 2 + down : 6 + down, 2 + right : 6 + right],
            )
        )
        kinds.add(kind)
    assert {kind[0] for kind in kinds} == {kind[1] for kind in kinds} == {-1, 0, 1}
    assert {kind[2] for kind in kinds} == {False, True}


def test_a_digest_is_of_pixels_labels_and_scale() -> None:
    one, other = examples(), examples()
    assert one.digest() == other.digest()
    other.labels[0] = 1
    assert one.digest() != other.digest()
    other = examples()
    other.pixels[0, 0, 0, 0] += 1
    assert one.digest() != other.digest()
    other = examples()
    other.processor = RESNET
    assert one.digest() != other.digest()
