"""BERT and ViT in plain PyTorch, as fast as it goes: one projection for query, key and value, one
function for all layers."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F

from checkpoint import KERNEL_SIZE, Architecture, Weights, layer_names
from context_pool_cases import LOG2_E, pool, squared_distances

NORM_EPS = 1e-12
R = 0.1
# ViTImageProcessor's: (pixel / 255 - 0.5) / 0.5.
PIXEL_SCALE, PIXEL_OFFSET = 2 / 255, -1.0

Attention = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass
class Sequences:
    """What the layers know of the tokens [batch, length, hidden]."""

    # From query, key and value [batch, length, 3, heads, head size] to [batch, length, hidden].
    attend: Attention
    # Which tokens exist, [batch, length]; None: all.
    mask: torch.Tensor | None
    # Between the tokens that are pooled, without the first.
    distances: torch.Tensor | None
    # Pooled tokens of each sequence, or the grid's side: [batch] or a number.
    n: torch.Tensor | int


class Encoder:
    """`compiles`: whether its layers are compiled, all by one function."""

    def __init__(self, of: Architecture, weights: Weights, compiles: bool) -> None:
        self.of = of
        self.weights = weights
        self.layers = [self._layer_weights(i) for i in range(of.layers)]
        self.layer = layer_of(of)
        if compiles:
            self.layer = torch.compile(self.layer, dynamic=False, fullgraph=True)

    def _layer_weights(self, i: int) -> list[torch.Tensor]:
        """In the order in which a layer takes them."""
        names = layer_names(self.of, i)
        found = []
        for kind in ("weight", "bias"):
            parts = [
                self.weights[f"{names['attention']}.{part}.{kind}"]
                for part in ("query", "key", "value")
            ]
            found.append(torch.cat(parts))
        places = ["attention_output", "attention_norm", "intermediate", "output"]
        for place in [*places, "feed_forward_norm"]:
            found += [self.weights[f"{names[place]}.{kind}"] for kind in ("weight", "bias")]
        if self.of.context_pool:
            pool = names["context_pool"]
            for conv in ("conv1", "conv2"):
                found += [self.weights[f"{pool}.{conv}.{kind}"] for kind in ("weight", "bias")]
        return found

    def texts(self, ids: torch.Tensor, places: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Tokens of the last layer, from ids and their places [batch, length]."""
        table = self.weights
        x = F.embedding(ids, table["embeddings.word_embeddings.weight"])
        x = x + F.embedding(places, table["embeddings.position_embeddings.weight"])
        x = x + table["embeddings.token_type_embeddings.weight"][0]
        return self._run(self._norm(x, "embeddings.LayerNorm"), sequences)

    def images(self, pixels: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """Class tokens, from uint8 [images, side, side, 3]."""
        table, of = self.weights, self.of
        projection = table["embeddings.patch_embeddings.projection.weight"]
        values = (pixels.float() * PIXEL_SCALE + PIXEL_OFFSET).to(projection.dtype)
        cut = values.view(-1, of.grid, of.patch, of.grid, of.patch, 3).permute(0, 1, 3, 5, 2, 4)
        patches = F.linear(
            cut.reshape(len(pixels), of.grid**2, -1),
            projection.flatten(1),
            table["embeddings.patch_embeddings.projection.bias"],
        )
        first = table["embeddings.cls_token"].expand(len(pixels), 1, of.hidden)
        x = torch.cat([first, patches], dim=1) + table["embeddings.position_embeddings"]
        x = self._run(x, sequences)
        return self._norm(x[:, 0], "layernorm").float()

    def _run(self, x: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        for weights in self.layers:
            x = self.layer(
                x, sequences.attend, sequences.mask, sequences.distances, sequences.n, *weights
            )
        return x

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weights = (self.weights[f"{name}.{kind}"] for kind in ("weight", "bias"))
        return F.layer_norm(x, (self.of.hidden,), *weights, NORM_EPS)


def layer_of(of: Architecture) -> Callable[..., torch.Tensor]:
    def norm(x, weight, bias):
        return F.layer_norm(x, (of.hidden,), weight, bias, NORM_EPS)

    # `convolutions`: ContextPool's weights and biases, if it has them.
    def layer(
        x,
        attend,
        mask,
        distances,
        n,
        qkv,
        qkv_bias,
        out,
        out_bias,
        norm1,
        norm1_bias,
        inner,
        inner_bias,
        last,
        last_bias,
        norm2,
        norm2_bias,
        *convolutions,
    ):
        before = norm(x, norm1, norm1_bias) if of.image else x
        parts = F.linear(before, qkv, qkv_bias).unflatten(-1, (3, of.heads, -1))
        x = x + F.linear(attend(parts), out, out_bias)
        if not of.image:
            x = norm(x, norm1, norm1_bias)
        if of.context_pool:
            x = context_pool(of, x, mask, distances, n, *convolutions)
        before = norm(x, norm2, norm2_bias) if of.image else x
        x = x + F.linear(F.gelu(F.linear(before, inner, inner_bias)), last, last_bias)
        return x if of.image else norm(x, norm2, norm2_bias)

    return layer


def context_pool(of, x, mask, distances, n, conv1, conv1_bias, conv2, conv2_bias):
    """docs/contextpool.md; the first token passes by."""
    pooled = x[:, 1:]
    if mask is not None:
        pooled = pooled * mask[:, 1:, None]
    channels = pooled.transpose(1, 2)
    padding = KERNEL_SIZE // 2
    if of.image:
        grid = channels.unflatten(2, (of.grid, of.grid))
        hidden = F.gelu(F.conv2d(grid, conv1, conv1_bias, padding=padding))
        numbers = F.conv2d(hidden, conv2, conv2_bias, padding=padding).flatten(2)
    else:
        hidden = F.gelu(F.conv1d(channels, conv1, conv1_bias, padding=padding))
        if mask is not None:
            hidden = hidden * mask[:, None, 1:]
        numbers = F.conv1d(hidden, conv2, conv2_bias, padding=padding)
    log_weight = LOG2_E * F.logsigmoid(numbers[:, 0].float())
    size = R * n * torch.sigmoid(numbers[:, 1].float())
    if mask is not None:
        log_weight = torch.where(mask[:, 1:], log_weight, float("-inf"))
    padded = mask is not None
    y = pool(pooled, log_weight[:, None, :], size[:, :, None], distances, padded)
    return torch.cat([x[:, :1], y], dim=1)


def dense_attention(mask: torch.Tensor | None) -> Attention:
    def attend(parts: torch.Tensor) -> torch.Tensor:
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        wide = None if mask is None else mask[:, None, None, :]
        result = F.scaled_dot_product_attention(query, key, value, attn_mask=wide)
        return result.transpose(1, 2).flatten(2)

    return attend


def packed_attention(cu_lengths: torch.Tensor, longest: int) -> Attention:
    """Of one row of all sequences, which see nothing of each other."""
    from torch.nn.attention.varlen import varlen_attn

    def attend(parts: torch.Tensor) -> torch.Tensor:
        query, key, value = parts[0].unbind(1)
        result = varlen_attn(query, key, value, cu_lengths, cu_lengths, longest, longest)
        return result.flatten(1)[None]

    return attend


def distances_of(of: Architecture, length: int, device: torch.device) -> torch.Tensor | None:
    if not of.context_pool:
        return None
    return squared_distances(length - 1, of.grid, device)
