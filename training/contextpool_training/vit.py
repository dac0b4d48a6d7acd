"""ViT with ContextPool over the patch grid, as Hugging Face's ViT plus `context_pool` in
config.json.

Tensors are named `encoder.layer.3.context_pool.conv1.weight` in checkpoints, in classifiers with
"vit." before. The classes bear the names of the ones that they extend because `save_pretrained`
writes the name as the checkpoint's architecture. Without `context_pool` they compute what
transformers computes.
"""

import dataclasses
from typing import Any

import transformers
from torch import Tensor, nn
from transformers import ViTConfig
from transformers.models.vit.modeling_vit import ViTLayer

from contextpool_training import pools
from contextpool_training.context_pool import ContextPool, Grid
from contextpool_training.options import ContextPoolOptions
from contextpool_training.pools import InitializesPools, pooled_layers

_CLASSIFIER = "ViTForImageClassification"


class ContextPoolViTLayer(ViTLayer):
    """A layer in which `context_pool`, if any, stands at the placement."""

    def __init__(self, config: ViTConfig, options: ContextPoolOptions, has_pool: bool) -> None:
        super().__init__(config)
        self.placement = options.placement
        self.grid = grid_of(config)
        dim, side = config.hidden_size, max(self.grid)
        self.context_pool = ContextPool(dim, options, 2, side) if has_pool else None

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        if self.context_pool is None:
            return super().forward(hidden_states, attention_mask, **kwargs)
        normalized = self.layernorm_before(hidden_states)
        attended, _weights = self.attention(normalized, attention_mask, **kwargs)
        hidden = hidden_states + self.dropout(attended)
        if self.placement == "after_attention":
            hidden = self.context_pool(hidden, None, self.grid)
        hidden = hidden + self.dropout(self.mlp(self.layernorm_after(hidden)))
        if self.placement == "after_layer":
            hidden = self.context_pool(hidden, None, self.grid)
        return hidden


class ViTModel(InitializesPools, transformers.ViTModel):
    def __init__(
        self,
        config: ViTConfig,
        add_pooling_layer: bool = True,
        use_mask_token: bool = False,
        classifies: bool = False,
    ) -> None:
        """`classifies`: whether it is part of a classifier; a checkpoint's config knows it."""
        super().__init__(config, add_pooling_layer, use_mask_token)
        options = options_of(config)
        if options is None:
            return
        layers = layers_of(config, classifies)
        self.layers = nn.ModuleList(
            ContextPoolViTLayer(config, options, i in layers)
            for i in range(config.num_hidden_layers)
        )
        self.post_init()


class ViTForImageClassification(InitializesPools, transformers.ViTForImageClassification):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.vit = ViTModel(config, add_pooling_layer=False, classifies=True)
        self.post_init()


def options_of(config: ViTConfig) -> ContextPoolOptions | None:
    """The one prefix token, unless they say otherwise, is the class token."""
    options = pools.options_of(config)
    if options is None or options.num_prefix_tokens is not None:
        return options
    return dataclasses.replace(options, num_prefix_tokens=1)


def layers_of(config: ViTConfig, classifies: bool = False) -> tuple[int, ...]:
    """The layers with ContextPool. A classifier reads the class token."""
    classifies = classifies or _CLASSIFIER in (config.architectures or ())
    return pooled_layers(options_of(config), config.num_hidden_layers, classifies)


def grid_of(config: ViTConfig) -> Grid:
    """Rows and columns of patches."""
    height, width = _pair(config.image_size)
    patch_height, patch_width = _pair(config.patch_size)
    return height // patch_height, width // patch_width


def embedding_of(model: ViTForImageClassification, pixel_values: Tensor) -> Tensor:
    """The class token after the last normalisation, [batch, width]: what the classifier reads."""
    hidden: Tensor = model.vit(pixel_values).last_hidden_state
    return hidden[:, 0]


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
