#!/usr/bin/env python3
"""Writes half/: how far 16-bit arithmetic may be from the truth.

    PYTHONPATH=../../training venv/bin/python make_half_golden.py

with the environment of make_golden.py. The same versions write the same bytes.

half/NAME/: checkpoints with random weights (BF16) of the sizes that GPU kernels take, two of them
with ContextPool, and expected.safetensors over m inputs: what a text or image model reads
(token_ids and cu_lengths, or pixels) and for each OUTPUT

    OUTPUT       F32 [m, columns]: in double precision
    OUTPUT_bf16  F32 [m, columns]: the same by PyTorch on a CPU in bfloat16
    OUTPUT_f16   F32 [m, columns]: and in float16

with the outputs cls and mean (of encoders' tokens; of images the patches alone), not normalised, and
logits. Inputs are computed one at a time.
"""

import dataclasses
import json
import shutil

import torch
import transformers
from contextpool_training import bert, vit
from make_golden import pack, randomize as randomize_bert
from make_vit_golden import MEAN, STD, randomize as randomize_vit
from safetensors.numpy import save_file
from versions import FOLDER, check_versions

OUTPUT = FOLDER / "half"
VOCABULARY = 97
LENGTHS = [1, 2, 3, 15, 16, 17, 31, 40, 63, 64, 65, 100, 127, 128, 129, 140]
IMAGES = 5
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


@dataclasses.dataclass
class Case:
    """One checkpoint: its class and what its config says."""

    name: str
    model: type
    config: dict
    seed: int

    @property
    def reads_images(self):
        return "image_size" in self.config


TEXT = dict(vocab_size=VOCABULARY, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=140)  # fmt: skip
LABELS = dict(id2label={0: "bad", 1: "middling", 2: "good"})

CASES = [
    Case("bert", transformers.BertForSequenceClassification,
         dict(TEXT, hidden_size=128, intermediate_size=192, **LABELS), 1),
    Case("bert_context_pool", bert.BertForSequenceClassification,
         dict(TEXT, hidden_size=64, intermediate_size=160, classifier_pooling="mean",
              context_pool={"layers": "all", "bottleneck": 16, "num_prefix_tokens": 1},
              **LABELS), 2),
    Case("vit_context_pool", vit.ViTForImageClassification,
         dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
              image_size=[40, 56], patch_size=4, classifier_pooling="mean",
              context_pool={"layers": "all", "bottleneck": 8, "residual": "gate"}, **LABELS), 3),
]  # fmt: skip


def make_inputs(case, generator):
    if not case.reads_images:
        return [torch.randint(0, VOCABULARY, (n,), generator=generator) for n in LENGTHS]
    shape = (*case.config["image_size"], 3)
    return [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            for _ in range(IMAGES)]  # fmt: skip


def read(case, value, dtype):
    """An input as the model takes it."""
    if not case.reads_images:
        return value[None]
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return ((value.permute(2, 0, 1).double() / 255 - mean) / std)[None].to(dtype)


def outputs_of(case, model, inputs):
    rows = {"cls": [], "mean": [], "logits": []}
    with torch.no_grad():
        for value in inputs:
            batch = read(case, value, model.dtype)
            hidden = model.base_model(batch).last_hidden_state[0]
            rows["cls"].append(hidden[0])
            rows["mean"].append(hidden[1 if case.reads_images else 0 :].mean(dim=0))
            if case.reads_images:
                logits = model.classifier(hidden.mean(dim=0))
            else:
                logits = model(batch).logits[0]
            rows["logits"].append(logits)
    return {key: torch.stack(value).float().numpy() for key, value in rows.items()}


def write_case(case):
    generator = torch.Generator().manual_seed(case.seed)
    directory = OUTPUT / case.name
    config = case.model.config_class(**case.config)
    model = case.model(config)
    (randomize_vit if case.reads_images else randomize_bert)(model, generator)
    model.to(torch.bfloat16).save_pretrained(directory)
    inputs = make_inputs(case, generator)
    if case.reads_images:
        height, width = case.config["image_size"]
        processor = {"image_processor_type": "ViTImageProcessor", "image_mean": MEAN,
                     "image_std": STD, "size": {"height": height, "width": width}}  # fmt: skip
        text = json.dumps(processor, indent=2)
        (directory / "preprocessor_config.json").write_text(text + "\n")
        tensors = {"pixels": torch.stack(inputs).numpy()}
    else:
        tensors = pack([ids.tolist() for ids in inputs])
    for suffix, dtype in {"": torch.float64, **TYPES}.items():
        stored = case.model.from_pretrained(directory, dtype=dtype).eval()
        for key, value in outputs_of(case, stored, inputs).items():
            tensors[f"{key}_{suffix}" if suffix else key] = value
    save_file(tensors, directory / "expected.safetensors")


def main():
    check_versions("numpy", "safetensors", "torch", "transformers")
    torch.set_num_threads(1)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for case in CASES:
        write_case(case)


if __name__ == "__main__":
    main()
