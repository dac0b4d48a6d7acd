#!/usr/bin/env python3
"""Writes the golden files of this folder: what the C++ engine must compute.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_golden.py --minilm DIR

DIR is a directory of all-MiniLM-L6-v2. The versions in requirements.txt are checked, because another
version may print other numbers.

minilm.safetensors: for every text of texts.json what sentence-transformers computes, one text at a
time: token_ids I32 [total], cu_lengths I32 [n + 1], embeddings F32 [n, 384].

random/NAME/: checkpoints with random weights as transformers saves them, and expected.safetensors:
token_ids, cu_lengths as above, cls, mean, max, last, pooler F32 [n, hidden] (not normalised) and
logits F32 [n, labels] of models with a head. They are computed in double precision from the stored (rounded)
weights, so that the difference that a test sees is the engine's alone.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil

import numpy
import torch
import transformers
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from versions import FOLDER, check_versions


def pack(sequences):
    """Sequences side by side as the golden files hold them."""
    lengths = [len(ids) for ids in sequences]
    return {
        "token_ids": numpy.concatenate([numpy.asarray(ids, numpy.int32) for ids in sequences]),
        "cu_lengths": numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int32),
    }


def write_minilm(directory):
    model = SentenceTransformer(str(directory), device="cpu")
    texts = json.loads((FOLDER / "texts.json").read_text())
    sequences = [model.tokenize([text])["input_ids"][0].tolist() for text in texts]
    embeddings = model.encode(texts, batch_size=1, convert_to_numpy=True)
    save_file(
        {**pack(sequences), "embeddings": embeddings.astype(numpy.float32)},
        FOLDER / "minilm.safetensors",
    )


@dataclasses.dataclass
class Case:
    """One random checkpoint: what its config says and how its weights are stored."""

    name: str
    dtype: torch.dtype
    lengths: list
    config: dict
    labels: list = dataclasses.field(default_factory=list)
    problem_type: str | None = None


VOCABULARY = 199

CASES = [
    # Every length of a small model; twelve labels, whose numbers sort differently as text.
    Case(
        "single_label_gelu_f32",
        torch.float32,
        list(range(1, 65)),
        dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=77,
             hidden_act="gelu", max_position_embeddings=64, layer_norm_eps=1e-12),
        labels=[f"label {i}" for i in range(12)],
    ),
    Case(
        "multi_label_gelu_new_f16",
        torch.float16,
        list(range(1, 97, 5)) + [96],
        dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=101,
             hidden_act="gelu_new", max_position_embeddings=96, layer_norm_eps=1e-5),
        labels=["toxic", "spam", "off topic"],
        problem_type="multi_label_classification",
    ),
    Case(
        "regression_relu_bf16",
        torch.bfloat16,
        [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257,
         300, 383, 384, 400, 500, 511, 512],
        dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=255,
             hidden_act="relu", max_position_embeddings=512, layer_norm_eps=1e-12),
        labels=["stars"],
        problem_type="regression",
    ),
    # Several outputs, two labels (transformers leaves the default id2label out of config.json).
    Case(
        "two_labels_heads_of_8_bf16",
        torch.bfloat16,
        list(range(1, 49, 3)) + [48],
        dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=129,
             hidden_act="gelu", max_position_embeddings=48, layer_norm_eps=1e-6),
        labels=["LABEL_0", "LABEL_1"],
    ),
    # A head size of 9: a multiple of nothing; one token type.
    Case(
        "regression_odd_sizes_f32",
        torch.float32,
        list(range(1, 41, 2)) + [40],
        dict(hidden_size=36, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37,
             hidden_act="gelu_new", max_position_embeddings=40, layer_norm_eps=1e-12,
             type_vocab_size=1),
        labels=["x", "y", "z", "w"],
        problem_type="regression",
    ),
    # No head: tensors without the prefix "bert.".
    Case(
        "encoder_gelu_f16",
        torch.float16,
        list(range(1, 81, 4)) + [80],
        dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=130,
             hidden_act="gelu", max_position_embeddings=80, layer_norm_eps=1e-12),
    ),
]


def randomize(model, generator):
    """Weights large enough that attention is sharp and no term of a formula can be missing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "embeddings" in name:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * 1.2 / parameter.shape[-1] ** 0.5)


def make_model(case, generator):
    config = transformers.BertConfig(vocab_size=VOCABULARY, **case.config)
    if not case.labels:
        model = transformers.BertModel(config)
    else:
        config.id2label = dict(enumerate(case.labels))
        config.label2id = {label: i for i, label in enumerate(case.labels)}
        config.problem_type = case.problem_type
        model = transformers.BertForSequenceClassification(config)
    randomize(model, generator)
    return model.to(case.dtype).eval()


def expected_of(model, sequences):
    """What the model says of each sequence alone, in its own precision."""
    rows = {"cls": [], "mean": [], "max": [], "last": [], "pooler": [], "logits": []}
    encoder = getattr(model, "bert", model)
    with torch.no_grad():
        for ids in sequences:
            batch = torch.tensor([ids])
            hidden = encoder(batch).last_hidden_state[0]
            rows["cls"].append(hidden[0])
            rows["mean"].append(hidden.mean(dim=0))
            rows["max"].append(hidden.max(dim=0).values)
            rows["last"].append(hidden[-1])
            rows["pooler"].append(encoder.pooler(hidden[None])[0])
            if encoder is not model:
                rows["logits"].append(model(batch).logits[0])
    return {key: torch.stack(value).float().numpy() for key, value in rows.items() if value}


def write_random(case, seed):
    generator = torch.Generator().manual_seed(seed)
    directory = FOLDER / "random" / case.name
    shutil.rmtree(directory, ignore_errors=True)
    model = make_model(case, generator)
    model.save_pretrained(directory)
    stored = type(model).from_pretrained(directory, dtype=torch.float64).eval()
    sequences = [
        torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()
        for length in case.lengths
    ]
    save_file({**pack(sequences), **expected_of(stored, sequences)},
              directory / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=pathlib.Path, required=True,
                        help="directory of all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    check_versions()
    torch.set_num_threads(1)
    write_minilm(arguments.minilm)
    for seed, case in enumerate(CASES):
        write_random(case, seed)


if __name__ == "__main__":
    main()
