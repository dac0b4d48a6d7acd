"""Reads a folder of labelled images: DATA/train/LABEL/*, DATA/test/LABEL/* and, if there is one,
DATA/validation/LABEL/*."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from tqdm import tqdm
from transformers import BaseImageProcessor

from contextpool_training.corpora import SPLITS
from contextpool_training.examples import DataError

# The formats that the server decodes.
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
# What Pillow raises for a file that is damaged, no image, or far too large.
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """`digest` is of the decoded picture, so that the same one counts once under any name."""

    path: pathlib.Path
    label: str
    digest: str
    pixels: Pixels  # [height, width, 3], resized and cropped as the processor does


def read_splits(
    folder: pathlib.Path, processor: BaseImageProcessor, bar: Callable[..., Any] = tqdm
) -> tuple[dict[str, list[LabelledImage]], list[str]]:
    """The images of train, validation and test, and the labels' names in order.

    Without a folder of its own, validation is a tenth of train, chosen by the pictures' hashes. A
    picture that occurs more than once stays once: in test, else in validation, else in train.
    Raises DataError, which names the file or folder.
    """
    read = {}
    for split in SPLITS:
        if split != "validation" or (folder / split).exists():
            read[split] = list(_images(folder / split, processor, bar))
    if "validation" not in read:
        chosen = [int(image.digest[:8], 16) % 10 == 0 for image in read["train"]]
        both = list(zip(read["train"], chosen, strict=True))
        read["validation"] = [image for image, held_out in both if held_out]
        read["train"] = [image for image, held_out in both if not held_out]
    held_out: set[str] = set()
    splits = {}
    for split in reversed(SPLITS):
        splits[split] = _distinct(read[split], held_out)
        if not splits[split]:
            raise DataError(f"{folder}: too few images, none is left for {split}")
    return splits, _labels(folder, splits)


def _images(
    folder: pathlib.Path, processor: BaseImageProcessor, bar: Callable[..., Any]
) -> Iterator[LabelledImage]:
    paths = [path for label in _listed(folder) for path in _listed(label)]
    for path in bar(paths, desc=f"reading {folder.name}", unit="image", leave=False):
        upright = _upright(path)
        content = f"{upright.mode} {upright.size}".encode() + upright.tobytes()
        digest = hashlib.sha256(content).hexdigest()
        yield LabelledImage(path, path.parent.name, digest, pixels_of(upright, processor))


def _listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """What is in it, but for names that begin with a dot."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; images lie in DATA/train/LABEL/ and the like")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _upright(path: pathlib.Path) -> Image.Image:
    """Decoded, and turned as its EXIF orientation says."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from error


def pixels_of(image: Image.Image, processor: BaseImageProcessor) -> Pixels:
    """[height, width, 3] after resize and crop, before the values are scaled."""
    prepared = processor(image, do_rescale=False, do_normalize=False)
    return np.ascontiguousarray(np.moveaxis(prepared["pixel_values"][0], 0, -1), np.uint8)


def _distinct(images: Iterable[LabelledImage], others: set[str]) -> list[LabelledImage]:
    """The first of each picture that is not among the others; these are added to them."""
    first: dict[str, LabelledImage] = {}
    for image in images:
        if image.digest not in others:
            first.setdefault(image.digest, image)
    others.update(first)
    return list(first.values())


def _labels(folder: pathlib.Path, splits: dict[str, list[LabelledImage]]) -> list[str]:
    labels = sorted({image.label for image in splits["train"]})
    if len(labels) < 2:
        raise DataError(f"{folder}/train: one label only, {labels[0]!r}; give two labels")
    for split in ("validation", "test"):
        for image in splits[split]:
            if image.label not in labels:
                raise DataError(f"{image.path}: no training image has the label {image.label!r}")
    return labels
