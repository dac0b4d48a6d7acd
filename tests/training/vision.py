"""Small image models and folders of images for the tests."""

import pathlib
import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def shaken(model: Any, seed: int = 0) -> Any:
    """Weights and statistics so large that everything shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                norm = "norm" in name and name.endswith("weight")
                positive = "running_var" in name
                value.copy_(noise.abs() + 0.5 if positive else norm + 0.3 * noise)
    return model.eval()


def pictures(count: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def write_stripes(folder: pathlib.Path, counts: dict[str, int], side: int = 12) -> None:
    """SPLIT/LABEL/*.png of noisy stripes that go down or across."""
    chance = random.Random(4)
    for split, count in counts.items():
        for i in range(count):
            label = ("across", "down")[i % 2]
            wave = (np.arange(side) // 2 + chance.randint(0, 3)) % 2 * 160
            image = np.tile(wave, (side, 1)) if label == "down" else np.tile(wave, (side, 1)).T
            noise = np.array([chance.randint(0, 90) for _ in range(side * side)])
            path = folder / split / label / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image + noise.reshape(side, side)).astype(np.uint8)).save(path)
