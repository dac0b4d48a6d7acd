#!/usr/bin/env python3
"""Writes resnet/: what the C++ engine must compute of ResNet checkpoints.

    PYTHONPATH=../../training venv/bin/python make_resnet_golden.py

with the environment of make_golden.py. The same versions write the same bytes.

resnet/NAME/config.json and model.safetensors: a checkpoint with random weights as transformers
saves it, with statistics of batch normalisation that matter; preprocessor_config.json: the size of
its images and how pixels become numbers. expected.safetensors, computed in double precision by
transformers, or by contextpool_training where there is ContextPool, from the stored (rounded)
weights, one image at a time:

    pixels        U8  [n, height, width, 3]
    embeddings    F32 [n, hidden]: the pooler's output
    logits        F32 [n, labels]: of models with a head
    context_pool  F32 [2, n, positions of the last feature map]: the pooling weights and support
                  sizes that ContextPool chose in place of the last average

Each case is checked to be able to tell: with another value of an option, without any one kind of
number of any one batch normalisation, without ContextPool in any one place, and with images padded
by black pixels instead of zeros after their normalisation, embeddings or logits differ by more than
FELT.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from contextpool_training import resnet
from safetensors.numpy import save_file
from versions import FOLDER, check_versions

OUTPUT = FOLDER / "resnet"
# Relative to the largest value, or to 1. The engine must agree to 1e-4.
FELT = 2e-3
IMAGES = 5

Model = transformers.ResNetModel | transformers.ResNetForImageClassification


@dataclasses.dataclass
class Case:
    """One checkpoint: what its config says, how its weights are stored, and its images."""

    name: str
    dtype: torch.dtype
    height: int
    width: int
    config: dict[str, Any]
    labels: list[str] = dataclasses.field(default_factory=list)
    problem_type: str | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    rescale_factor: float = 1 / 255
    context_pool: dict[str, Any] | None = None


CASES = [
    Case(
        "basic_f32", torch.float32, 40, 40,
        dict(layer_type="basic", embedding_size=12, hidden_sizes=[16, 24, 36], depths=[2, 1, 2]),
        labels=["cat", "dog", "horse"],
    ),
    # Everything odd: an image of 37 x 51, channels that are no multiple of a vector.
    Case(
        "basic_first_stage_bf16", torch.bfloat16, 37, 51,
        dict(layer_type="basic", embedding_size=13, hidden_sizes=[13, 27], depths=[2, 2],
             downsample_in_first_stage=True),
        labels=["striped", "spotted"], problem_type="multi_label_classification",
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125),
    ),
    Case(
        "bottleneck_f16", torch.float16, 33, 47,
        dict(layer_type="bottleneck", embedding_size=16, hidden_sizes=[32, 72], depths=[2, 3]),
        labels=[f"class {i}" for i in range(17)], rescale_factor=1 / 127.5, mean=(1, 1, 1),
        std=(1, 1, 1),
    ),
    # No head: tensors without the prefix "resnet.".
    Case(
        "bottleneck_early_encoder_bf16", torch.bfloat16, 64, 45,
        dict(layer_type="bottleneck", embedding_size=8, hidden_sizes=[36, 52, 60],
             depths=[1, 2, 1], downsample_in_first_stage=True, downsample_in_bottleneck=True),
    ),
    # One position from the second stage on; the first layer has no shortcut.
    Case(
        "basic_tiny_images_f32", torch.float32, 5, 3,
        dict(layer_type="basic", embedding_size=20, hidden_sizes=[20, 30], depths=[1, 1]),
        labels=["size"], problem_type="regression",
    ),
    Case(
        "context_pool_both_f32", torch.float32, 33, 46,
        dict(layer_type="basic", embedding_size=10, hidden_sizes=[12, 20], depths=[1, 1]),
        labels=["left", "right"], context_pool={"bottleneck": 9, "r": 0.3},
    ),
    Case(
        "context_pool_final_bf16", torch.bfloat16, 48, 80,
        dict(layer_type="bottleneck", embedding_size=8, hidden_sizes=[16, 24], depths=[1, 1]),
        labels=["a", "b", "c"],
        context_pool={"layers": ["final"], "kernel_size": 5, "bottleneck": 4, "residual": "gate",
                      "weight_activation": "exp", "activation": "relu", "normalization": "mean"},
    ),
    Case(
        "context_pool_stem_encoder_f16", torch.float16, 21, 30,
        dict(layer_type="basic", embedding_size=9, hidden_sizes=[18], depths=[1]),
        context_pool={"layers": ["stem"], "weight_activation": "one", "bottleneck": 5,
                      "residual": "add", "n_mode": "tokens"},
    ),
]  # fmt: skip


def make_model(case: Case, options: dict[str, Any]) -> Model:
    config = transformers.ResNetConfig(**options)
    if case.context_pool is not None:
        config.context_pool = case.context_pool
    classes = transformers if case.context_pool is None else resnet
    if not case.labels:
        return classes.ResNetModel(config)
    config.id2label = dict(enumerate(case.labels))
    config.label2id = {label: i for i, label in enumerate(case.labels)}
    config.problem_type = case.problem_type
    return classes.ResNetForImageClassification(config)


def normalizations(model: Model) -> list[torch.nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def values_of(case: Case, pixels: torch.Tensor) -> torch.Tensor:
    """[n, 3, height, width] in double precision."""
    mean = torch.tensor(case.mean, dtype=torch.float64)
    std = torch.tensor(case.std, dtype=torch.float64)
    return ((pixels.double() * case.rescale_factor - mean) / std).permute(0, 3, 1, 2)


def randomize(model: Model, values: torch.Tensor, generator: torch.Generator) -> None:
    """Statistics near those of the data, so that no layer's output dies or grows."""

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(noise(parameter) * (2 / parameter[0].numel()) ** 0.5)
        for normalization in normalizations(model):
            normalization.weight.copy_(1 + 0.3 * noise(normalization.weight))
            normalization.bias.copy_(0.3 * noise(normalization.bias))
            normalization.momentum = None
        for name, parameter in model.named_parameters():
            if "context_pool" in name and parameter.dim() == 1:
                parameter.copy_(0.5 + 0.3 * noise(parameter))
        model.train()(values)
        for normalization in normalizations(model):
            spread = normalization.running_var.sqrt()
            normalization.running_mean.add_(0.3 * spread * noise(spread))
            normalization.running_var.mul_(torch.exp(0.3 * noise(spread)))


def expected_of(model: Model, values: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the model says of each image alone, in its own precision."""
    encoder = getattr(model, "resnet", model)
    images = values.to(model.dtype).split(1)
    with torch.no_grad():
        outputs = [encoder(image) for image in images]
        rows = {"embeddings": torch.cat([output.pooler_output.flatten(1) for output in outputs])}
        if encoder is not model:
            rows["logits"] = torch.cat([model(image).logits for image in images])
        pool = getattr(encoder, "context_pool", None)
        if pool is not None:
            maps = [output.last_hidden_state for output in outputs]
            chosen = [
                torch.stack(pool.support(m.flatten(2).transpose(1, 2), None, m.shape[2:]))
                for m in maps
            ]
            rows["context_pool"] = torch.cat(chosen, dim=1)
    return rows


def distance(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    return max(
        float(((found[key] - value).abs() / value.abs().max().clamp(min=1)).max())
        for key, value in expected.items()
        if key in found and key != "context_pool"
    )


def mistaken_options(case: Case) -> Iterator[tuple[str, Any]]:
    for key in ("downsample_in_first_stage", "downsample_in_bottleneck"):
        if key == "downsample_in_bottleneck" and case.config["layer_type"] == "basic":
            continue
        yield key, not case.config.get(key, False)


def mistaken_normalizations(model: Model) -> Iterator[str]:
    """Changes the model in place, one mistake at a time."""
    neutral = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for index, normalization in enumerate(normalizations(model)):
        for name, value in neutral.items():
            tensor = getattr(normalization, name).data
            kept = tensor.clone()
            tensor.fill_(value)
            yield f"normalization {index} without {name}"
            tensor.copy_(kept)


def check(case: Case, stored: Model, values: torch.Tensor) -> None:
    expected = expected_of(stored, values)

    def felt(name: str, model: Model, seen: torch.Tensor) -> None:
        found = distance(expected, expected_of(model, seen))
        print(f"  {found:9.2g} {name}")
        assert found > FELT, f"{case.name} cannot tell {name}"

    for key, value in mistaken_options(case):
        other = make_model(case, case.config | {key: value}).double().eval()
        # The first layer of a stage has a shortcut or none.
        if other.state_dict().keys() == stored.state_dict().keys():
            other.load_state_dict(stored.state_dict())
            felt(f"{key} {value}", other, values)
    for place in resnet.places_of(stored.config) if case.context_pool else ():
        others = [p for p in resnet.places_of(stored.config) if p != place]
        less = dataclasses.replace(case, context_pool=case.context_pool | {"layers": others})
        other = make_model(less, case.config).double().eval()
        other.load_state_dict(stored.state_dict(), strict=False)
        felt(f"no ContextPool in {place}", other, values)
    for name in mistaken_normalizations(stored):
        felt(name, stored, values)
    stem = stored.get_submodule("resnet" if case.labels else "").embedder.embedder.convolution
    stem.padding = (0, 0)
    black = values_of(case, torch.zeros(1, 1, 1, 3))
    padded = black.expand(values.shape[0], 3, case.height + 6, case.width + 6).clone()
    padded[:, :, 3:-3, 3:-3] = values
    felt("padding with black", stored, padded)
    stem.padding = (3, 3)


def write(case: Case, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    directory = OUTPUT / case.name
    pixels = torch.randint(
        0, 256, (IMAGES, case.height, case.width, 3), generator=generator, dtype=torch.uint8
    )
    pixels[0], pixels[1] = 0, 255
    values = values_of(case, pixels)
    model = make_model(case, case.config).double()
    randomize(model, values, generator)
    model.to(case.dtype).save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": case.height, "width": case.width},
        "resample": 2,
        "rescale_factor": case.rescale_factor,
        "image_mean": case.mean,
        "image_std": case.std,
    }, indent=2) + "\n")  # fmt: skip
    stored = type(model).from_pretrained(directory, dtype=torch.float64).eval()
    expected = expected_of(stored, values)
    noise = distance(expected, {
        key: value.double() for key, value in expected_of(stored.float(), values).items()
    })  # fmt: skip
    print(f"{case.name}: float32 {noise:.1e}")
    check(case, stored.double(), values)
    rows = {key: value.float().numpy() for key, value in expected.items()}
    save_file({"pixels": pixels.numpy(), **rows}, directory / "expected.safetensors")


def main() -> None:
    check_versions("numpy", "safetensors", "torch", "transformers")
    torch.set_num_threads(1)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for seed, case in enumerate(CASES):
        write(case, seed)


if __name__ == "__main__":
    main()
