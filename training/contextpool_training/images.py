"""Pixels as a model reads them, and batches of images."""

import dataclasses
import hashlib
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import BaseImageProcessor

from contextpool_training.image_folder import LabelledImage


@dataclasses.dataclass(frozen=True)
class ImageBatch:
    """pixel_values [rows, 3, height, width], labels [rows]."""

    pixel_values: Tensor
    labels: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {"pixel_values": self.pixel_values}


class ImageExamples:
    """uint8 pixels [images, height, width, 3] and labels, from which batches are made."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        labels: Sequence[str],
        processor: BaseImageProcessor,
        shift: float = 0,
        flip: float = 0,
    ) -> None:
        """`labels`: all, in order. In training images move by up to the share `shift` of their
        sides, and the share `flip` of them is mirrored."""
        self.pixels = torch.from_numpy(np.stack([image.pixels for image in images]))
        self.labels = [labels.index(image.label) for image in images]
        self.processor, self.shift, self.flip = processor, shift, flip

    def __len__(self) -> int:
        return len(self.labels)

    def plan(self, batch_size: int, chance: random.Random | None = None) -> list[list[int]]:
        order = list(range(len(self)))
        if chance is not None:
            chance.shuffle(order)
        return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]

    def batch(self, rows: list[int], chance: random.Random | None = None) -> ImageBatch:
        pixels = self.pixels[rows]
        if chance is not None:
            pixels = torch.stack([self._disturbed(image, chance) for image in pixels])
        labels = torch.tensor([self.labels[row] for row in rows])
        return ImageBatch(pixel_values_of(pixels, self.processor), labels)

    def digest(self) -> str:
        content = hashlib.sha256(self.pixels.numpy().tobytes())
        content.update(repr((self.labels, tuple(self.pixels.shape))).encode())
        content.update(self.processor.to_json_string().encode())
        return content.hexdigest()

    def _disturbed(self, image: Tensor, chance: random.Random) -> Tensor:
        """Moved by whole pixels, the border repeated, and perhaps mirrored."""
        for axis in (0, 1):
            side = image.shape[axis]
            most = int(self.shift * side)
            move = chance.randint(-most, most)
            image = image.index_select(axis, (torch.arange(side) + move).clamp(0, side - 1))
        return image.flip(1) if chance.random() < self.flip else image


def pixel_values_of(
    pixels: Tensor, processor: BaseImageProcessor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """[images, 3, height, width] of uint8 [images, height, width, 3], rescaled and normalised."""
    values, settings = pixels.to(dtype), processor.to_dict()
    if settings["do_rescale"]:
        values = values * settings["rescale_factor"]
    if settings["do_normalize"]:
        mean = torch.tensor(settings["image_mean"], dtype=dtype)
        std = torch.tensor(settings["image_std"], dtype=dtype)
        values = (values - mean) / std
    return values.movedim(-1, 1)
