"""BERT with ContextPool in NumPy and double precision, sequence by sequence: the tests' own reading.

Only what the tiny models use: post-LayerNorm layers, gelu, and ContextPool after the attention block
with its default options.
"""

import math

import numpy as np

EPSILON = 1e-12
R = 0.1
SUPPORT_EPSILON = 1e-4
LOG_WEIGHT_BOUNDS = (-100, 20)

erf = np.vectorize(math.erf)


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Bert:
    """`tensors` as in model.safetensors."""

    def __init__(self, tensors, layers, heads, pooled_layers, prefix):
        self.tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self.layers, self.heads = layers, heads
        self.pooled_layers, self.prefix = pooled_layers, prefix

    def explain(self, ids):
        """Per layer with ContextPool the weight and the support size of each token."""
        hidden = self._embed(ids)
        choices = []
        for i in range(self.layers):
            hidden = self._attend(f"bert.encoder.layer.{i}", hidden)
            if i in self.pooled_layers:
                weight, size, hidden = self._pool(f"bert.encoder.layer.{i}.context_pool", hidden)
                choices.append((weight, size))
            hidden = self._feed_forward(f"bert.encoder.layer.{i}", hidden)
        return choices

    def _dense(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _norm(self, name, x):
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(axis=1, keepdims=True) + EPSILON)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def _embed(self, ids):
        table = "bert.embeddings.{}_embeddings.weight".format
        x = self.tensors[table("word")][ids] + self.tensors[table("position")][:len(ids)]
        return self._norm("bert.embeddings.LayerNorm", x + self.tensors[table("token_type")][0])

    def _attend(self, layer, x):
        def split(part):
            y = self._dense(f"{layer}.attention.self.{part}", x)
            return y.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

        query, key, value = split("query"), split("key"), split("value")
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1]))
        context = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        context = context.transpose(1, 0, 2).reshape(x.shape)
        return self._norm(f"{layer}.attention.output.LayerNorm",
                          x + self._dense(f"{layer}.attention.output.dense", context))

    def _feed_forward(self, layer, x):
        inner = gelu(self._dense(f"{layer}.intermediate.dense", x))
        return self._norm(f"{layer}.output.LayerNorm",
                          x + self._dense(f"{layer}.output.dense", inner))

    def _convolve(self, name, x):
        kernel = self.tensors[f"{name}.weight"]  # [out, in, taps]
        side = kernel.shape[2] // 2
        padded = np.pad(x, ((side, side), (0, 0)))
        windows = np.stack([padded[i:i + len(x)] for i in range(kernel.shape[2])], axis=2)
        return np.einsum("tik,oik->to", windows, kernel) + self.tensors[f"{name}.bias"]

    def _pool(self, name, x):
        """Weights, sizes and the output, over all tokens; the first `prefix` are passed through."""
        pooled = x[self.prefix:]
        n = len(pooled)
        raw = self._convolve(f"{name}.conv2", gelu(self._convolve(f"{name}.conv1", pooled)))
        weight = 2 ** np.clip(np.log2(sigmoid(raw[:, 0])), *LOG_WEIGHT_BOUNDS)
        size = R * n * sigmoid(raw[:, 1])
        distance = np.arange(n)[:, None] - np.arange(n)
        share = weight * np.exp(-distance**2 / (2 * size[:, None]**2 + SUPPORT_EPSILON))
        out = x.copy()
        out[self.prefix:] = share / share.sum(axis=1, keepdims=True) @ pooled
        nothing = np.zeros(self.prefix)
        return np.concatenate([nothing, weight]), np.concatenate([nothing, size]), out
