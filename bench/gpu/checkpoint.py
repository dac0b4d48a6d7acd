"""Model directories with random weights, as Hugging Face lays them out."""

import dataclasses
import json
import pathlib
import struct

import torch

# safetensors' names.
DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
KERNEL_SIZE, BOTTLENECK = 3, 32
# Of the numbers whose sigmoids are pooling weights and support sizes: half of the largest weight,
# a fifth of the largest size.
CONV2_BIAS = (0.0, -1.5)

Weights = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """BERT, or ViT where there is an image."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int = 30522
    positions: int = 512
    image: int = 0
    patch: int = 16
    context_pool: bool = False

    @property
    def grid(self) -> int:
        return self.image // self.patch

    @property
    def parameters(self) -> int:
        """Of the layers, which every pass reads."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    def config(self) -> dict:
        config = {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
        }
        if self.image:
            config |= {
                "model_type": "vit",
                "architectures": ["ViTModel"],
                "image_size": self.image,
                "patch_size": self.patch,
            }
        else:
            config |= {
                "model_type": "bert",
                "architectures": ["BertModel"],
                "vocab_size": self.vocabulary,
                "max_position_embeddings": self.positions,
            }
        if self.context_pool:
            config["context_pool"] = {"layers": "all"}
        return config


def random_weights(of: Architecture, dtype: torch.dtype, device: torch.device) -> Weights:
    generator = torch.Generator(device).manual_seed(11)
    weights: Weights = {}

    def normal(name: str, *shape: int, mean: float = 0.0, scale: float = 0.02) -> None:
        values = torch.randn(*shape, device=device, generator=generator)
        weights[name] = (mean + scale * values).to(dtype)

    def linear(name: str, out: int, inside: int) -> None:
        normal(f"{name}.weight", out, inside)
        normal(f"{name}.bias", out)

    def norm(name: str) -> None:
        normal(f"{name}.weight", of.hidden, mean=1.0, scale=0.1)
        normal(f"{name}.bias", of.hidden, scale=0.1)

    hidden = of.hidden
    if of.image:
        normal("embeddings.cls_token", 1, 1, hidden)
        normal("embeddings.position_embeddings", 1, of.grid**2 + 1, hidden)
        normal("embeddings.patch_embeddings.projection.weight", hidden, 3, of.patch, of.patch)
        normal("embeddings.patch_embeddings.projection.bias", hidden)
        norm("layernorm")
    else:
        normal("embeddings.word_embeddings.weight", of.vocabulary, hidden)
        normal("embeddings.position_embeddings.weight", of.positions, hidden)
        normal("embeddings.token_type_embeddings.weight", 2, hidden)
        norm("embeddings.LayerNorm")
    for i in range(of.layers):
        names = layer_names(of, i)
        for part in ("query", "key", "value"):
            linear(f"{names['attention']}.{part}", hidden, hidden)
        linear(names["attention_output"], hidden, hidden)
        norm(names["attention_norm"])
        linear(names["intermediate"], of.intermediate, hidden)
        linear(names["output"], hidden, of.intermediate)
        norm(names["feed_forward_norm"])
        if of.context_pool:
            taps = (KERNEL_SIZE,) * (2 if of.image else 1)
            pool = names["context_pool"]
            normal(f"{pool}.conv1.weight", BOTTLENECK, hidden, *taps)
            normal(f"{pool}.conv1.bias", BOTTLENECK)
            normal(f"{pool}.conv2.weight", 2, BOTTLENECK, *taps, scale=0.1)
            weights[f"{pool}.conv2.bias"] = torch.tensor(CONV2_BIAS, device=device).to(dtype)
    return weights


def layer_names(of: Architecture, i: int) -> dict[str, str]:
    layer = f"encoder.layer.{i}"
    names = {
        "attention": f"{layer}.attention.self",
        "attention_output": f"{layer}.attention.output.dense",
        "attention_norm": f"{layer}.attention.output.LayerNorm",
        "intermediate": f"{layer}.intermediate.dense",
        "output": f"{layer}.output.dense",
        "feed_forward_norm": f"{layer}.output.LayerNorm",
        "context_pool": f"{layer}.context_pool",
    }
    if of.image:
        names |= {
            "attention": f"{layer}.attention.attention",
            "attention_norm": f"{layer}.layernorm_before",
            "feed_forward_norm": f"{layer}.layernorm_after",
        }
    return names


def write(folder: pathlib.Path, of: Architecture, weights: Weights) -> None:
    (folder / "config.json").write_text(json.dumps(of.config()), encoding="utf-8")
    if of.image:
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": of.image, "width": of.image},
        }
        text = json.dumps(processor)
        (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")
    header, offset = {}, 0
    for name, tensor in weights.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in weights.values():
            file.write(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
