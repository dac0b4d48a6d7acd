"""ResNet with ContextPool in place of its pooling layers, as Hugging Face's ResNet plus
`context_pool` in config.json.

`layers` names the places: "stem" for the max pooling behind the first convolution, "final" for the
global average before the classifier. Their tensors are named `embedder.context_pool.conv1.weight`
and `context_pool.conv1.weight`, in classifiers with "resnet." before. The classes bear the names of
the ones that they extend because `save_pretrained` writes the name as the checkpoint's
architecture. Without `context_pool` they compute what transformers computes.
"""

import dataclasses
from typing import Any

import transformers
from torch import Tensor
from transformers import ResNetConfig
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention
from transformers.models.resnet.modeling_resnet import ResNetEmbeddings

from contextpool_training import pools
from contextpool_training.context_pool import ContextPool
from contextpool_training.options import PLACES, ContextPoolOptions
from contextpool_training.pools import InitializesPools
from contextpool_training.strided import Window, downsample


class ContextPoolResNetEmbeddings(ResNetEmbeddings):
    """The stem with ContextPool where its max pooling was."""

    def __init__(self, config: ResNetConfig, options: ContextPoolOptions) -> None:
        super().__init__(config)
        replaced: Any = self.pooler
        self.window = Window(replaced.kernel_size, replaced.stride, replaced.padding)
        del self.pooler
        self.context_pool = ContextPool(config.embedding_size, options, dimensions=2)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return downsample(self.context_pool, self.embedder(pixel_values), self.window)


class ResNetModel(InitializesPools, transformers.ResNetModel):
    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        options, places = options_of(config), places_of(config)
        if options is not None and "stem" in places:
            self.embedder = ContextPoolResNetEmbeddings(config, options)
        self.context_pool = None
        if options is not None and "final" in places:
            width = list(config.hidden_sizes or ())[-1]
            self.context_pool = ContextPool(width, options, dimensions=2)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Tensor, ...]:
        outputs = super().forward(pixel_values, output_hidden_states, return_dict=True, **kwargs)
        if self.context_pool is not None:
            outputs.pooler_output = downsample(self.context_pool, outputs.last_hidden_state)
        as_tuple = not (self.config.return_dict if return_dict is None else return_dict)
        return outputs.to_tuple() if as_tuple else outputs


class ResNetForImageClassification(InitializesPools, transformers.ResNetForImageClassification):
    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.resnet = ResNetModel(config)
        self.post_init()


def options_of(config: ResNetConfig) -> ContextPoolOptions | None:
    options = pools.options_of(config)
    if options is None:
        return None
    if options.num_prefix_tokens:
        raise ValueError(
            f"context_pool.num_prefix_tokens is {options.num_prefix_tokens}: a ConvNet has none, "
            "leave it out"
        )
    return dataclasses.replace(options, num_prefix_tokens=0)


def places_of(config: ResNetConfig) -> tuple[str, ...]:
    """Where ContextPool stands. "auto" and "all" are both places."""
    options = options_of(config)
    if options is None:
        return ()
    if options.layers in ("auto", "all"):
        return PLACES
    places = tuple(place for place in PLACES if place in options.layers)
    if len(places) < len(options.layers):
        raise ValueError(
            f'context_pool.layers is {list(options.layers)}: in a ConvNet it names "stem", "final" '
            "or both"
        )
    return places


def embedding_of(model: ResNetForImageClassification, pixel_values: Tensor) -> Tensor:
    """What is left of the last feature map, [batch, width]: what the classifier reads."""
    pooled: Tensor = model.resnet(pixel_values).pooler_output
    return pooled.flatten(1)
