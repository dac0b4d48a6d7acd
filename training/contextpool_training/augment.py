"""Inserts ContextPool into an existing BERT directory so that at first it changes nothing.

In residual mode "gate" with gamma = 0 a pool's output is its input, and gamma still has a gradient:
the model gives what it gave, and training takes it from there.
"""

import argparse
import json
import pathlib
import shutil
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig

from contextpool_training.arguments import seed as seed_of
from contextpool_training.bert import layers_of
from contextpool_training.context_pool import ContextPool
from contextpool_training.options import CHOICES, FIXED, ContextPoolOptions, Fixed
from contextpool_training.settings import Range, check, flag_of
from contextpool_training.texts import prefix_tokens_in, read_tokenizer

WEIGHTS = "model.safetensors"
# What each option of ContextPool says; docs/contextpool.md says more.
_HELP = {
    "placement": "where in a layer the pool stands",
    "kernel_size": "tokens that each convolution sees, an odd number",
    "bottleneck": "channels between the two convolutions",
    "activation": "between the two convolutions",
    "weight_activation": "what makes a pooling weight of the second convolution's first output",
    "size_activation": "what makes a support size of its second output",
    "normalization": "what the weighted sum is divided by",
    "n_mode": "the length that support sizes are a share of",
    "prefix_tokens": "whether the special tokens before a text are pooled",
    "num_prefix_tokens": "how many those are; left out: what tokenizer.json says",
}
# The same weights in other formats, which the new tensors are not in.
_OTHER_WEIGHTS = shutil.ignore_patterns(
    "pytorch_model*", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "onnx", "openvino",
    "*.onnx", ".git", ".cache",
)  # fmt: skip


def augment(
    directory: pathlib.Path,
    out: pathlib.Path,
    options: ContextPoolOptions | None = None,
    typical_length: float = 32,
    seed: int = 0,
) -> tuple[int, ...]:
    """Copies `directory` to `out`, with ContextPool in the layers that it returns.

    `options.residual` becomes "gate", "auto" layers the ones that it means, and num_prefix_tokens,
    if None, what tokenizer.json says. Tensors are added in the dtype of the others, which stay as
    they are. `typical_length`: of the texts to train on; see ContextPool. Raises ValueError or
    OSError, which names the file, before anything is written.
    """
    check("typical_length", typical_length, Range(0, above=True))
    partial = out.with_name(out.name + ".partial")
    for folder in (out, partial):
        if folder.exists():
            raise ValueError(f"{folder} exists: delete it, or give another OUT")
    config = _read_config(directory)
    tensors, metadata = _read_weights(directory)
    values = (options or ContextPoolOptions()).to_dict() | {"residual": "gate"}
    if "num_prefix_tokens" not in values and values["prefix_tokens"] != "pool":
        values["num_prefix_tokens"] = _prefix_tokens(directory)
    config["context_pool"] = values
    layers = _layers_of(directory, config)
    values["layers"] = list(layers)
    settled = ContextPoolOptions.from_dict(values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in layers:
            tensors |= _new_tensors(directory, tensors, index, settled, typical_length)
    try:
        shutil.copytree(directory, partial, ignore=_OTHER_WEIGHTS)
        save_file(tensors, partial / WEIGHTS, metadata=metadata)
        (partial / WEIGHTS).chmod(0o644)
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (partial / "config.json").write_text(text + "\n", encoding="utf-8")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return layers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the `augment` command."""
    default = ContextPoolOptions()
    parser.add_argument("directory", metavar="DIR", type=pathlib.Path, help="of the existing model")
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder to be written")
    parser.add_argument(
        "--layers", default="auto", help="auto, all, or 0-based indices with commas between"
    )
    for key in ("kernel_size", "bottleneck", "num_prefix_tokens"):
        parser.add_argument(flag_of(key), type=int, default=getattr(default, key), help=_HELP[key])
    parser.add_argument("--r", type=float, default=default.r, help="support size per token of text")
    for key, choices in CHOICES.items():
        if key == "residual":
            continue
        more = f": {', '.join(choices)}, or a number that is then fixed" if key in FIXED else ""
        parser.add_argument(
            flag_of(key),
            default=getattr(default, key),
            type=_number_or_word if key in FIXED else str,
            choices=None if key in FIXED else choices,
            metavar="CHOICE" if key in FIXED else None,
            help=_HELP[key] + more,
        )
    parser.add_argument(
        "--typical-length",
        type=float,
        default=32,
        help="tokens of the texts to train on; the first support sizes are about 1 token there",
    )
    parser.add_argument("--seed", type=seed_of, default=0, help="of the new convolutions")


def run(args: argparse.Namespace) -> None:
    given = {
        key: getattr(args, key)
        for key in (*CHOICES, "kernel_size", "bottleneck", "r", "num_prefix_tokens")
        if key != "residual"
    }
    options = ContextPoolOptions(layers=_layers(args.layers), **given)
    layers = augment(args.directory, args.out, options, args.typical_length, args.seed)
    print(f"wrote {args.out}: ContextPool in layers {', '.join(map(str, layers))}, gamma 0")


def _read_config(directory: pathlib.Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") != "bert":
        raise ValueError(f'{path} does not say "model_type": "bert": only BERT can be augmented')
    if "context_pool" in config:
        raise ValueError(f"{path} has a context_pool already: train that model, or start anew")
    return config


def _read_weights(directory: pathlib.Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    path = directory / WEIGHTS
    if not path.exists():
        raise ValueError(
            f"{path} is missing: save the model in one such file with "
            "save_pretrained(..., safe_serialization=True)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _prefix_tokens(directory: pathlib.Path) -> int:
    path = directory / "tokenizer.json"
    if not path.exists():
        raise ValueError(
            f"{path} is missing: say with --num-prefix-tokens how many special tokens stand before "
            "a text"
        )
    return prefix_tokens_in(read_tokenizer(path))


def _layers_of(directory: pathlib.Path, config: dict[str, Any]) -> tuple[int, ...]:
    """Those to be given a pool; at least one."""
    path = directory / "config.json"
    try:
        known = BertConfig(**config)
    except Exception as error:  # transformers has many
        raise ValueError(f"{path} is not the configuration of a BERT: {error}") from error
    layers = layers_of(known)
    if not layers:
        raise ValueError(
            f"--layers auto chooses none of {path}'s {known.num_hidden_layers} layers: only the "
            "class token of the last one is read, and it stays out of the pool. Give --layers all "
            "with --prefix-tokens pool"
        )
    return layers


def _new_tensors(
    directory: pathlib.Path,
    tensors: dict[str, Tensor],
    index: int,
    options: ContextPoolOptions,
    typical_length: float,
) -> dict[str, Tensor]:
    layer = f"encoder.layer.{index}."
    known = f"{layer}attention.self.query.weight"
    names = [name for name in (known, f"bert.{known}") if name in tensors]
    if not names:
        path = directory / WEIGHTS
        raise ValueError(f"{path} lacks {known}, with or without bert. before")
    prefix = names[0].removesuffix(known)
    pool = ContextPool(tensors[names[0]].shape[-1], options, typical_length=typical_length)
    return {
        f"{prefix}{layer}context_pool.{name}": value.to(tensors[names[0]].dtype).contiguous()
        for name, value in pool.state_dict().items()
    }


def _number_or_word(text: str) -> Fixed | str:
    try:
        return Fixed(float(text))
    except ValueError:
        return text


def _layers(text: str) -> Any:
    if text in ("auto", "all"):
        return text
    try:
        return tuple(int(index) for index in text.split(","))
    except ValueError:
        raise ValueError(f"--layers is {text}: auto, all, or indices like 0,1,2") from None
