#!/usr/bin/env python3
"""Writes context_pool_grid/: what ContextPool must compute on the grids of images.

    PYTHONPATH=../../training venv/bin/python make_context_pool_grid_golden.py

with the environment of make_golden.py. The same versions write the same bytes.

context_pool_grid/NAME/config.json holds the options as `context_pool`, the `grid` of [rows, columns],
the number of `images` and of `prefix` tokens before each grid, and in ConvNets what is replaced:
`replaces`, a pooling layer's {"window", "stride", "padding"} or "mean". model.safetensors holds in
F32 the module's own tensors below `context_pool.` and

    x             [images * (prefix + rows * columns), d]
    weight, size  [images * (prefix + rows * columns)]: w (not its logarithm) and sigma in cells;
                  0 for prefix tokens
    out           like x, or [images * outputs, d]

all computed here in double precision, by PyTorch's convolutions and the formula written out. The
module of training/ must agree.
"""

import dataclasses
import json
import math
import shutil
from typing import Any

import torch
import torch.nn.functional as F
from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions
from contextpool_training.strided import Window, downsample
from safetensors.torch import save_file
from versions import FOLDER, check_versions

OUTPUT = FOLDER / "context_pool_grid"

ACTIVATIONS = {
    "gelu": F.gelu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "identity": lambda x: x,
}


@dataclasses.dataclass
class Case:
    """One module, the grids it pools, and about what its second convolution's a and b are."""

    name: str
    grid: tuple[int, int]
    options: dict[str, Any]
    dim: int = 6
    prefix: int = 0
    replaces: dict[str, int] | str | None = None
    a: tuple[float, float] = (0.0, 2.0)
    b: tuple[float, float] = (0.5, 1.5)


STEM = {"window": 3, "stride": 2, "padding": 1}
CASES = [
    Case("defaults", (5, 7), {}, prefix=1),
    Case("square_of_14", (14, 14), {"r": 0.3}, dim=20, prefix=1),
    Case(
        "exp_mean_add_relu_k5_tokens", (9, 4),
        {"kernel_size": 5, "bottleneck": 7, "activation": "relu", "weight_activation": "exp",
         "normalization": "mean", "n_mode": "tokens", "residual": "add"},
        prefix=2, a=(0.5, 1.0),
    ),
    Case(
        "softmax_none_gate_leaky_k1_fixed_n", (6, 11),
        {"kernel_size": 1, "bottleneck": 5, "activation": "leaky_relu",
         "weight_activation": "softmax", "normalization": "none", "n_mode": {"fixed": 20},
         "residual": "gate"},
        prefix=4,
    ),
    Case(
        "one_softmax_size_identity", (4, 6),
        {"bottleneck": 3, "activation": "identity", "weight_activation": "one",
         "size_activation": "softmax", "r": 2.0, "n_mode": "side"},
    ),
    Case("sigmoid_fixed_size", (8, 3), {"size_activation": {"fixed": 1.5}}, prefix=1),
    Case("blur", (7, 7), {"weight_activation": "one", "size_activation": {"fixed": 0.76}}),
    # Most of the grid is too far away to matter, but for the tokens of great weight.
    Case(
        "wide_unequal_weights", (29, 41),
        {"bottleneck": 4, "weight_activation": "exp"}, dim=3, a=(-2.0, 8.0), b=(-1.5, 1.0),
    ),
    Case("one_cell", (1, 1), {}, prefix=1),
    Case("one_column_k7", (9, 1), {"kernel_size": 7, "bottleneck": 4}),
    Case("stem", (17, 12), {}, replaces=STEM),
    Case(
        "stem_gate_add_k5", (11, 20),
        {"kernel_size": 5, "bottleneck": 9, "residual": "gate", "r": 0.2, "n_mode": "tokens"},
        replaces=STEM, dim=19,
    ),
    Case(
        "windows_of_2_mean_add", (9, 9), {"normalization": "mean", "residual": "add"},
        replaces={"window": 2, "stride": 2, "padding": 1},
    ),
    Case("final", (7, 8), {}, dim=17, replaces="mean"),
    Case(
        "final_blur", (4, 4), {"weight_activation": "one", "size_activation": {"fixed": 2.0}},
        replaces="mean",
    ),
]  # fmt: skip


def tensors_of(case: Case, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The module's own, large enough that no term of the formula can be missing."""
    options = case.options
    kernel, width = options.get("kernel_size", 3), options.get("bottleneck", 32)
    tensors = {}

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    if options.get("weight_activation") != "one" or not isinstance(
        options.get("size_activation"), dict
    ):
        taps = kernel * kernel
        tensors["conv1.weight"] = normal(width, case.dim, kernel, kernel) / (
            math.sqrt(case.dim * taps)
        )
        tensors["conv1.bias"] = 0.2 * normal(width)
        spread = torch.tensor([case.a[1], case.b[1]]).view(2, 1, 1, 1)
        tensors["conv2.weight"] = (
            spread * normal(2, width, kernel, kernel) / math.sqrt(width * taps / 3)
        )
        tensors["conv2.bias"] = torch.tensor([case.a[0], case.b[0]])
    if options.get("residual") == "gate":
        tensors["gamma"] = torch.tensor([-0.6])
    return tensors


def network(case: Case, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """a and b [2, cells] of one image [d, rows, columns]."""
    if "conv1.weight" not in tensors:
        return torch.zeros(2, x[0].numel(), dtype=x.dtype)
    half = case.options.get("kernel_size", 3) // 2
    activation = ACTIVATIONS[case.options.get("activation", "gelu")]
    hidden = F.conv2d(x[None], tensors["conv1.weight"], tensors["conv1.bias"], padding=half)
    both = F.conv2d(
        activation(hidden), tensors["conv2.weight"], tensors["conv2.bias"], padding=half
    )
    return both[0].flatten(1)


def log_weights(case: Case, a: torch.Tensor) -> torch.Tensor:
    log = {
        "sigmoid": F.logsigmoid,
        "exp": lambda a: a,
        "softmax": lambda a: torch.log_softmax(a, 0),
        "one": torch.zeros_like,
    }[case.options.get("weight_activation", "sigmoid")](a)
    return (log / math.log(2)).clamp(-100, 20)


def sizes(case: Case, b: torch.Tensor) -> torch.Tensor:
    size = case.options.get("size_activation", "sigmoid")
    if isinstance(size, dict):
        return torch.full_like(b, size["fixed"])
    mode = case.options.get("n_mode", "side")
    counts = {"side": max(case.grid), "tokens": b.numel()}
    n = counts[mode] if isinstance(mode, str) else mode["fixed"]
    share = torch.sigmoid(b) if size == "sigmoid" else torch.softmax(b, 0)
    return case.options.get("r", 0.1) * n * share


def centres(case: Case) -> list[tuple[int, int]]:
    """Row and column of each output's centre."""
    rows, columns = case.grid
    if case.replaces is None:
        return [(row, column) for row in range(rows) for column in range(columns)]
    if case.replaces == "mean":
        return [((rows - 1) // 2, (columns - 1) // 2)]
    layer = case.replaces
    assert isinstance(layer, dict)

    def along(size: int) -> list[int]:
        replaced = F.max_pool1d(
            torch.zeros(1, size), layer["window"], layer["stride"], layer["padding"]
        )
        middle = (layer["window"] - 1) // 2 - layer["padding"]
        places = [layer["stride"] * o + middle for o in range(replaced.shape[1])]
        return [min(max(place, 0), size - 1) for place in places]

    return [(row, column) for row in along(rows) for column in along(columns)]


def pool(case: Case, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of one image's cells [rows * columns, d]."""
    rows, columns = case.grid
    a, b = network(case, tensors, x.T.reshape(case.dim, rows, columns))
    log_weight, sigma = log_weights(case, a), sizes(case, b)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(x.dtype)
    out = []
    for row, column in centres(case):
        own = row * columns + column
        squares = (places - places[own]).square().sum(dim=1)
        p = torch.exp2(log_weight) * torch.exp(-squares / (2 * sigma[own] ** 2 + 1e-4))
        divisor = {"sum": p.sum(), "mean": len(x), "none": 1}[
            case.options.get("normalization", "sum")
        ]
        y = p @ x / divisor
        change = {
            "none": lambda y, own: y - x[own],
            "add": lambda y, own: y,
            "gate": lambda y, own: tensors["gamma"] * (y - x[own]),
        }[case.options.get("residual", "none")]
        out.append(x[own] + change(y, own))
    return {"out": torch.stack(out), "weight": torch.exp2(log_weight), "size": sigma}


def check_with_module(
    case: Case, tensors: dict[str, torch.Tensor], x: torch.Tensor, out: torch.Tensor
) -> None:
    """x [images, tokens, d] and out [images, tokens or outputs, d]."""
    options = ContextPoolOptions.from_dict({**case.options, "num_prefix_tokens": case.prefix})
    module = ContextPool(case.dim, options, dimensions=2).double()
    module.load_state_dict(tensors)
    with torch.no_grad():
        if case.replaces is None:
            wanted = module(x, grid=case.grid)
        else:
            layer = case.replaces
            window = None
            if isinstance(layer, dict):
                window = Window(layer["window"], layer["stride"], layer["padding"])
            features = x.transpose(1, 2).reshape(len(x), case.dim, *case.grid)
            wanted = downsample(module, features, window).flatten(2).transpose(1, 2)
    error = float((wanted - out).abs().max())
    assert error < 1e-9, f"{case.name}: training's module differs by {error}"


def write(case: Case, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    images, cells = 2, case.grid[0] * case.grid[1]
    stored = tensors_of(case, generator)
    x = torch.randn(images, case.prefix + cells, case.dim, generator=generator)
    tensors = {name: tensor.double() for name, tensor in stored.items()}
    found = [pool(case, tensors, image[case.prefix :].double()) for image in x]
    rows = {key: torch.stack([image[key] for image in found]) for key in found[0]}
    if case.replaces is None:
        rows["out"] = torch.cat([x[:, : case.prefix].double(), rows["out"]], dim=1)
    check_with_module(case, tensors, x.double(), rows["out"])
    for key in ("weight", "size"):
        rows[key] = F.pad(rows[key], (case.prefix, 0))
    print(f"{case.name}: sizes up to {float(rows['size'].max()):.3g}")
    directory = OUTPUT / case.name
    directory.mkdir(parents=True)
    save_file(
        {
            **{f"context_pool.{name}": tensor for name, tensor in stored.items()},
            "x": x.flatten(0, 1),
            **{key: value.float().flatten(0, 1).contiguous() for key, value in rows.items()},
        },
        directory / "model.safetensors",
    )
    config = {
        "context_pool": case.options, "grid": case.grid, "images": images, "prefix": case.prefix,
        "replaces": case.replaces,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    check_versions()
    torch.set_num_threads(1)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for number, case in enumerate(CASES):
        write(case, number)


if __name__ == "__main__":
    main()
