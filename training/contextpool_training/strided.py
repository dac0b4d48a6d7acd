"""ContextPool in a ConvNet: it stands in place of a layer that pools a feature map.

Each output is what ContextPool gives at one position of the map, the output's centre. Weights,
support sizes and sums are those of the whole map in full resolution.
"""

import dataclasses

import torch
from torch import Tensor

from contextpool_training.context_pool import ContextPool


@dataclasses.dataclass(frozen=True)
class Window:
    """Of the pooling layer whose place ContextPool takes; alike along both axes."""

    kernel: int
    stride: int
    padding: int

    def centres(self, side: int) -> list[int]:
        """Along an axis of so many positions: as many as that layer had outputs."""
        outputs = (side + 2 * self.padding - self.kernel) // self.stride + 1
        first = (self.kernel - 1) // 2 - self.padding
        return [min(max(self.stride * o + first, 0), side - 1) for o in range(outputs)]


def downsample(pool: ContextPool, features: Tensor, window: Window | None = None) -> Tensor:
    """Features [batch, dim, rows, columns] on a coarser grid; without a window on a grid of one
    position, centred in the middle (of an even number: the one before)."""
    if features.dim() != 4:
        raise ValueError(
            f"features are {list(features.shape)}: they must be [batch, {pool.dim}, rows, columns]"
        )
    grid = (features.shape[2], features.shape[3])
    rows, columns = ([(side - 1) // 2] if window is None else window.centres(side) for side in grid)
    centres = torch.tensor(
        [row * grid[1] + column for row in rows for column in columns], device=features.device
    )
    pooled: Tensor = pool(features.flatten(2).transpose(1, 2), None, grid, centres)
    return pooled.transpose(1, 2).reshape(len(features), pool.dim, len(rows), len(columns))
