"""BERT with ContextPool, as Hugging Face's BERT plus the keys that the server reads.

config.json holds `context_pool` (options.py) and, for classifiers, `classifier_pooling`. Tensors
are named `encoder.layer.3.context_pool.conv1.weight`, in classifiers with "bert." before. The
classes bear the names of the ones that they extend because `save_pretrained` writes the name as
the checkpoint's architecture. Without `context_pool` they compute what transformers computes.
"""

import pathlib
from typing import Any, TypeAlias

import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from transformers.models.bert.modeling_bert import BertLayer

from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions
from contextpool_training.pools import (
    InitializesPools,
    load_checked,
    options_of,
    pooled_layers,
    recorded_support,
)
from contextpool_training.texts import prefix_tokens_in, read_tokenizer

CLASSIFIER_POOLINGS = ("cls", "mean")
_CLASSIFIER = "BertForSequenceClassification"


class ContextPoolBertLayer(BertLayer):
    """A layer in which `context_pool`, if any, stands at the placement."""

    def __init__(self, config: BertConfig, index: int, options: ContextPoolOptions, pools: bool):
        super().__init__(config, layer_idx=index)
        self.placement = options.placement
        self.context_pool = ContextPool(config.hidden_size, options) if pools else None

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *_: None,
        context_pool_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if self.context_pool is None:
            return super().forward(hidden_states, attention_mask, **kwargs)
        for unused in ("encoder_hidden_states", "encoder_attention_mask"):
            kwargs.pop(unused, None)
        hidden, _weights = self.attention(hidden_states, attention_mask, **kwargs)
        if self.placement == "after_attention":
            hidden = self.context_pool(hidden, context_pool_mask)
        hidden = self.feed_forward_chunk(hidden)
        if self.placement == "after_layer":
            hidden = self.context_pool(hidden, context_pool_mask)
        return hidden


class BertModel(InitializesPools, transformers.BertModel):
    def __init__(
        self, config: BertConfig, add_pooling_layer: bool = True, classifies: bool = False
    ) -> None:
        """`classifies`: whether it is part of a classifier; a checkpoint's config knows it."""
        super().__init__(config, add_pooling_layer)
        self.classifier_pooling = classifier_pooling_of(config)
        options = options_of(config)
        if options is None:
            return
        if config.is_decoder or config.add_cross_attention:
            raise ValueError(
                "is_decoder and add_cross_attention cannot go with context_pool: a pool looks at "
                "later tokens"
            )
        layers = layers_of(config, classifies)
        self.encoder.layer = nn.ModuleList(
            ContextPoolBertLayer(config, i, options, i in layers)
            for i in range(config.num_hidden_layers)
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions | tuple[Tensor, ...]:
        mask = None if attention_mask is None else attention_mask.bool()
        if options_of(self.config) is not None:
            if mask is not None and mask.dim() != 2:
                raise ValueError(
                    f"attention_mask is {list(mask.shape)}: context_pool needs [batch, tokens]"
                )
            kwargs["context_pool_mask"] = mask
        as_tuple = kwargs.pop("return_dict", None) is False
        outputs = super().forward(input_ids, attention_mask, return_dict=True, **kwargs)
        if self.classifier_pooling == "mean" and self.pooler is not None:
            mean = mean_of(outputs.last_hidden_state, mask)
            outputs.pooler_output = self.pooler(mean.unsqueeze(1))
        return outputs.to_tuple() if as_tuple else outputs


class BertForSequenceClassification(InitializesPools, transformers.BertForSequenceClassification):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, classifies=True)
        self.post_init()


AnyBert: TypeAlias = BertModel | BertForSequenceClassification


def classifier_pooling_of(config: BertConfig) -> str:
    pooling = getattr(config, "classifier_pooling", None) or "cls"
    if pooling not in CLASSIFIER_POOLINGS:
        raise ValueError(f'classifier_pooling is {pooling!r}: it must be "cls" or "mean"')
    return str(pooling)


def layers_of(config: BertConfig, classifies: bool = False) -> tuple[int, ...]:
    """The layers with ContextPool."""
    classifies = classifies or _CLASSIFIER in (getattr(config, "architectures", None) or ())
    reads_class_token = classifies and classifier_pooling_of(config) == "cls"
    return pooled_layers(options_of(config), config.num_hidden_layers, reads_class_token)


def mean_of(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over each sequence's tokens, [batch, hidden]."""
    if mask is None:
        return hidden.mean(dim=1)
    kept = hidden.masked_fill(~mask.unsqueeze(2), 0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)


@torch.no_grad()
def support_of(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """What ContextPool chooses: [ContextPool layers, 2, batch, tokens]; see recorded_support."""
    with recorded_support(model) as found:
        model(input_ids, attention_mask=attention_mask)
    return torch.stack(found) if found else torch.zeros(0, 2, *input_ids.shape)


def load(directory: pathlib.Path, dtype: torch.dtype = torch.float32) -> AnyBert:
    """The model of a directory, as the server understands it. Raises ValueError, which names what
    is missing."""
    config = BertConfig.from_pretrained(directory)
    options = options_of(config)
    if options and options.prefix_tokens == "pass_through" and options.num_prefix_tokens is None:
        tokenizer = directory / "tokenizer.json"
        if tokenizer.exists():
            config.context_pool["num_prefix_tokens"] = prefix_tokens_in(read_tokenizer(tokenizer))
    classifies = _CLASSIFIER in (config.architectures or ())
    cls = BertForSequenceClassification if classifies else BertModel
    loaded: AnyBert = load_checked(
        cls, directory, config, dtype, optional=None if classifies else "pooler"
    )
    return loaded
