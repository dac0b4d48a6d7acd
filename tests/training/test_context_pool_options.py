"""The `context_pool` object of config.json as Python reads and writes it."""

import json
from typing import Any

import pytest

from contextpool_training.options import ContextPoolOptions, Fixed

FULL = {
    "layers": [0, 2],
    "placement": "after_layer",
    "kernel_size": 5,
    "bottleneck": 7,
    "activation": "relu",
    "weight_activation": "exp",
    "size_activation": {"fixed": 0.76},
    "normalization": "mean",
    "r": 0.25,
    "n_mode": {"fixed": 40},
    "residual": "gate",
    "prefix_tokens": "pool",
    "num_prefix_tokens": 2,
}


def test_every_key_survives_a_round_trip_through_json() -> None:
    options = ContextPoolOptions.from_dict(json.loads(json.dumps(FULL)))
    assert options.size_activation == Fixed(0.76) and options.layers == (0, 2)
    assert json.loads(json.dumps(options.to_dict())) == FULL


def test_an_empty_object_means_the_defaults() -> None:
    options = ContextPoolOptions.from_dict({})
    assert options == ContextPoolOptions()
    assert options.to_dict() == {
        "layers": "auto",
        "placement": "after_attention",
        "kernel_size": 3,
        "bottleneck": 32,
        "activation": "gelu",
        "weight_activation": "sigmoid",
        "size_activation": "sigmoid",
        "normalization": "sum",
        "r": 0.1,
        "residual": "none",
        "prefix_tokens": "pass_through",
    }
    assert ContextPoolOptions.from_dict(options.to_dict()) == options


REFUSED: list[tuple[str, Any]] = [
    ("layers", "some"), ("layers", [1, 0]), ("layers", [0, 0]), ("layers", [-1]),
    ("layers", [0.0]), ("layers", [True]), ("layers", 3),
    ("placement", "before_attention"), ("placement", 1), ("placement", {"fixed": 1}),
    ("kernel_size", 2), ("kernel_size", 0), ("kernel_size", -1), ("kernel_size", 3.0),
    ("kernel_size", True), ("kernel_size", 257), ("bottleneck", 0), ("bottleneck", "32"),
    ("bottleneck", 4097), ("activation", "tanh"), ("activation", None),
    ("weight_activation", "softplus"), ("weight_activation", {"fixed": 1}),
    ("size_activation", "one"), ("size_activation", {"fixed": -0.1}),
    ("size_activation", {"fixed": "1"}), ("size_activation", {"fixed": float("inf")}),
    ("size_activation", {"sigma": 1}), ("size_activation", {}),
    ("size_activation", {"fixed": 1, "more": 1}), ("size_activation", 1.0),
    ("normalization", "softmax"), ("normalization", []),
    ("r", 0), ("r", -1), ("r", float("nan")), ("r", "0.1"), ("r", True), ("r", None), ("r", 1e7),
    ("n_mode", "rows"), ("n_mode", {"fixed": 0}), ("n_mode", 12), ("n_mode", None),
    ("residual", "concat"), ("residual", True),
    ("prefix_tokens", "mask"), ("num_prefix_tokens", -1), ("num_prefix_tokens", 1.0),
    ("num_prefix_tokens", None), ("support", 1), ("Layers", "auto"), ("gamma", 0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_unknown_keys_and_values_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"context_pool\.{key}[ .]"):
        ContextPoolOptions.from_dict({**FULL, key: value})


@pytest.mark.parametrize("value", [None, [], "auto", 1])
def test_anything_but_an_object_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be an object"):
        ContextPoolOptions.from_dict(value)


def test_a_missing_number_of_prefix_tokens_is_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match="num_prefix_tokens"):
        _ = ContextPoolOptions().prefix
    assert ContextPoolOptions(prefix_tokens="pool").prefix == 0
    assert ContextPoolOptions(num_prefix_tokens=2).prefix == 2


def test_something_is_learned_unless_both_numbers_are_fixed() -> None:
    assert ContextPoolOptions().learned
    assert ContextPoolOptions(weight_activation="one").learned
    assert ContextPoolOptions(size_activation=Fixed(1)).learned
    assert not ContextPoolOptions(weight_activation="one", size_activation=Fixed(1)).learned


def test_the_convolutions_together_are_bounded_as_in_the_server() -> None:
    ContextPoolOptions.from_dict({"kernel_size": 15, "bottleneck": 4096})
    with pytest.raises(ValueError, match=r"kernel_size times context_pool\.bottleneck is 69632"):
        ContextPoolOptions.from_dict({"kernel_size": 17, "bottleneck": 4096})
