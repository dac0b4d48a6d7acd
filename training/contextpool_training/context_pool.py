"""ContextPool: every token pools its neighbours with learned weights and a learned support size.

Huang et al., "Efficient Representation Learning via Adaptive Context Pooling", ICML 2022, in this
project's reading of it: docs/contextpool.md has the formula, which the server's kernels share with
this module, clamps and eps included.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextpool_training.options import MAX_TAPS, ContextPoolOptions, Fixed

# log2 of a pooling weight is kept inside these bounds.
MIN_LOG_WEIGHT = -100.0
MAX_LOG_WEIGHT = 20.0
# Added to 2 sigma^2.
EPS = 1e-4

# Rows and columns of a patch grid.
Grid: TypeAlias = tuple[int, int]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "identity": lambda x: x,
}


class ContextPool(nn.Module):
    """n tokens in, n tokens out: y_i = sum_j p_ij x_j / normalization,
    p_ij = w_j exp(-|position_i - position_j|^2 / (2 sigma_i^2 + eps)).

    Inputs are [batch, tokens, dim]. In 1-D sequences of several lengths stand in one batch, padded
    on the right, and `mask` [batch, tokens] is true for real tokens. In 2-D the tokens are first
    the prefix, then a grid of rows x columns, row by row; a mask then holds smaller grids in the
    upper left corner. Whatever the padding holds, NaN included, changes no real token; the output
    there is 0. Weights, sizes and sums are at least float32 in every dtype, and float64 in a
    `.double()` module.
    """

    def __init__(
        self,
        dim: int,
        options: ContextPoolOptions,
        dimensions: int = 1,
        typical_length: float = 32,
    ) -> None:
        """`typical_length`: of the sequences to train on (in 2-D the grid's larger side); the first
        support sizes are about 1 token there."""
        super().__init__()
        if dimensions not in (1, 2):
            raise ValueError(f"dimensions is {dimensions}: it must be 1 or 2")
        if dimensions == 2 and options.prefix_tokens == "pool":
            raise ValueError(
                'context_pool.prefix_tokens is "pool": prefix tokens have no place on a grid, only '
                '"pass_through" works in 2-D'
            )
        taps = options.kernel_size**dimensions * options.bottleneck
        if taps > MAX_TAPS:
            raise ValueError(
                "context_pool.kernel_size, in 2-D its square, times context_pool.bottleneck is "
                f"{taps}: it must be at most {MAX_TAPS}"
            )
        self.dim = dim
        self.options = options
        self.dimensions = dimensions
        self.typical_length = typical_length
        self.prefix = options.prefix
        if options.learned:
            conv = nn.Conv1d if dimensions == 1 else nn.Conv2d
            size, padding = options.kernel_size, options.kernel_size // 2
            self.conv1 = conv(dim, options.bottleneck, size, padding=padding)
            self.conv2 = conv(options.bottleneck, 2, size, padding=padding)
        if options.residual == "gate":
            self.gamma = nn.Parameter(torch.zeros(1))
        self.reset_parameters()

    def reset_parameters(self, typical_length: float | None = None) -> None:
        """Support sizes of about 1 token at this length (None: the one that it has), weights nearly
        equal, gamma 0."""
        if typical_length is not None:
            self.typical_length = typical_length
        if self.options.learned:
            self.conv1.reset_parameters()
            self.conv2.reset_parameters()
            with torch.no_grad():
                self.conv2.weight.mul_(0.1)
                start = torch.tensor([0.0, self._first_size_bias()])
                self.conv2.get_parameter("bias").copy_(start)
        if self.options.residual == "gate":
            nn.init.zeros_(self.gamma)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        grid: Grid | None = None,
        centres: Tensor | None = None,
    ) -> Tensor:
        """`centres`, of tokens without a prefix or a mask: only what comes out at these of them,
        [batch, centres, dim]. Every token is pooled from all the same."""
        if centres is not None and (mask is not None or self.prefix > 0):
            raise ValueError("centres are given beside a mask or a prefix: leave one of them out")
        mask = self._checked_mask(x, mask)
        tokens, inside = self._pooled_part(x, mask)
        if tokens.shape[1] == 0:
            return self._cleared(x, mask)
        log_weight, sigma = self._support(tokens, inside, grid)
        distances, own = self._squared_distances(tokens, grid, centres), tokens
        if centres is not None:
            sigma, own = sigma[:, centres], tokens[:, centres]
        pooled = self._residual(own, self._pool(tokens, inside, log_weight, sigma, distances))
        return self._cleared(torch.cat([x[:, : self.prefix], pooled], dim=1), mask)

    def support(
        self, x: Tensor, mask: Tensor | None = None, grid: Grid | None = None
    ) -> tuple[Tensor, Tensor]:
        """The pooling weight and the support size of each token, [batch, tokens] each.

        Both are 0 for prefix tokens and padding.
        """
        mask = self._checked_mask(x, mask)
        tokens, inside = self._pooled_part(x, mask)
        if tokens.shape[1] == 0:
            nothing = torch.zeros(x.shape[:2], dtype=_wide(x), device=x.device)
            return nothing, nothing.clone()
        log_weight, sigma = self._support(tokens, inside, grid)
        prefix = (min(self.prefix, x.shape[1]), 0)
        weight = _masked(torch.exp2(log_weight), inside)
        return F.pad(weight, prefix), F.pad(_masked(sigma, inside), prefix)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, dimensions={self.dimensions}, {self.options}"

    @property
    def first_support_size(self) -> float:
        """Of every token in a fresh module at the typical length, were its b just the bias."""
        size = self.options.size_activation
        if isinstance(size, Fixed):
            return size.value
        if size == "softmax":
            return self._largest / self.typical_length**self.dimensions
        return self._largest / (1 + math.exp(-self._first_size_bias()))

    @property
    def _largest(self) -> float:
        """Support size at the typical length."""
        mode = self.options.n_mode
        return self.options.r * (mode.value if isinstance(mode, Fixed) else self.typical_length)

    def _first_size_bias(self) -> float:
        if self.options.size_activation != "sigmoid":
            return 0.0
        return -math.log(self._largest - 1) if self._largest > 1.25 else 1.4

    def _checked_mask(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        if x.dim() != 3 or x.shape[2] != self.dim:
            raise ValueError(f"x is {list(x.shape)}: it must be [batch, tokens, {self.dim}]")
        if mask is None:
            return None
        if mask.shape != x.shape[:2]:
            raise ValueError(f"mask is {list(mask.shape)}: it must be {list(x.shape[:2])}")
        mask = mask.bool()
        if self.dimensions == 1 and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise ValueError("mask has a gap: sequences must be padded on the right")
        return mask

    def _pooled_part(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The tokens after the prefix, zero where padded, and which of them are real."""
        tokens = x[:, self.prefix :]
        if mask is None:
            return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
        inside = mask[:, self.prefix :]
        return _masked(tokens, inside), inside

    def _cleared(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x if mask is None else _masked(x, mask)

    def _support(self, x: Tensor, inside: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        """log2 of the pooling weights and the support sizes; whatever at padding."""
        like = torch.zeros(x.shape[:2], dtype=_wide(x), device=x.device)
        a, b = self._network(x, inside, grid) if self.options.learned else (like, like)
        return self._log_weight(a, inside), self._sigma(b, inside, grid)

    def _network(self, x: Tensor, inside: Tensor, grid: Grid | None) -> tuple[Tensor, Tensor]:
        """a and b [batch, tokens]. Each convolution sees zeros outside the sequence."""
        shape = (x.shape[0], self.dim, *self._shape(x, grid))
        hidden = self.conv1(x.transpose(1, 2).reshape(shape))
        hidden = _ACTIVATIONS[self.options.activation](hidden)
        hidden = hidden.masked_fill(~inside.view(shape[0], 1, *shape[2:]), 0).to(_wide(x))
        conv = F.conv1d if self.dimensions == 1 else F.conv2d
        weight, bias = (value.to(hidden.dtype) for value in self.conv2.parameters())
        both = conv(hidden, weight, bias, padding=self.options.kernel_size // 2).flatten(2)
        return both[:, 0], both[:, 1]

    def _log_weight(self, a: Tensor, inside: Tensor) -> Tensor:
        match self.options.weight_activation:
            case "sigmoid":
                log_weight = F.logsigmoid(a)
            case "exp":
                log_weight = a
            case "softmax":
                log_weight = torch.log_softmax(_excluded(a, inside), dim=1)
            case "one":
                log_weight = torch.zeros_like(a)
        return (log_weight / math.log(2)).clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT)

    def _sigma(self, b: Tensor, inside: Tensor, grid: Grid | None) -> Tensor:
        size = self.options.size_activation
        if isinstance(size, Fixed):
            return torch.full_like(b, size.value)
        if size == "softmax":
            share = torch.softmax(_excluded(b, inside), dim=1)
        else:
            share = torch.sigmoid(b)
        return self.options.r * self._n(inside, grid).to(b.dtype) * share

    def _n(self, inside: Tensor, grid: Grid | None) -> Tensor:
        """N of each sequence, [batch, 1]."""
        mode = self.options.n_mode or ("tokens" if self.dimensions == 1 else "side")
        if isinstance(mode, Fixed):
            return torch.full(
                (inside.shape[0], 1), mode.value, dtype=torch.float64, device=inside.device
            )
        if mode == "tokens" or self.dimensions == 1:
            return inside.sum(dim=1, keepdim=True)
        cells = inside.view(inside.shape[0], *self._shape(inside, grid))
        sides = torch.stack([cells.any(dim=2).sum(dim=1), cells.any(dim=1).sum(dim=1)])
        return sides.amax(dim=0).unsqueeze(1)

    def _pool(
        self, x: Tensor, inside: Tensor, log_weight: Tensor, sigma: Tensor, distances: Tensor
    ) -> Tensor:
        """y [batch, outputs, dim] of sigma [batch, outputs] and the squared distances [outputs,
        tokens]"""
        spread = (2 * sigma.square() + EPS).unsqueeze(2)
        exponent = log_weight.unsqueeze(1) * math.log(2) - distances / spread
        exponent = _excluded(exponent, inside.unsqueeze(1))
        if self.options.normalization == "sum":
            # The same quotient, and no weight underflows.
            return (torch.softmax(exponent, dim=2) @ x.to(exponent.dtype)).to(x.dtype)
        pooled = torch.exp(exponent) @ x.to(exponent.dtype)
        if self.options.normalization == "mean":
            pooled = pooled / inside.sum(dim=1).clamp(min=1).view(-1, 1, 1)
        return pooled.to(x.dtype)

    def _squared_distances(self, x: Tensor, grid: Grid | None, centres: Tensor | None) -> Tensor:
        """[tokens or centres, tokens]"""
        axes = [torch.arange(size, device=x.device) for size in self._shape(x, grid)]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        own = places if centres is None else places[:, centres]
        return (own.unsqueeze(2) - places.unsqueeze(1)).square().sum(dim=0).to(_wide(x))

    def _shape(self, x: Tensor, grid: Grid | None) -> tuple[int, ...]:
        """How the pooled tokens lie: (tokens,) or (rows, columns)."""
        count = x.shape[1]
        if self.dimensions == 1:
            if grid is not None:
                raise ValueError("grid is given to a 1-D ContextPool: leave it out")
            return (count,)
        if grid is None or grid[0] * grid[1] != count:
            raise ValueError(
                f"grid is {grid}: its rows times columns must be {count}, the number of tokens "
                "after the prefix"
            )
        return grid

    def _residual(self, x: Tensor, y: Tensor) -> Tensor:
        match self.options.residual:
            case "none":
                return y
            case "add":
                return x + y
            case "gate":
                return x + self.gamma * (y - x)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32


def _masked(x: Tensor, inside: Tensor) -> Tensor:
    return x.masked_fill(~inside.view(*inside.shape, *[1] * (x.dim() - inside.dim())), 0)


def _excluded(x: Tensor, inside: Tensor) -> Tensor:
    """With so small a number for padding that no softmax sees it, and yet finite."""
    return x.masked_fill(~inside, torch.finfo(x.dtype).min)
