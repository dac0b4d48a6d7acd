"""A fresh BERT classifier, with or without ContextPool."""

import dataclasses
import math

import torch
from torch import Tensor, nn
from transformers import BertConfig

from contextpool_training.bert import BertForSequenceClassification
from contextpool_training.options import ContextPoolOptions
from contextpool_training.pools import reset_context_pools
from contextpool_training.settings import COUNT, SHARE, Range, check_settings, setting
from contextpool_training.texts import PAD_ID
from contextpool_training.trainer import TrainingOptions


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    width: int = setting(128, "of the hidden vectors", COUNT)
    layers: int = setting(2, "of the transformer", COUNT)
    heads: int = setting(4, "of each layer's attention", COUNT)
    feed_forward: int = setting(512, "width of the feed-forward blocks", COUNT)
    max_tokens: int = setting(128, "of a text; the rest is cut off", Range(3))
    dropout: float = setting(0.1, "of hidden values", SHARE)
    classifier_dropout: float = setting(0.3, "before the classifier", SHARE)
    pooling: str = setting("mean", "what the classifier reads")
    first_weights: float = setting(
        0.02, "standard deviation of the first weights, embeddings excepted", Range(0, above=True)
    )
    first_embeddings: float = setting(
        0.02, "standard deviation of the first embeddings", Range(0, above=True)
    )
    first_positions: str = setting(
        "random",
        "first position embeddings; sinusoids let attention find neighbours from the start, which "
        "byte models need",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.width % self.heads:
            raise ValueError(f"--width {self.width} is not a multiple of --heads {self.heads}")


@dataclasses.dataclass(frozen=True)
class TextTrainingOptions(TrainingOptions):
    token_dropout: float = setting(0.1, "share of the tokens that are hidden in training", SHARE)


def build(
    options: ModelOptions,
    labels: list[str],
    vocabulary: int,
    context_pool: ContextPoolOptions | None,
    seed: int,
    typical_length: float,
) -> BertForSequenceClassification:
    """Models that differ only in `context_pool` start from the same transformer."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=options.feed_forward,
        max_position_embeddings=options.max_tokens,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=options.classifier_dropout,
        pad_token_id=PAD_ID,
        type_vocab_size=1,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    config.classifier_pooling = options.pooling
    torch.manual_seed(seed)
    plain = BertForSequenceClassification(config)
    _start(plain, options)
    if context_pool is None:
        return plain
    config.context_pool = context_pool.to_dict()
    model = BertForSequenceClassification(config)
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.manual_seed(seed)
    reset_context_pools(model, typical_length)
    return model


@torch.no_grad()
def round_to_stored(model: nn.Module) -> None:
    """Gives every weight the value that float16, in which it is stored, has for it.

    Raises ValueError, before anything is changed, for a weight that float16 cannot hold.
    """
    for name, parameter in model.named_parameters():
        if not parameter.half().isfinite().all():
            raise ValueError(
                f"{name} has values that float16 cannot hold (largest {parameter.abs().max():g}): "
                "train with a lower --learning-rate"
            )
    for parameter in model.parameters():
        parameter.copy_(parameter.half())


@torch.no_grad()
def _start(model: BertForSequenceClassification, options: ModelOptions) -> None:
    spread = model.config.initializer_range
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.mul_(options.first_weights / spread)
        elif isinstance(module, nn.Embedding):
            module.weight.mul_(options.first_embeddings / spread)
    if options.first_positions == "sinusoid":
        positions = model.bert.embeddings.position_embeddings.weight
        sinusoids = _sinusoids(*positions.shape)
        positions.copy_(sinusoids * options.first_embeddings * math.sqrt(2))


def _sinusoids(positions: int, width: int) -> Tensor:
    """[positions, width]; wavelengths from 2 pi to 2,000 pi in geometric steps."""
    rates = torch.exp(-math.log(1000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(positions).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
