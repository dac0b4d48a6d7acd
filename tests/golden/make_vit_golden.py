#!/usr/bin/env python3
"""Writes vit/: what the C++ engine must compute of ViT, DeiT and DINOv2.

    PYTHONPATH=../../training venv/bin/python make_vit_golden.py

with the environment of make_golden.py. The same versions write the same bytes.

vit/NAME/: a checkpoint with random weights as transformers saves it, the preprocessor_config.json
that such checkpoints have, and expected.safetensors over m images:

    pixels  U8 [m, height, width, 3]: as the model reads them, before rescaling
    cls     F32 [m, hidden]: the class token after the last LayerNorm
    mean, max, last  F32 [m, hidden]: over the patches, without the tokens before them
    pooler  F32 [m, hidden]: the class token through the pooler, of encoders that have one
    logits  F32 [m, labels]: of models with a head
    context_pool  F32 [layers with ContextPool, 2, m * tokens]: of each such layer the pooling
            weights (not their logarithms), then the support sizes in cells; 0 for the class token

Models with ContextPool are those of contextpool_training, the others transformers' own. They are computed in double precision from the stored (rounded) weights, one image at a time, so
that the difference that a test sees is the engine's alone. "classifier_pooling" is no key of
transformers: the mean over all tokens is taken here.

positions.safetensors: position embeddings of one grid as PyTorch interpolates them for others.
"""

import dataclasses
import json
import shutil

import numpy
import torch
import transformers
from contextpool_training import pools, vit
from safetensors.numpy import save_file
from versions import FOLDER, check_versions

OUTPUT = FOLDER / "vit"
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
LABELS = ["cat", "dog", "bird", "fish", "horse"]


@dataclasses.dataclass
class Case:
    """One checkpoint: its class, what its config says, and how its weights are stored."""

    name: str
    model: type
    dtype: torch.dtype
    config: dict
    # Height and width of the images; None: the config's.
    image: tuple | None = None
    images: int = 5
    labels: list = dataclasses.field(default_factory=list)


SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2)

CASES = [
    Case(
        "vit_classifier_p4_f32", transformers.ViTForImageClassification, torch.float32,
        dict(SMALL, hidden_size=32, intermediate_size=50, image_size=16, patch_size=4),
        labels=LABELS, images=9,
    ),
    # Wider than high, pixels beyond the last patch; a pooler.
    Case(
        "vit_encoder_oblong_f16", transformers.ViTModel, torch.float16,
        dict(SMALL, intermediate_size=37, image_size=[22, 41], patch_size=5,
             hidden_act="gelu_new", qkv_bias=False, layer_norm_eps=1e-5),
    ),
    # Every pixel a token; several outputs of a regression; the mean of all tokens.
    Case(
        "vit_mean_classifier_p1_bf16", transformers.ViTForImageClassification, torch.bfloat16,
        dict(SMALL, num_attention_heads=3, intermediate_size=40, image_size=[7, 9], patch_size=1,
             hidden_act="relu", problem_type="regression", classifier_pooling="mean"),
        labels=LABELS[:3],
    ),
    Case(
        "deit_encoder_p8_bf16", transformers.DeiTModel, torch.bfloat16,
        dict(SMALL, intermediate_size=40, image_size=32, patch_size=8),
    ),
    Case(
        "deit_classifier_p16_f16", transformers.DeiTForImageClassification, torch.float16,
        dict(SMALL, intermediate_size=40, image_size=48, patch_size=16,
             problem_type="multi_label_classification"),
        labels=LABELS,
    ),
    Case(
        "deit_teacher_p8_f32", transformers.DeiTForImageClassificationWithTeacher, torch.float32,
        dict(SMALL, intermediate_size=40, image_size=32, patch_size=8), labels=LABELS,
    ),
    # Position embeddings of 5 x 5 patches, images of 2 x 3.
    Case(
        "dinov2_encoder_smaller_f32", transformers.Dinov2Model, torch.float32,
        dict(SMALL, mlp_ratio=2, image_size=70, patch_size=14), image=(28, 42),
    ),
    Case(
        "dinov2_classifier_f16", transformers.Dinov2ForImageClassification, torch.float16,
        dict(SMALL, mlp_ratio=3, image_size=28, patch_size=7), labels=LABELS,
    ),
    Case(
        "dinov2_registers_larger_bf16", transformers.Dinov2WithRegistersModel, torch.bfloat16,
        dict(SMALL, mlp_ratio=2, image_size=24, patch_size=8, num_register_tokens=3),
        image=(56, 32),
    ),
    Case(
        "dinov2_registers_smaller_f32", transformers.Dinov2WithRegistersForImageClassification,
        torch.float32,
        dict(SMALL, mlp_ratio=2, image_size=56, patch_size=8, num_register_tokens=4),
        image=(24, 24), labels=LABELS,
    ),
    # "auto" leaves out the last layer: the class token reads nothing of its pool.
    Case(
        "context_pool_classifier_f32", vit.ViTForImageClassification, torch.float32,
        dict(SMALL, intermediate_size=40, image_size=[16, 20], patch_size=2,
             context_pool={"bottleneck": 8}),
        labels=LABELS,
    ),
    Case(
        "context_pool_mean_after_layer_bf16", vit.ViTForImageClassification, torch.bfloat16,
        dict(SMALL, intermediate_size=40, image_size=[12, 9], patch_size=1,
             classifier_pooling="mean",
             context_pool={"layers": "all", "placement": "after_layer", "kernel_size": 1,
                           "bottleneck": 5, "weight_activation": "exp", "residual": "add",
                           "r": 0.2}),
        labels=LABELS, images=3,
    ),
    Case(
        "context_pool_encoder_gate_f16", vit.ViTModel, torch.float16,
        dict(SMALL, intermediate_size=40, image_size=28, patch_size=4,
             context_pool={"layers": [1], "kernel_size": 5, "bottleneck": 3, "residual": "gate",
                           "normalization": "mean", "n_mode": {"fixed": 12}}),
    ),
]  # fmt: skip


def randomize(model, generator):
    """Weights large enough that attention is sharp and no term of a formula can be missing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.fill_(0.7)
            elif name.endswith("conv2.bias"):
                parameter.copy_(torch.tensor([0.3, 1.0]) + 0.1 * noise)
            elif "norm" in name and name.endswith("weight") or "lambda1" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif parameter.dim() == 3:  # tokens and positions
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * 1.2 / noise[0].numel() ** 0.5)


def make_model(case, generator):
    config = case.model.config_class(**case.config)
    if case.labels:
        config.id2label = dict(enumerate(case.labels))
        config.label2id = {label: i for i, label in enumerate(case.labels)}
    model = case.model(config)
    randomize(model, generator)
    return model.to(case.dtype).eval()


def size_of(case):
    size = case.image or case.config["image_size"]
    return (size, size) if isinstance(size, int) else tuple(size)


def preprocessor_of(case):
    """As the checkpoints of each architecture have it."""
    height, width = size_of(case)
    common = {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": MEAN,
        "image_std": STD, "resample": 3, "rescale_factor": 1 / 255,
    }  # fmt: skip
    size = {"height": height, "width": width}
    kind = case.model.config_class.model_type
    if kind == "vit":
        return {**common, "image_processor_type": "ViTImageProcessor", "size": size}
    crop = {**common, "crop_size": size, "do_center_crop": True}
    if kind == "deit":
        larger = {"height": height + 8, "width": width + 8}
        return {**crop, "image_processor_type": "DeiTImageProcessor", "size": larger}
    edge = {"shortest_edge": max(height, width) + 8}
    return {
        **crop, "image_processor_type": "BitImageProcessor", "size": edge, "do_convert_rgb": True,
    }  # fmt: skip


def expected_of(case, model, pixels):
    """What the model says of each image alone, in its own precision."""
    prefix = 1 + ("deit" in case.name) + getattr(model.config, "num_register_tokens", 0)
    encoder = model.base_model
    mean, std = (torch.tensor(values, dtype=model.dtype).view(3, 1, 1) for values in (MEAN, STD))
    rows = {"cls": [], "mean": [], "max": [], "last": [], "pooler": [], "logits": []}
    pooler = None if "dinov2" in case.name else encoder.pooler
    chosen = []
    with torch.no_grad():
        for image in pixels:
            values = (torch.from_numpy(image).permute(2, 0, 1).to(model.dtype) / 255 - mean) / std
            with pools.recorded_support(encoder) as support:
                hidden = encoder(values[None]).last_hidden_state[0]
            chosen.append([layer[:, 0] for layer in support])
            rows["cls"].append(hidden[0])
            rows["mean"].append(hidden[prefix:].mean(dim=0))
            rows["max"].append(hidden[prefix:].max(dim=0).values)
            rows["last"].append(hidden[-1])
            if pooler is not None:
                rows["pooler"].append(pooler(hidden[None])[0])
            if case.labels:
                mean_of_all = case.config.get("classifier_pooling") == "mean"
                rows["logits"].append(
                    model.classifier(hidden.mean(dim=0)) if mean_of_all
                    else model(values[None]).logits[0]
                )  # fmt: skip
    tensors = {key: torch.stack(value) for key, value in rows.items() if value}
    if chosen[0]:
        images = [torch.stack(layers) for layers in chosen]
        tensors["context_pool"] = torch.cat(images, dim=2)
    return {key: value.float().numpy() for key, value in tensors.items()}


def write_case(case, seed):
    generator = torch.Generator().manual_seed(seed)
    directory = OUTPUT / case.name
    model = make_model(case, generator)
    model.save_pretrained(directory)
    text = json.dumps(preprocessor_of(case), indent=2)
    (directory / "preprocessor_config.json").write_text(text + "\n")
    stored = case.model.from_pretrained(directory, dtype=torch.float64).eval()
    shape = (case.images, *size_of(case), 3)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).numpy()
    pixels[0] = 0
    pixels[1] = 255
    expected = expected_of(case, stored, pixels)
    save_file({"pixels": pixels, **expected}, directory / "expected.safetensors")


def write_positions():
    """[grid rows, columns, 3] to other sizes, named by how and where to."""
    generator = torch.Generator().manual_seed(77)
    grid = torch.randn(5, 5, 3, generator=generator)
    tensors = {"grid": grid.numpy()}
    for antialias in (False, True):
        for height, width in ((2, 3), (5, 5), (4, 9), (1, 1), (16, 5)):
            resized = torch.nn.functional.interpolate(
                grid.double().permute(2, 0, 1)[None], size=(height, width), mode="bicubic",
                align_corners=False, antialias=antialias,
            )  # fmt: skip
            name = f"{'antialiased' if antialias else 'plain'}_{height}_{width}"
            tensors[name] = resized[0].permute(1, 2, 0).contiguous().float().numpy()
    save_file({name: numpy.ascontiguousarray(value) for name, value in tensors.items()},
              OUTPUT / "positions.safetensors")  # fmt: skip


def main():
    check_versions("numpy", "safetensors", "torch", "transformers")
    torch.set_num_threads(1)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for seed, case in enumerate(CASES):
        write_case(case, seed)
    write_positions()


if __name__ == "__main__":
    main()
