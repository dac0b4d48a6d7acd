"""Properties that ContextPool has by its formula."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from contextpool_training import ContextPool, ContextPoolOptions, Fixed
from pooling import BASE, DIM, assert_close, by_loops, every_option, make_pool, name_of, tokens

EQUAL = dataclasses.replace(BASE, weight_activation="one", num_prefix_tokens=0)


MEANS = [o for o in every_option() if o.normalization == "sum" and o.residual != "add"]


@pytest.mark.parametrize("options", MEANS, ids=name_of)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_mean_of_equal_tokens_is_that_token(
    options: ContextPoolOptions, dimensions: int
) -> None:
    pool = make_pool(options, dimensions)
    x = tokens(1, 1).expand(2, options.prefix + 12, DIM)
    torch.testing.assert_close(pool(x, grid=(3, 4) if dimensions == 2 else None), x)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_no_support_is_the_identity(dimensions: int) -> None:
    grid = (3, 4) if dimensions == 2 else None
    x = tokens(2, 13)
    for size in (0.0, 0.05):  # equal weights: eps alone keeps them off each other
        equal = dataclasses.replace(BASE, weight_activation="one", size_activation=Fixed(size))
        torch.testing.assert_close(make_pool(equal, dimensions)(x, grid=grid), x)
    learned = make_pool(dataclasses.replace(BASE, weight_activation="one"), dimensions, scale=0.01)
    with torch.no_grad():
        learned.conv2.get_parameter("bias")[1] = -40
    torch.testing.assert_close(learned(x, grid=grid), x)
    assert learned.support(x, grid=grid)[1].max() < 1e-12


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_wide_support_with_equal_weights_is_the_mean(dimensions: int) -> None:
    pool = make_pool(dataclasses.replace(EQUAL, size_activation=Fixed(1e6)), dimensions)
    x = tokens(2, 12)
    y = pool(x, grid=(3, 4) if dimensions == 2 else None)
    torch.testing.assert_close(y, x.mean(dim=1, keepdim=True).expand_as(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", every_option(), ids=name_of)
@pytest.mark.parametrize("filling", [0.0, 1e30, float("inf"), float("nan")])
def test_padding_and_neighbours_change_nothing(options: ContextPoolOptions, filling: float) -> None:
    pool = make_pool(options)
    alone = tokens(1, 7)
    batch = torch.full((3, 11, DIM), filling, dtype=torch.float64)
    batch[1, :7] = alone
    mask = torch.zeros(3, 11, dtype=torch.bool)
    mask[0], mask[1, :7], mask[2, :2] = True, True, True
    torch.testing.assert_close(pool(batch, mask)[1:2, :7], pool(alone), rtol=1e-12, atol=1e-12)
    assert not pool(batch, mask)[1, 7:].any()
    for padded, exact in zip(pool.support(batch, mask), pool.support(alone), strict=True):
        torch.testing.assert_close(padded[1:2, :7], exact, rtol=1e-12, atol=1e-12)
        assert not padded[1, 7:].any()


def test_padding_brings_no_bad_number_into_gradients() -> None:
    for options in every_option():
        pool = make_pool(options)
        x = tokens(2, 200)
        x[1, 3:] = float("nan")
        x.requires_grad_()
        mask = torch.ones(2, 200, dtype=torch.bool)
        mask[1, 3:] = False
        pool(x, mask).square().sum().backward()
        for value in (x, *pool.parameters()):
            assert value.grad is None or value.grad.isfinite().all(), options
        assert x.grad is not None and not x.grad[1, 3:].any()


@pytest.mark.parametrize("options", every_option(), ids=name_of)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_gradients_equal_finite_differences(options: ContextPoolOptions, dimensions: int) -> None:
    pool = make_pool(options, dimensions, scale=0.4)
    grid = (2, 3) if dimensions == 2 else None
    names, values = list(dict(pool.named_parameters())), list(pool.parameters())
    x = tokens(2, options.prefix + 6).requires_grad_()
    mask = torch.ones(2, options.prefix + 6, dtype=torch.bool)
    if dimensions == 1:
        mask[1, 4:] = False

    def pooled(x: Tensor, *parameters: Tensor) -> Tensor:
        arguments = (x, mask, grid)
        found: Tensor = torch.func.functional_call(
            pool, dict(zip(names, parameters, strict=True)), arguments
        )
        return found

    assert torch.autograd.gradcheck(pooled, (x, *values), fast_mode=True)


@pytest.mark.parametrize("size", ["sigmoid", "softmax"])
@pytest.mark.parametrize("weight", ["sigmoid", "exp", "softmax"])
def test_every_parameter_is_reached_by_a_gradient(size: Any, weight: Any) -> None:
    options = dataclasses.replace(
        BASE, size_activation=size, weight_activation=weight, residual="gate"
    )
    pool = make_pool(options)
    pool(tokens(2, 9)).square().sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("options", every_option(), ids=name_of)
def test_prefix_tokens_pass_through_and_are_seen_by_nobody(options: ContextPoolOptions) -> None:
    pool = make_pool(dataclasses.replace(options, num_prefix_tokens=2))
    x = tokens(1, 9)
    other = x.clone()
    other[:, :2] = 100
    torch.testing.assert_close(pool(x)[:, :2], x[:, :2])
    torch.testing.assert_close(pool(x)[:, 2:], pool(other)[:, 2:], rtol=0, atol=0)
    bare = dataclasses.replace(options, num_prefix_tokens=0)
    unprefixed = make_pool(bare)
    unprefixed.load_state_dict(pool.state_dict())
    torch.testing.assert_close(pool(x)[:, 2:], unprefixed(x[:, 2:]), rtol=0, atol=0)
    for value in pool.support(x):
        assert not value[:, :2].any()


def test_pooled_prefix_tokens_are_ordinary_ones() -> None:
    pool = make_pool(dataclasses.replace(BASE, prefix_tokens="pool", num_prefix_tokens=2))
    bare = make_pool(dataclasses.replace(BASE, num_prefix_tokens=0))
    x = tokens(1, 9)
    torch.testing.assert_close(pool(x), bare(x), rtol=0, atol=0)


def test_without_pooled_tokens_the_output_is_the_input() -> None:
    pool = make_pool(dataclasses.replace(BASE, num_prefix_tokens=2, residual="add"))
    for length in (0, 1, 2):
        x = tokens(1, length)
        assert torch.equal(pool(x), x)
        assert all(value.shape == (1, length) and not value.any() for value in pool.support(x))
    x = tokens(2, 6)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 1:] = False  # shorter than the prefix, beside a longer one
    assert torch.equal(pool(x, mask)[1, :1], x[1, :1])
    assert not pool(x, mask)[1, 1:].any()


def test_one_pooled_token_stays_itself() -> None:
    for weight in ("sigmoid", "exp", "softmax", "one"):
        pool = make_pool(dataclasses.replace(BASE, weight_activation=weight), scale=5)
        x = tokens(1, 2)
        torch.testing.assert_close(pool(x), x)


def test_the_sequence_alone_sets_n() -> None:
    for options, n in ((BASE, 6), (dataclasses.replace(BASE, n_mode="side"), 6),
                       (dataclasses.replace(BASE, n_mode=Fixed(50)), 50)):  # fmt: skip
        pool = make_pool(options, scale=0)
        x = tokens(2, 21)
        mask = torch.ones(2, 21, dtype=torch.bool)
        mask[1, 7:] = False
        assert pool.support(x, mask)[1][1, 1:7].tolist() == pytest.approx([0.3 * n * 0.5] * 6)
    modes: list[tuple[Any, int]] = [(None, 5), ("side", 5), ("tokens", 15), (Fixed(50), 50)]
    for mode, n in modes:
        pool = make_pool(dataclasses.replace(BASE, n_mode=mode), dimensions=2, scale=0)
        size = pool.support(tokens(1, 16), grid=(3, 5))[1]
        assert size[0, 1:].tolist() == pytest.approx([0.3 * n * 0.5] * 15)


def test_a_gate_of_zero_is_the_identity_and_can_be_opened() -> None:
    torch.manual_seed(0)
    pool = ContextPool(DIM, dataclasses.replace(BASE, residual="gate")).double()
    x = tokens(2, 9)
    assert torch.equal(pool(x), x)
    pool(x).pow(3).sum().backward()
    assert pool.gamma.grad is not None and pool.gamma.grad.abs().item() > 1e-3


@pytest.mark.parametrize(
    ("r", "n_mode", "typical", "size"),
    [(0.1, None, 64, 1.0), (0.1, None, 20, 1.0), (0.1, Fixed(40), 7, 1.0), (0.1, None, 10, 0.802)],
)
def test_support_sizes_start_at_about_one_token(
    r: float, n_mode: Fixed | None, typical: int, size: float
) -> None:
    torch.manual_seed(0)
    options = ContextPoolOptions(r=r, n_mode=n_mode, num_prefix_tokens=0)
    pool = ContextPool(DIM, options, typical_length=typical).double()
    weight, found = pool.support(tokens(4, typical))
    assert found.mean().item() == pytest.approx(size, rel=0.1)
    assert weight.mean().item() == pytest.approx(0.5, rel=0.1)
    assert found.std().item() > 0
    usual = 1 / (pool.conv2.weight[0].numel() ** 0.5)
    assert 0.05 * usual < pool.conv2.weight.abs().max().item() <= 0.1 * usual


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_half_precision_keeps_weights_and_sums_in_float32(
    dtype: torch.dtype, tolerance: float
) -> None:
    pool = make_pool(dataclasses.replace(BASE, residual="gate"), scale=0.4).to(dtype)
    x = tokens(2, 40).to(dtype)
    weight, size = pool.support(x)
    assert pool(x).dtype == dtype and weight.dtype == size.dtype == torch.float32
    wanted = by_loops(pool.double(), x[0].double())
    assert_close(pool.to(dtype)(x)[0].double(), wanted.output, tolerance * 4)


def test_tensors_have_the_names_and_shapes_of_the_format() -> None:
    def shapes(options: ContextPoolOptions, dimensions: int = 1) -> dict[str, list[int]]:
        pool = ContextPool(DIM, options, dimensions)
        return {name: list(value.shape) for name, value in pool.state_dict().items()}

    options = ContextPoolOptions(bottleneck=7, kernel_size=5, num_prefix_tokens=0)
    convolutions = {
        "conv1.weight": [7, DIM, 5], "conv1.bias": [7],
        "conv2.weight": [2, 7, 5], "conv2.bias": [2],
    }  # fmt: skip
    assert shapes(options) == convolutions
    assert shapes(dataclasses.replace(options, weight_activation="one")) == convolutions
    assert shapes(dataclasses.replace(options, size_activation=Fixed(1))) == convolutions
    assert shapes(options, 2)["conv1.weight"] == [7, DIM, 5, 5]
    gate = dataclasses.replace(options, residual="gate")
    assert shapes(gate) == {"gamma": [1], **convolutions}
    blur = dataclasses.replace(gate, weight_activation="one", size_activation=Fixed(1))
    assert shapes(blur) == {"gamma": [1]}
    assert shapes(dataclasses.replace(blur, residual="none")) == {}


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"context_pool\.prefix_tokens"):
        ContextPool(DIM, ContextPoolOptions(prefix_tokens="pool"), dimensions=2)
    wide = ContextPoolOptions(kernel_size=5, bottleneck=4096, num_prefix_tokens=0)
    ContextPool(1, wide)
    with pytest.raises(ValueError, match="bottleneck is 102400: it must be at most 65536"):
        ContextPool(1, wide, dimensions=2)
    with pytest.raises(ValueError, match="dimensions is 3"):
        ContextPool(DIM, BASE, dimensions=3)
    with pytest.raises(ValueError, match="num_prefix_tokens"):
        ContextPool(DIM, ContextPoolOptions())
    flat, square = make_pool(BASE), make_pool(BASE, dimensions=2)
    with pytest.raises(ValueError, match="x is"):
        flat(torch.zeros(2, 3, DIM + 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="mask is"):
        flat(tokens(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="gap"):
        flat(tokens(1, 3), torch.tensor([[1, 0, 1]]))
    with pytest.raises(ValueError, match="gap"):
        flat(tokens(1, 3), torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match="grid is given"):
        flat(tokens(1, 5), grid=(2, 2))
    for grid in (None, (2, 3)):
        with pytest.raises(ValueError, match="grid is"):
            square(tokens(1, 5), grid=grid)
