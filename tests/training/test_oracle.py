"""The module against plain loops, and the loops against numbers worked out by hand."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from contextpool_training import ContextPoolOptions, Fixed
from contextpool_training.oracle import context_pool
from pooling import BASE, DIM, assert_close, by_loops, every_option, make_pool, name_of, tokens

LENGTHS = [1, 2, 3, 4, 9, 14]


@pytest.mark.parametrize("options", every_option(), ids=name_of)
def test_a_padded_batch_equals_loops_over_each_sequence(options: ContextPoolOptions) -> None:
    pool = make_pool(options)
    x = tokens(len(LENGTHS), max(LENGTHS))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    y, (weight, size) = pool(x, mask), pool.support(x, mask)
    for i, length in enumerate(LENGTHS):
        wanted = by_loops(pool, x[i, :length])
        assert_close(y[i, :length], wanted.output)
        assert_close(weight[i, :length], wanted.weight)
        assert_close(size[i, :length], wanted.support_size)


@pytest.mark.parametrize("options", every_option(), ids=name_of)
@pytest.mark.parametrize("grid", [(3, 4), (5, 2), (1, 1)], ids=str)
def test_a_grid_equals_loops(options: ContextPoolOptions, grid: tuple[int, int]) -> None:
    pool = make_pool(options, dimensions=2)
    x = tokens(2, options.prefix + grid[0] * grid[1])
    y, (weight, size) = pool(x, grid=grid), pool.support(x, grid=grid)
    for i in range(2):
        wanted = by_loops(pool, x[i], grid)
        assert_close(y[i], wanted.output)
        assert_close(weight[i], wanted.weight)
        assert_close(size[i], wanted.support_size)


def test_a_smaller_grid_in_the_corner_of_a_padded_one_equals_loops() -> None:
    for n_mode in ("side", "tokens", None, Fixed(6)):
        pool = make_pool(dataclasses.replace(BASE, n_mode=n_mode), dimensions=2)
        x = tokens(1, 1 + 4 * 5)
        cells = torch.zeros(4, 5, dtype=torch.bool)
        cells[:3, :2] = True
        mask = torch.cat([torch.tensor([True]), cells.flatten()]).unsqueeze(0)
        y = pool(x, mask, (4, 5))
        assert_close(y[mask], by_loops(pool, x[mask], (3, 2)).output)
        assert not y[~mask].any()


@pytest.mark.parametrize("scale", [30.0, 3000.0])
@pytest.mark.parametrize("weight", ["sigmoid", "exp", "softmax"])
@pytest.mark.parametrize("normalization", ["sum", "mean", "none"])
def test_extreme_numbers_equal_loops(scale: float, weight: Any, normalization: Any) -> None:
    options = dataclasses.replace(
        BASE, weight_activation=weight, normalization=normalization, n_mode=Fixed(1e7)
    )
    pool = make_pool(options, scale=scale)
    x = tokens(1, 20)
    wanted = by_loops(pool, x[0])
    found = torch.log2(pool.support(x)[0][0, 1:])
    assert found.min() >= -100 - 1e-9 and found.max() <= 20 + 1e-9
    if scale == 3000:
        assert found.min() < -99.9 and (weight != "exp" or found.max() > 19.9)
    assert_close(pool(x)[0], wanted.output, 1e-7)


def test_loops_give_what_a_person_works_out() -> None:
    # 3 tokens after 1 prefix token, sigma 1, weights 1, 1, e: only a's bias and one tap.
    options = ContextPoolOptions(
        kernel_size=1, bottleneck=1, activation="identity", weight_activation="exp",
        size_activation=Fixed(1.0), num_prefix_tokens=1,
    )  # fmt: skip
    tensors = {
        "conv1.weight": np.ones((1, 1, 1)), "conv1.bias": np.zeros(1),
        "conv2.weight": np.array([[[1.0]], [[9.0]]]), "conv2.bias": np.zeros(2),
    }  # fmt: skip
    x = np.array([[7.0], [0.0], [0.0], [1.0]])
    near, far = math.exp(-1 / 2.0001), math.exp(-4 / 2.0001)
    wanted = [7.0, math.e * far / (1 + near + math.e * far),
              math.e * near / (near + 1 + math.e * near),
              math.e / (far + near + math.e)]  # fmt: skip
    found = context_pool(x, tensors, options)
    np.testing.assert_allclose(found.output[:, 0], wanted, rtol=1e-12)
    np.testing.assert_allclose(found.weight, [0, 1, 1, math.e], rtol=1e-12)
    np.testing.assert_allclose(found.support_size, [0, 1, 1, 1], rtol=1e-12)


def test_loops_place_the_taps_of_a_kernel_from_left_to_right() -> None:
    # sigma_i = r N sigmoid(b_i), b_i = x_{i-1} + 10 x_{i+1}
    options = ContextPoolOptions(
        kernel_size=3, bottleneck=1, activation="identity", weight_activation="one",
        num_prefix_tokens=0,
    )  # fmt: skip
    tensors = {
        "conv1.weight": np.array([[[1.0, 0.0, 10.0]]]), "conv1.bias": np.zeros(1),
        "conv2.weight": np.array([[[0.0, 5.0, 0.0]], [[0.0, 1.0, 0.0]]]), "conv2.bias": np.zeros(2),
    }  # fmt: skip
    x = np.array([[0.1], [0.2], [0.3]])
    b = np.array([2.0, 3.1, 0.2])
    found = context_pool(x, tensors, options).support_size
    np.testing.assert_allclose(found, 0.1 * 3 / (1 + np.exp(-b)), rtol=1e-12)


def test_the_dimensions_of_the_tests_are_what_they_say() -> None:
    assert make_pool(BASE).conv1.weight.shape == (3, DIM, 3)
    assert make_pool(BASE, dimensions=2).conv2.weight.shape == (2, 3, 3, 3)
