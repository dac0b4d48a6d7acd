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
from transformers import BertConfig, initialization
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from transformers.models.bert.modeling_bert import BertLayer

from contextpool_training.context_pool import ContextPool
from contextpool_training.options import ContextPoolOptions
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


class _Initialized(transformers.BertPreTrainedModel):
    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # In classes of others transformers passes by modules without parameters of their own.
        super()._initialize_weights(module, is_custom_code and not isinstance(module, ContextPool))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ContextPool):
            fresh = ContextPool(module.dim, module.options, module.dimensions)
            for mine, theirs in zip(module.parameters(), fresh.parameters(), strict=True):
                initialization.copy_(mine, theirs)  # unless a checkpoint gave the values


class BertModel(_Initialized, transformers.BertModel):
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


class BertForSequenceClassification(_Initialized, transformers.BertForSequenceClassification):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, classifies=True)
        self.post_init()


AnyBert: TypeAlias = BertModel | BertForSequenceClassification


def options_of(config: BertConfig) -> ContextPoolOptions | None:
    values = getattr(config, "context_pool", None)
    return None if values is None else ContextPoolOptions.from_dict(values)


def classifier_pooling_of(config: BertConfig) -> str:
    pooling = getattr(config, "classifier_pooling", None) or "cls"
    if pooling not in CLASSIFIER_POOLINGS:
        raise ValueError(f'classifier_pooling is {pooling!r}: it must be "cls" or "mean"')
    return str(pooling)


def layers_of(config: BertConfig, classifies: bool = False) -> tuple[int, ...]:
    """The layers with ContextPool. "auto" leaves out the last one where only a class token that is
    passed through is read: the pool could not reach it."""
    options = options_of(config)
    count = config.num_hidden_layers
    if options is None:
        return ()
    if options.layers == "all":
        return tuple(range(count))
    if options.layers == "auto":
        classifies = classifies or _CLASSIFIER in (getattr(config, "architectures", None) or ())
        reads_class_token = classifies and classifier_pooling_of(config) == "cls"
        return tuple(range(count - 1 if reads_class_token and options.prefix > 0 else count))
    if options.layers and options.layers[-1] >= count:
        raise ValueError(
            f"context_pool.layers names layer {options.layers[-1]}: the model has {count}, counted "
            "from 0"
        )
    return options.layers


def mean_of(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over each sequence's tokens, [batch, hidden]."""
    if mask is None:
        return hidden.mean(dim=1)
    kept = hidden.masked_fill(~mask.unsqueeze(2), 0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def context_pools_of(model: nn.Module) -> list[ContextPool]:
    """In the order of the layers."""
    return [module for module in model.modules() if isinstance(module, ContextPool)]


def reset_context_pools(model: nn.Module, typical_length: float) -> None:
    """Starts every ContextPool anew, for sequences of about this length: before training."""
    for pool in context_pools_of(model):
        pool.reset_parameters(typical_length)


@torch.no_grad()
def support_of(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """What ContextPool chooses: [ContextPool layers, 2, batch, tokens], the pooling weights, then
    the support sizes; 0 for prefix tokens and padding."""
    found: list[Tensor] = []

    def record(pool: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(pool, ContextPool)
        found.append(torch.stack(pool.support(*inputs)))

    hooks = [pool.register_forward_pre_hook(record) for pool in context_pools_of(model)]
    try:
        model(input_ids, attention_mask=attention_mask)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return torch.zeros(0, 2, *input_ids.shape)
    return torch.stack(found)


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
    loaded: Any = cls.from_pretrained(
        directory, config=config, dtype=dtype, output_loading_info=True
    )
    model, report = loaded
    missing = sorted(name for name in report["missing_keys"] if classifies or "pooler" not in name)
    if missing:
        raise ValueError(f"{directory}/model.safetensors lacks {', '.join(missing)}")
    strange = sorted(name for name in report["unexpected_keys"] if "context_pool" in name)
    if strange:
        raise ValueError(
            f"{directory}/config.json's context_pool has no place for the tensors "
            f"{', '.join(strange)}"
        )
    return model.eval()
