"""Writes a classifier as a directory that the server loads.

config.json, model.safetensors (float16), tokenizer.json, README.md, and golden.safetensors: what
the stored weights must give for a few texts, which the server can check when it loads them.
"""

import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from contextpool_training import bert
from contextpool_training.texts import encode

FILES = ("README.md", "config.json", "golden.safetensors", "model.safetensors", "tokenizer.json")


def export(
    directory: pathlib.Path,
    model: bert.BertForSequenceClassification,
    tokenizer: Tokenizer,
    golden_texts: Sequence[str],
    card: str,
) -> None:
    """Files that are there already are replaced, once all new ones are complete. Raises ValueError
    if the model's values are not finite."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as name:
        folder = pathlib.Path(name)
        _write(folder, model, tokenizer, golden_texts, card)
        for file in FILES:
            (folder / file).replace(directory / file)


def _write(
    directory: pathlib.Path,
    model: bert.BertForSequenceClassification,
    tokenizer: Tokenizer,
    golden_texts: Sequence[str],
    card: str,
) -> None:
    write_config(directory, model, "float16")
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save(weights, directory / "model.safetensors")
    (directory / "README.md").write_text(card, encoding="utf-8")
    expected = golden(directory, golden_texts)
    check_finite(expected)
    save(expected, directory / "golden.safetensors")


def write_config(directory: pathlib.Path, model: PreTrainedModel, dtype: str) -> None:
    """config.json with every value, also those that are transformers' defaults."""
    config = model.config.to_dict()
    config |= {"architectures": [type(model).__name__], "dtype": dtype}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / "config.json").write_text(text + "\n", encoding="utf-8")


def check_finite(expected: Mapping[str, Tensor]) -> None:
    """Of golden values. Raises ValueError."""
    for name in ("embedding", "logits"):
        if not expected[name].isfinite().all():
            raise ValueError(
                f"the model's golden {name} is not finite: train with a lower --learning-rate"
            )


def golden(directory: pathlib.Path, texts: Sequence[str]) -> dict[str, Tensor]:
    """input_ids int32 [tokens of all texts], cu_lengths int32 [texts + 1], embedding float32
    [texts, width] (the mean over all tokens of the last hidden state) and logits float32 [texts,
    labels], computed in float64 from the stored weights, one text at a time."""
    model = bert.load(directory, torch.float64)
    assert isinstance(model, bert.BertForSequenceClassification)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = encode(tokenizer, texts, model.config.max_position_embeddings)
    embeddings, logits = [], []
    with torch.inference_mode():
        for sequence in ids:
            output = model(torch.tensor([sequence]), output_hidden_states=True)
            embeddings.append(output.hidden_states[-1][0].mean(dim=0))
            logits.append(output.logits[0])
    lengths = torch.tensor([0] + [len(sequence) for sequence in ids])
    return {
        "input_ids": torch.tensor([i for sequence in ids for i in sequence], dtype=torch.int32),
        "cu_lengths": lengths.cumsum(0).to(torch.int32),
        "embedding": torch.stack(embeddings).float(),
        "logits": torch.stack(logits).float(),
    }


def spread(texts: Sequence[str], count: int = 8) -> list[str]:
    """So many of the texts, from the shortest to the longest in even steps."""
    order = sorted(texts, key=lambda text: (len(text), text))
    last = len(order) - 1
    places = sorted({round(i * last / max(1, count - 1)) for i in range(count)})
    return [order[place] for place in places]


def save(tensors: Mapping[str, Tensor], path: pathlib.Path) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes files that only their owner can read
