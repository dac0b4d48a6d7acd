"""Writes small BERT model directories with random weights, in the layout of Hugging Face."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN = 32
LAYERS = 2
BOTTLENECK = 8
MAX_TOKENS = 64
WORDS = "good bad fine awful great film book story the a was is not very quite".split()


def tokenizer():
    """The contents of a tokenizer.json: BERT's, with words, letters and word pieces of letters."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary += [letter for letter in letters if letter not in vocabulary]
    vocabulary += [f"##{letter}" for letter in letters]
    ids = {token: i for i, token in enumerate(vocabulary)}

    def special(token, type_id=0):
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def sequence(name, type_id):
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special("[CLS]"), sequence("A", 0), special("[SEP]")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[token], "special": True, "content": token, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False}
            for token in vocabulary[:5]
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                               for token in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    }


def weights(vocabulary_size, labels, rng, context_pool=False):
    def matrix(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    tensors = {}

    def dense(name, outputs, inputs):
        tensors[f"{name}.weight"] = matrix(outputs, inputs)
        tensors[f"{name}.bias"] = matrix(outputs)

    def norm(name):
        tensors[f"{name}.weight"] = 1 + matrix(HIDDEN)
        tensors[f"{name}.bias"] = matrix(HIDDEN)

    for table, rows in (("word", vocabulary_size), ("position", MAX_TOKENS), ("token_type", 2)):
        tensors[f"bert.embeddings.{table}_embeddings.weight"] = matrix(rows, HIDDEN)
    norm("bert.embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        dense(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", 2 * HIDDEN, HIDDEN)
        dense(f"{layer}.output.dense", HIDDEN, 2 * HIDDEN)
        norm(f"{layer}.output.LayerNorm")
        if context_pool:
            for conv, shape in (("conv1", (BOTTLENECK, HIDDEN, 3)), ("conv2", (2, BOTTLENECK, 3))):
                tensors[f"{layer}.context_pool.{conv}.weight"] = matrix(*shape)
                tensors[f"{layer}.context_pool.{conv}.bias"] = matrix(shape[0])
    dense("bert.pooler.dense", HIDDEN, HIDDEN)
    dense("classifier", labels, HIDDEN)
    return tensors


def write_classifier(directory: Path, labels, problem_type, seed=1, context_pool=False):
    """A BertForSequenceClassification with these labels, with ContextPool in all layers or none."""
    directory.mkdir(parents=True)
    vocabulary = tokenizer()
    size = len(vocabulary["model"]["vocab"])
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": MAX_TOKENS,
        "num_attention_heads": 2,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": size,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": problem_type,
    }
    if context_pool:
        config["context_pool"] = {"layers": "all", "bottleneck": BOTTLENECK}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text(json.dumps(vocabulary))
    tensors = weights(size, len(labels), np.random.default_rng(seed), context_pool)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def write_broken(directory: Path, good: Path):
    """A copy whose weights file lacks its end."""
    shutil.copytree(good, directory)
    weights_file = directory / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-1000])
