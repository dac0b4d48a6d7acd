"""The `context_pool` object of config.json as a checked value.

Every key, its values and its default are described in docs/contextpool.md. Unknown keys and values
are refused with the key's name, as the server refuses them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias, get_args

Placement: TypeAlias = Literal["after_attention", "after_layer"]
Activation: TypeAlias = Literal["gelu", "relu", "leaky_relu", "identity"]
WeightActivation: TypeAlias = Literal["sigmoid", "exp", "softmax", "one"]
SizeActivation: TypeAlias = Literal["sigmoid", "softmax"]
Normalization: TypeAlias = Literal["sum", "mean", "none"]
NMode: TypeAlias = Literal["tokens", "side"]
Residual: TypeAlias = Literal["none", "add", "gate"]
PrefixTokens: TypeAlias = Literal["pass_through", "pool"]
# Where ContextPool stands in a ConvNet: for the stem's pooling layer, for the one before the head.
Place: TypeAlias = Literal["stem", "final"]
PLACES: tuple[Place, ...] = get_args(Place)

# The named values of each key that has such; those in FIXED may be {"fixed": number} instead.
CHOICES: dict[str, tuple[str, ...]] = {
    "placement": get_args(Placement),
    "activation": get_args(Activation),
    "weight_activation": get_args(WeightActivation),
    "size_activation": get_args(SizeActivation),
    "normalization": get_args(Normalization),
    "n_mode": get_args(NMode),
    "residual": get_args(Residual),
    "prefix_tokens": get_args(PrefixTokens),
}
FIXED = ("size_activation", "n_mode")

# Numbers that the first convolution makes of a token.
MAX_TAPS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A constant where otherwise something is learned or counted: {"fixed": value} in JSON."""

    value: float


@dataclasses.dataclass(frozen=True)
class ContextPoolOptions:
    """The defaults are those of the format. None: what the format calls the default."""

    # "auto", "all", 0-based indices in rising order, or places of a ConvNet.
    layers: Literal["auto", "all"] | tuple[int, ...] | tuple[Place, ...] = "auto"
    placement: Placement = "after_attention"
    kernel_size: int = 3
    bottleneck: int = 32
    activation: Activation = "gelu"
    weight_activation: WeightActivation = "sigmoid"
    # Fixed: sigma in tokens (grid cells in 2-D).
    size_activation: SizeActivation | Fixed = "sigmoid"
    normalization: Normalization = "sum"
    r: float = 0.1
    # None: "tokens" in 1-D, "side" in 2-D.
    n_mode: NMode | Fixed | None = None
    residual: Residual = "none"
    prefix_tokens: PrefixTokens = "pass_through"
    # None: the special tokens that the tokeniser puts first; see texts.prefix_tokens_in.
    num_prefix_tokens: int | None = None

    def __post_init__(self) -> None:
        for key in CHOICES:
            _check_choice(key, getattr(self, key))
        _check_layers(self.layers)
        _check_integer("kernel_size", self.kernel_size, 1, 255)
        if self.kernel_size % 2 == 0:
            raise _error("kernel_size", self.kernel_size, "an odd number")
        _check_integer("bottleneck", self.bottleneck, 1, 4096)
        if self.kernel_size * self.bottleneck > MAX_TAPS:
            raise ValueError(
                f"context_pool.kernel_size times context_pool.bottleneck is "
                f"{self.kernel_size * self.bottleneck}: it must be at most {MAX_TAPS}"
            )
        if self.num_prefix_tokens is not None:
            _check_integer("num_prefix_tokens", self.num_prefix_tokens, 0, 1 << 20)
        _check_number("r", self.r, 1e6, positive=True)
        if isinstance(self.size_activation, Fixed):
            _check_number("size_activation.fixed", self.size_activation.value, 1e9, positive=False)
        if isinstance(self.n_mode, Fixed):
            _check_number("n_mode.fixed", self.n_mode.value, 1e9, positive=True)

    @property
    def learned(self) -> bool:
        """Whether the parameter network has anything to say, and so has tensors."""
        return self.weight_activation != "one" or not isinstance(self.size_activation, Fixed)

    @property
    def prefix(self) -> int:
        """Tokens at the start of each sequence that stay out of every pool."""
        if self.prefix_tokens == "pool":
            return 0
        if self.num_prefix_tokens is None:
            raise ValueError(
                "context_pool.num_prefix_tokens is not set: set it to the number of special tokens "
                "that the tokeniser puts before a text ([CLS]: 1, none: 0)"
            )
        return self.num_prefix_tokens

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Raises ValueError, which names the key."""
        if not isinstance(values, Mapping):
            raise ValueError(f"context_pool is {values!r}: it must be an object")
        known = {field.name for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                names = _listed(sorted(known))
                raise ValueError(f"context_pool.{key} is unknown: known are {names}")
        return cls(**{key: _from_json(key, value) for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """As config.json holds it: every key, but for those that are None."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: _to_json(value) for key, value in values.items() if value is not None}


def _from_json(key: str, value: Any) -> Any:
    if value is None:
        raise _error(key, value, "left out or given a value")
    if key in FIXED and isinstance(value, Mapping):
        if set(value) != {"fixed"}:
            raise _error(key, dict(value), 'an object with the one key "fixed", if an object')
        return Fixed(value["fixed"])
    return tuple(value) if key == "layers" and isinstance(value, list) else value


def _to_json(value: Any) -> Any:
    if isinstance(value, Fixed):
        return {"fixed": value.value}
    return list(value) if isinstance(value, tuple) else value


def _check_choice(key: str, value: object) -> None:
    if isinstance(value, Fixed) and key in FIXED:
        return
    if value is None and key == "n_mode":
        return
    if value not in CHOICES[key]:
        choices = [f'"{choice}"' for choice in CHOICES[key]]
        if key in FIXED:
            choices.append('{"fixed": number}')
        raise _error(key, value, "one of " + _listed(choices))


def _check_layers(layers: object) -> None:
    if layers in ("auto", "all"):
        return
    if not isinstance(layers, tuple) or not (_are_indices(layers) or _are_places(layers)):
        raise _error(
            "layers",
            layers,
            '"auto", "all", 0-based layer indices in rising order, or a list of "stem", "final"',
        )


def _are_indices(layers: tuple[Any, ...]) -> bool:
    whole = all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in layers)
    return whole and list(layers) == sorted(set(layers))


def _are_places(layers: tuple[Any, ...]) -> bool:
    return list(layers) == [place for place in PLACES if place in layers]


def _check_integer(key: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _error(key, value, f"an integer from {least} to {most}")


def _check_number(key: str, value: object, most: float, positive: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= most or (positive and value == 0):  # type: ignore[operator]
        bound = "above" if positive else "of at least"
        raise _error(key, value, f"a number {bound} 0 and at most {most:g}")


def _error(key: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"context_pool.{key} is {value!r}: it must be {wanted}")


def _listed(words: list[str]) -> str:
    return ", ".join(words)
