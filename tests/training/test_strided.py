"""ContextPool in place of a ConvNet's pooling layer, against plain loops."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from contextpool_training import ContextPool, ContextPoolOptions, Fixed
from contextpool_training.oracle import downsampled
from contextpool_training.strided import Window, downsample
from pooling import BASE, DIM, assert_close, every_option, make_pool, name_of, tokens

STEM = Window(kernel=3, stride=2, padding=1)
FREE = dataclasses.replace(BASE, num_prefix_tokens=0)
OPTIONS = list(dict.fromkeys(dataclasses.replace(o, num_prefix_tokens=0) for o in every_option()))


def feature_map(rows: int, columns: int, batch: int = 2) -> Tensor:
    return tokens(batch, rows * columns).transpose(1, 2).reshape(batch, DIM, rows, columns)


def assert_equals_loops(pool: ContextPool, features: Tensor, window: Window | None) -> None:
    state = {name: value.numpy() for name, value in pool.state_dict().items()}
    found = downsample(pool, features, window)
    grid = (features.shape[2], features.shape[3])
    for image, of_image in zip(features, found, strict=True):
        x = image.flatten(1).transpose(0, 1).numpy()
        triple = None if window is None else dataclasses.astuple(window)
        wanted = downsampled(x, state, pool.options, grid, triple)
        assert_close(of_image.permute(1, 2, 0), wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
@pytest.mark.parametrize("window", [STEM, None], ids=["stem", "final"])
def test_every_option_equals_loops(options: ContextPoolOptions, window: Window | None) -> None:
    assert_equals_loops(make_pool(options, dimensions=2), feature_map(4, 5), window)


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 2), (3, 6), (7, 4)], ids=str)
@pytest.mark.parametrize(
    "window",
    [STEM, None, Window(2, 2, 1), Window(1, 3, 0), Window(5, 1, 2), Window(4, 3, 2)],
    ids=str,
)
def test_every_window_equals_loops(grid: tuple[int, int], window: Window | None) -> None:
    assert_equals_loops(make_pool(FREE, dimensions=2), feature_map(*grid), window)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", range(1, 5))
def test_there_are_as_many_outputs_as_the_pooling_layer_had(kernel: int, stride: int) -> None:
    for padding in range(kernel // 2 + 1):
        window = Window(kernel, stride, padding)
        for side in range(kernel, 20):
            replaced = F.max_pool1d(torch.zeros(1, 1, side), kernel, stride, padding)
            centres = window.centres(side)
            assert len(centres) == replaced.shape[2]
            assert centres == sorted(centres) and 0 <= centres[0] and centres[-1] < side


def test_centres_are_those_that_a_person_works_out() -> None:
    assert STEM.centres(8) == [0, 2, 4, 6]
    assert STEM.centres(7) == [0, 2, 4, 6]
    assert Window(2, 2, 0).centres(6) == [0, 2, 4]
    assert Window(4, 4, 2).centres(8) == [0, 3, 7]  # the first window is centred at -1
    middle = [downsample(_nothing(), feature_map(side, side)).shape for side in (1, 2, 7)]
    assert middle == [(2, DIM, 1, 1)] * 3


def test_without_support_an_output_is_the_feature_at_its_centre() -> None:
    features = feature_map(6, 7)
    torch.testing.assert_close(downsample(_nothing(), features, STEM), features[:, :, ::2, ::2])
    torch.testing.assert_close(downsample(_nothing(), features), features[:, :, 2:3, 3:4])


def test_a_wide_support_with_equal_weights_is_the_global_average() -> None:
    wide = dataclasses.replace(FREE, weight_activation="one", size_activation=Fixed(1e6))
    features = feature_map(5, 4)
    found = downsample(make_pool(wide, dimensions=2), features)
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(features, 1), rtol=0, atol=1e-9)


def test_images_of_a_batch_are_alone() -> None:
    pool, features = make_pool(FREE, dimensions=2), feature_map(6, 6, batch=3)
    torch.testing.assert_close(downsample(pool, features, STEM)[1:2],
                               downsample(pool, features[1:2], STEM))  # fmt: skip


def test_gradients_equal_finite_differences() -> None:
    pool = make_pool(dataclasses.replace(FREE, residual="gate"), dimensions=2, scale=0.4)
    features = feature_map(3, 4).requires_grad_()
    for window in (STEM, None):
        assert torch.autograd.gradcheck(
            lambda x, window=window: downsample(pool, x, window), (features,), fast_mode=True
        )


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(ValueError, match="features are"):
        downsample(_nothing(), tokens(1, 4), STEM)
    with pytest.raises(ValueError, match="prefix"):
        downsample(make_pool(BASE, dimensions=2), feature_map(3, 3), STEM)
    flat, x = make_pool(FREE), tokens(1, 3)
    with pytest.raises(ValueError, match="mask"):
        flat(x, torch.ones(1, 3), centres=torch.tensor([0]))


def _nothing() -> ContextPool:
    options = dataclasses.replace(FREE, weight_activation="one", size_activation=Fixed(0.0))
    return make_pool(options, dimensions=2)
