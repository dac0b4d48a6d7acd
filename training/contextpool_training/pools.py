"""What BERT, ViT and ResNet with ContextPool share: the `context_pool` object in their config,
fresh pools, and checkpoints that are read whole or not at all."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, initialization

from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions


class InitializesPools:
    """First base of a model class of transformers that contains ContextPool."""

    @classmethod
    def is_custom_code(cls) -> bool:
        """In classes of others transformers neither gives tensors the names that checkpoints have,
        nor initializes modules without parameters of their own."""
        return False

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, ContextPool):
            fresh = ContextPool(
                module.dim, module.options, module.dimensions, module.typical_length
            )
            for mine, theirs in zip(module.parameters(), fresh.parameters(), strict=True):
                initialization.copy_(mine, theirs)  # unless a checkpoint gave the values


def options_of(config: PreTrainedConfig) -> ContextPoolOptions | None:
    values = getattr(config, "context_pool", None)
    return None if values is None else ContextPoolOptions.from_dict(values)


def pooled_layers(
    options: ContextPoolOptions | None, count: int, reads_class_token: bool
) -> tuple[int, ...]:
    """Of so many layers of a transformer those with ContextPool. "auto" leaves out the last one
    where only a class token that is passed through is read: the pool could not reach it."""
    if options is None:
        return ()
    if options.layers == "all":
        return tuple(range(count))
    if options.layers == "auto":
        return tuple(range(count - 1 if reads_class_token and options.prefix > 0 else count))
    indices = tuple(layer for layer in options.layers if isinstance(layer, int))
    if len(indices) < len(options.layers):
        raise ValueError(
            f"context_pool.layers names {options.layers[0]!r}, which only ConvNets have: name "
            "0-based layer indices"
        )
    if indices and indices[-1] >= count:
        raise ValueError(
            f"context_pool.layers names layer {indices[-1]}: the model has {count}, counted from 0"
        )
    return indices


def context_pools_of(model: nn.Module) -> list[ContextPool]:
    """In the order of the layers."""
    return [module for module in model.modules() if isinstance(module, ContextPool)]


def reset_context_pools(model: nn.Module, typical_length: float) -> None:
    """Starts every ContextPool anew, for sequences of about this length: before training."""
    for pool in context_pools_of(model):
        pool.reset_parameters(typical_length)


@contextlib.contextmanager
def recorded_support(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what each ContextPool chooses while the model computes: [2, batch, tokens], the
    pooling weights, then the support sizes; 0 for prefix tokens and padding."""
    found: list[Tensor] = []

    def record(pool: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(pool, ContextPool)
        with torch.no_grad():
            found.append(torch.stack(pool.support(*inputs[:3])))

    hooks = [pool.register_forward_pre_hook(record) for pool in context_pools_of(model)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def load_checked(
    cls: Any,
    directory: pathlib.Path,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    optional: str | None = None,
) -> Any:
    """The model of a directory, ready to compute. Raises ValueError, which names the tensors, where
    one is missing, unless its name contains `optional`, or where a pool's has no place."""
    model, report = cls.from_pretrained(
        directory, config=config, dtype=dtype, output_loading_info=True
    )
    missing = sorted(
        name for name in report["missing_keys"] if optional is None or optional not in name
    )
    if missing:
        raise ValueError(f"{directory}/model.safetensors lacks {', '.join(missing)}")
    strange = sorted(name for name in report["unexpected_keys"] if "context_pool" in name)
    if strange:
        raise ValueError(
            f"{directory}/config.json's context_pool has no place for the tensors "
            f"{', '.join(strange)}"
        )
    return model.eval()
