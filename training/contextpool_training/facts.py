"""What a trained ContextPool does: its support sizes and weights on real data."""

import dataclasses
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn

from contextpool_training.bert import BertForSequenceClassification, support_of
from contextpool_training.images import ImageExamples
from contextpool_training.pools import context_pools_of, recorded_support
from contextpool_training.texts import EncodedTexts

# exp(-1 / (2 sigma^2)) < 0.4 %, of what the token itself counts: all that a neighbour of the same
# pooling weight adds.
IDENTITY_SIGMA = 0.3


@dataclasses.dataclass(frozen=True)
class Spread:
    mean: float
    # 5th, 50th and 95th percentile.
    low: float
    middle: float
    high: float


@dataclasses.dataclass(frozen=True)
class PoolFacts:
    sigma: Spread
    weight: Spread
    # Of the tokens, those with a support size below IDENTITY_SIGMA.
    identity_share: float


@dataclasses.dataclass(frozen=True)
class LayerFacts(PoolFacts):
    # By mean pooling weight, with that weight, among the tokens that occur often enough.
    heaviest: list[tuple[str, float]]
    lightest: list[tuple[str, float]]
    widest: list[tuple[str, float]]


def facts_of(
    model: BertForSequenceClassification,
    texts: EncodedTexts,
    tokenizer: Tokenizer,
    least_count: int = 20,
    listed: int = 8,
) -> list[LayerFacts]:
    """One per layer with ContextPool."""
    model.train(False)
    ids: list[int] = []
    values: list[npt.NDArray[np.float64]] = []
    for row in range(len(texts)):
        batch = texts.batch([row])
        support = support_of(model, batch.ids, batch.mask)[:, :, 0].double().numpy()
        pooled = support[0, 0] > 0  # weights are never 0 but for the prefix
        values.append(support[:, :, pooled])
        ids += batch.ids[0][torch.from_numpy(pooled)].tolist()
    weights, sigmas = np.moveaxis(np.concatenate(values, axis=2), 1, 0)
    facts = []
    for weight, sigma in zip(weights, sigmas, strict=True):
        by_weight = _means(ids, weight, tokenizer, least_count)
        by_sigma = _means(ids, sigma, tokenizer, least_count)
        lists = (by_weight[:listed], by_weight[: -listed - 1 : -1], by_sigma[:listed])
        facts.append(LayerFacts(*_spreads(weight, sigma), *lists))
    return facts


@torch.inference_mode()
def facts_of_images(model: nn.Module, images: ImageExamples) -> list[PoolFacts]:
    """One per place with ContextPool."""
    model.train(False)
    with recorded_support(model) as found:
        for rows in images.plan(batch_size=64):
            model(**images.batch(rows).inputs)
    count = len(context_pools_of(model))
    facts = []
    for place in range(count):
        weight, sigma = torch.cat([part.flatten(1) for part in found[place::count]], 1).numpy()
        pooled = weight > 0  # weights are never 0 but for the prefix
        facts.append(PoolFacts(*_spreads(weight[pooled], sigma[pooled])))
    return facts


def _spreads(
    weight: npt.NDArray[np.floating], sigma: npt.NDArray[np.floating]
) -> tuple[Spread, Spread, float]:
    return _spread(sigma), _spread(weight), float(np.mean(sigma < IDENTITY_SIGMA))


def _spread(values: npt.NDArray[np.floating]) -> Spread:
    return Spread(float(values.mean()), *(float(q) for q in np.percentile(values, [5, 50, 95])))


def _means(
    ids: list[int], values: npt.NDArray[np.float64], tokenizer: Tokenizer, least_count: int
) -> list[tuple[str, float]]:
    """Tokens with the mean of their values, largest first."""
    found = defaultdict(list)
    for token, value in zip(ids, values, strict=True):
        found[token].append(value)
    often = {token: np.mean(v) for token, v in found.items() if len(v) >= least_count}
    ranked = sorted(often.items(), key=lambda item: (-item[1], item[0]))
    return [(_spelled(tokenizer, token), float(mean)) for token, mean in ranked]


def _spelled(tokenizer: Tokenizer, token: int) -> str:
    """As a person would write it; a continuation keeps its ##, a space is called so."""
    letter = str(tokenizer.id_to_token(token))
    return "space" if letter == "Ġ" else letter
