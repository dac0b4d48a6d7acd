"""Image models and pictures for the tests."""

from typing import Any

import torch
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
