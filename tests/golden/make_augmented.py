#!/usr/bin/env python3
"""Writes augmented/: a tiny BERT, and what the `augment` command makes of it.

    PYTHONPATH=../../training python make_augmented.py

needs the packages of training/requirements.txt. augmented/original is a BertModel with random weights
as transformers saves it and the tokenizer.json of tests/integration/tiny_models.py;
augmented/augmented is what

    python -m contextpool_training augment augmented/original augmented/augmented

writes. Before any training both must give the same embeddings.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import torch
from transformers import BertConfig, BertModel

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "integration"))

import tiny_models  # noqa: E402


def write_original(directory):
    tokenizer = tiny_models.tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer["model"]["vocab"]),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        # Larger than usual, so that outputs are far apart.
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).eval().save_pretrained(directory)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")


def main():
    folder = FOLDER / "augmented"
    if folder.exists():
        shutil.rmtree(folder)
    original = folder / "original"
    write_original(original)
    command = ["augment", str(original), str(folder / "augmented"), "--bottleneck", "8"]
    subprocess.run([sys.executable, "-m", "contextpool_training", *command], check=True)


if __name__ == "__main__":
    main()
