"""ContextPool of one sequence in float64 by plain loops, straight from the formula.

Slow and without PyTorch: what the tests compare the module with.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from contextpool_training.options import ContextPoolOptions, Fixed

Array: TypeAlias = npt.NDArray[np.float64]
Place: TypeAlias = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Of n tokens, the prefix included. Prefix tokens have weight and support size 0."""

    output: Array  # [n, d]
    weight: Array  # [n]
    support_size: Array  # [n]


def context_pool(
    x: Array,
    tensors: Mapping[str, Array],
    options: ContextPoolOptions,
    grid: tuple[int, int] | None = None,
) -> Pooled:
    """`tensors`: conv1.weight and so on; `grid`: rows and columns, in 2-D."""
    prefix = min(options.prefix, len(x))
    output, weight, support_size = x.copy(), np.zeros(len(x)), np.zeros(len(x))
    tokens = x[prefix:]
    n = len(tokens)
    if n == 0:
        return Pooled(output, weight, support_size)
    places = _places(n, grid)
    a, b = _network(tokens, tensors, options, places) if options.learned else ([0.0] * n, [0.0] * n)
    log_weights = [min(max(value, -100.0), 20.0) for value in _log2_weights(a, options)]
    sigmas = _support_sizes(b, options, places)
    gamma = float(tensors["gamma"][0]) if options.residual == "gate" else 0.0
    for i in range(n):
        total, summed = 0.0, np.zeros(x.shape[1])
        for j in range(n):
            p = 2.0 ** log_weights[j] * math.exp(
                -_squared_distance(places[i], places[j]) / (2 * sigmas[i] ** 2 + 1e-4)
            )
            total += p
            summed += p * tokens[j]
        y = summed / {"sum": total, "mean": n, "none": 1}[options.normalization]
        output[prefix + i] = {
            "none": y,
            "add": tokens[i] + y,
            "gate": tokens[i] + gamma * (y - tokens[i]),
        }[options.residual]
        weight[prefix + i] = 2.0 ** log_weights[i]
        support_size[prefix + i] = sigmas[i]
    return Pooled(output, weight, support_size)


def downsampled(
    x: Array,
    tensors: Mapping[str, Array],
    options: ContextPoolOptions,
    grid: tuple[int, int],
    window: tuple[int, int, int] | None,
) -> Array:
    """[rows, columns, d], what stands in place of a ConvNet's pooling layer of this kernel, stride
    and padding, or, without a window, of the global one. x: [n, d] of a grid, row by row."""
    everywhere = context_pool(x, tensors, options, grid).output.reshape(*grid, -1)
    rows, columns = (_centres(side, window) for side in grid)
    return np.array([[everywhere[row, column] for column in columns] for row in rows])


def _centres(side: int, window: tuple[int, int, int] | None) -> list[int]:
    """Positions in the middle of the window, where it stands over an axis of so many."""
    if window is None:
        return [(side - 1) // 2]
    kernel, stride, padding = window
    centres = []
    first = -padding
    while first + kernel <= side + padding:
        middle = first + (kernel - 1) // 2
        centres.append(0 if middle < 0 else side - 1 if middle >= side else middle)
        first += stride
    return centres


def _places(n: int, grid: tuple[int, int] | None) -> list[Place]:
    if grid is None:
        return [(i,) for i in range(n)]
    rows, columns = grid
    assert rows * columns == n, (rows, columns, n)
    return [(i // columns, i % columns) for i in range(n)]


def _squared_distance(one: Place, other: Place) -> int:
    return sum((p - q) ** 2 for p, q in zip(one, other, strict=True))


def _network(
    tokens: Array, tensors: Mapping[str, Array], options: ContextPoolOptions, places: list[Place]
) -> tuple[list[float], list[float]]:
    hidden = _convolution(tokens, tensors["conv1.weight"], tensors["conv1.bias"], places)
    activation = _ACTIVATIONS[options.activation]
    hidden = np.array([[activation(value) for value in row] for row in hidden])
    both = _convolution(hidden, tensors["conv2.weight"], tensors["conv2.bias"], places)
    return list(both[:, 0]), list(both[:, 1])


def _convolution(x: Array, weight: Array, bias: Array, places: list[Place]) -> Array:
    """Places without a token count as zeros. weight: [outputs, inputs, k] or [.., k, k]."""
    rows = {place: x[i] for i, place in enumerate(places)}
    half = weight.shape[2] // 2
    result = np.zeros((len(places), len(weight)))
    for i, place in enumerate(places):
        result[i] = bias
        for tap in np.ndindex(weight.shape[2:]):
            neighbour = tuple(p + t - half for p, t in zip(place, tap, strict=True))
            if neighbour in rows:
                result[i] += weight[(slice(None), slice(None), *tap)] @ rows[neighbour]
    return result


_ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "identity": lambda x: x,
}


def _log2_weights(a: list[float], options: ContextPoolOptions) -> list[float]:
    match options.weight_activation:
        case "one":
            return [0.0] * len(a)
        case "exp":
            return [value / math.log(2) for value in a]
        case "sigmoid":
            return [-_log_1_plus_exp(-value) / math.log(2) for value in a]
        case "softmax":
            return [(value - _log_sum_exp(a)) / math.log(2) for value in a]


def _support_sizes(b: list[float], options: ContextPoolOptions, places: list[Place]) -> list[float]:
    if isinstance(options.size_activation, Fixed):
        return [options.size_activation.value] * len(b)
    if options.size_activation == "softmax":
        shares = [math.exp(value - _log_sum_exp(b)) for value in b]
    else:
        shares = [math.exp(-_log_1_plus_exp(-value)) for value in b]
    if isinstance(options.n_mode, Fixed):
        length: float = options.n_mode.value
    elif options.n_mode == "tokens" or len(places[0]) == 1:
        length = len(places)
    else:
        length = 1 + max(max(place) for place in places)
    return [options.r * length * share for share in shares]


def _log_1_plus_exp(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _log_sum_exp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))
