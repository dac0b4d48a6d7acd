"""Writes an image classifier as a directory that the server loads.

config.json, model.safetensors (float32, with Hugging Face's names), preprocessor_config.json,
README.md, and golden.safetensors: what the stored weights must give for a few images, which the
server can check when it loads them.
"""

import pathlib
import tempfile

import torch
from torch import Tensor
from transformers import BaseImageProcessor

from contextpool_training.export import check_finite, save, write_config
from contextpool_training.image_classifier import Architecture, ImageClassifier, load
from contextpool_training.images import ImageExamples, pixel_values_of

FILES = (
    "README.md", "config.json", "golden.safetensors", "model.safetensors",
    "preprocessor_config.json",
)  # fmt: skip


def export(
    directory: pathlib.Path,
    architecture: Architecture,
    model: ImageClassifier,
    processor: BaseImageProcessor,
    pixels: Tensor,
    card: str,
) -> None:
    """Files that are there already are replaced, once all new ones are complete. `pixels`: of the
    golden images, uint8 [images, height, width, 3]. Raises ValueError if the model's values are not
    finite."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new-") as name:
        folder = pathlib.Path(name)
        model.save_pretrained(folder)
        write_config(folder, model, "float32")
        processor.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        expected = golden(folder, architecture, processor, pixels)
        check_finite(expected)
        save(expected, folder / "golden.safetensors")
        for file in FILES:
            (folder / file).chmod(0o644)
            (folder / file).replace(directory / file)


def golden(
    directory: pathlib.Path,
    architecture: Architecture,
    processor: BaseImageProcessor,
    pixels: Tensor,
) -> dict[str, Tensor]:
    """pixels, embedding float32 [images, width] (what the classifier reads, not normalised) and
    logits float32 [images, labels], computed in float64 from the stored weights."""
    model = load(architecture, directory, torch.float64)
    values = pixel_values_of(pixels, processor, torch.float64)
    with torch.inference_mode():
        embedding = architecture.embedding_of(model, values)
        logits = model(values).logits
    return {"pixels": pixels, "embedding": embedding.float(), "logits": logits.float()}


def one_of_each_label(examples: ImageExamples, count: int = 10) -> Tensor:
    """The pixels of the first image of each label, and of at most so many labels."""
    first = [examples.labels.index(label) for label in sorted(set(examples.labels))]
    return examples.pixels[first[:count]]
