#!/usr/bin/env python3
"""Writes context_pool/: what the C++ engine must compute of BERT with ContextPool.

    PYTHONPATH=../../training venv/bin/python make_context_pool_golden.py

with the environment of make_golden.py. The same versions write the same bytes.

context_pool/NAME/config.json and model.safetensors: a checkpoint with random weights as
transformers saves it, F32, F16 or BF16. There is no tokenizer.json, so `context_pool` says
num_prefix_tokens. expected.safetensors beside them, computed in double precision by
contextpool_training from the stored (rounded) weights, one sequence at a time, over m sequences of
`total` tokens together:

    token_ids     I32 [total]
    cu_lengths    I32 [m + 1], from 0 to total
    mean          F32 [m, hidden]: the mean over all tokens of the last layer, not normalised
    logits        F32 [m, labels]: of models with a head
    context_pool  F32 [layers with ContextPool, 2, total]: of each such layer, in rising order, the
                  pooling weights w (not their logarithms), then the support sizes sigma in tokens;
                  both are 0 for tokens that are passed through

Every option and value stands in at least one case. Each case is checked to be able to tell: with
any other value of an option (where that loads at all), without the clamps or without eps in the
cases made for those, and without ContextPool, mean or logits differ by more than FELT. It is also
checked that float32 suffices: they differ from double precision by less than NOISE.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import transformers
from contextpool_training import bert, context_pool
from make_golden import pack
from safetensors.numpy import save_file
from versions import FOLDER, check_versions

OUTPUT = FOLDER / "context_pool"
VOCABULARY = 97
# Relative to the largest value, or to 1. The engine must agree to 1e-4.
FELT = 2e-3
NOISE = 2e-5

SHORT = list(range(1, 33))
LONG = [*range(1, 35), 63, 64, 65, 95, 96, 97, 127, 128, 129, 191, 192, 193, 255, 256, 257, 300,
        383, 384, 385, 450, 510, 511, 512]  # fmt: skip
# Beyond SHORT: windows of more than 32 tokens, which are trimmed and packed.
FAR = [64, 97, 257, 512]
THREE = ["bad", "middling", "good"]
TOPICS = ["toxic", "spam", "off topic"]


@dataclasses.dataclass
class Case:
    """One checkpoint: its options, the rest of its config, and how its weights are made."""

    name: str
    dtype: torch.dtype
    context_pool: dict[str, Any]
    layers: int = 2
    hidden: int = 24
    lengths: list[int] = dataclasses.field(default_factory=lambda: SHORT)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: list[str] = dataclasses.field(default_factory=list)
    # What the second convolution's a and b are about: mean and spread.
    a: tuple[float, float] = (0.0, 2.0)
    b: tuple[float, float] = (0.5, 1.5)
    gamma: float = 0.7
    # Options, or options and values, that by the formula make no difference here.
    unfelt: tuple[str, ...] = ()
    # Constants of the formula that the case is made for, and a value that it must not mistake.
    constants: dict[str, float] = dataclasses.field(default_factory=dict)
    seed: int = 0


CASES = [
    # Every default. "auto" leaves out the last layer: the class token reads nothing of its pool.
    Case(
        "defaults_cls_f32", torch.float32, {"num_prefix_tokens": 1}, labels=THREE,
        config={"problem_type": "single_label_classification"},
    ),
    # No head, no prefix, sigma up to 50 tokens.
    Case(
        "long_sequences_bf16", torch.bfloat16,
        {"num_prefix_tokens": 0, "bottleneck": 9, "n_mode": "tokens"},
        layers=1, hidden=16, lengths=LONG, b=(-2.0, 1.5), unfelt=("prefix_tokens",),
        config={"max_position_embeddings": 512, "intermediate_size": 24},
    ),
    Case(
        "exp_mean_add_after_layer_relu_k5_f16", torch.float16,
        {"layers": "all", "placement": "after_layer", "kernel_size": 5, "bottleneck": 7,
         "activation": "relu", "weight_activation": "exp", "normalization": "mean",
         "n_mode": "side", "residual": "add", "num_prefix_tokens": 1},
        labels=TOPICS, a=(0.5, 1.0), lengths=SHORT + FAR,
        config={"classifier_pooling": "mean", "problem_type": "multi_label_classification",
                "max_position_embeddings": 512},
    ),
    # Sequences of 1 and 2 tokens consist of prefix only.
    Case(
        "softmax_none_gate_leaky_k1_prefix2_bf16", torch.bfloat16,
        {"layers": [0, 2], "kernel_size": 1, "bottleneck": 5, "activation": "leaky_relu",
         "weight_activation": "softmax", "normalization": "none", "r": 0.25, "residual": "gate",
         "num_prefix_tokens": 2},
        layers=3, labels=THREE, lengths=SHORT + FAR,
        config={"classifier_pooling": "cls", "max_position_embeddings": 512},
    ),
    # The class token is pooled, and so reads the last layer's pool: "auto" is all.
    Case(
        "one_softmax_size_identity_pool_prefix_f32", torch.float32,
        {"layers": "auto", "bottleneck": 3, "activation": "identity", "weight_activation": "one",
         "size_activation": "softmax", "r": 2.0, "prefix_tokens": "pool", "num_prefix_tokens": 1},
        labels=THREE, config={"classifier_pooling": "cls"}, unfelt=("num_prefix_tokens",),
    ),
    # "auto" is all here too: the mean reads every token.
    Case(
        "fixed_n_auto_mean_f16", torch.float16,
        {"layers": "auto", "bottleneck": 33, "activation": "gelu", "r": 0.05,
         "n_mode": {"fixed": 48}, "prefix_tokens": "pass_through", "num_prefix_tokens": 1},
        labels=["stars"], config={"classifier_pooling": "mean", "hidden_act": "gelu_new"},
    ),
    # Only the weights are learned.
    Case(
        "sigmoid_fixed_size_none_after_layer_f32", torch.float32,
        {"layers": "all", "placement": "after_layer", "bottleneck": 1,
         "weight_activation": "sigmoid", "size_activation": {"fixed": 1.5},
         "normalization": "none", "num_prefix_tokens": 0},
        unfelt=("r ", "n_mode", "prefix_tokens"),
    ),
    # Nothing is learned: no convolutions.
    Case(
        "blur_f16", torch.float16,
        {"layers": "all", "weight_activation": "one", "size_activation": {"fixed": 0.76},
         "num_prefix_tokens": 1},
        labels=THREE, config={"classifier_pooling": "mean"}, unfelt=("activation", "r ", "n_mode"),
    ),
    # gamma is the only tensor.
    Case(
        "blur_gate_after_layer_bf16", torch.bfloat16,
        {"layers": [1], "placement": "after_layer", "weight_activation": "one",
         "size_activation": {"fixed": 3.0}, "residual": "gate", "num_prefix_tokens": 0},
        lengths=SHORT + FAR, gamma=-0.6, config={"max_position_embeddings": 512},
        unfelt=("activation", "r ", "n_mode", "prefix_tokens"),
    ),
    # Both bounds of the weights act in every longer sequence.
    Case(
        "extreme_weights_f32", torch.float32,
        {"layers": "all", "bottleneck": 8, "weight_activation": "exp", "num_prefix_tokens": 1},
        a=(0.0, 5000.0), constants={"MIN_LOG_WEIGHT": -200.0, "MAX_LOG_WEIGHT": 40.0},
        unfelt=("weight_activation softmax",), seed=1,
    ),
    # From 1e-7 to 1e6 tokens.
    Case(
        "extreme_sizes_f32", torch.float32,
        {"layers": "all", "bottleneck": 8, "n_mode": {"fixed": 1e7}, "num_prefix_tokens": 1},
        b=(-14.0, 12.0),
    ),
    # Weights so unequal that eps decides whom a token with a small support sees.
    Case(
        "eps_f32", torch.float32,
        {"layers": "all", "bottleneck": 8, "weight_activation": "exp",
         "size_activation": {"fixed": 0.1}, "num_prefix_tokens": 1},
        a=(-28.0, 40.0), constants={"EPS": 0.0},
        unfelt=("weight_activation softmax", "r ", "n_mode"), seed=1,
    ),
]  # fmt: skip

OTHER_VALUES: dict[str, list[Any]] = {
    "layers": ["auto", "all", [0], [1]],
    "placement": ["after_attention", "after_layer"],
    "activation": ["gelu", "relu", "leaky_relu", "identity"],
    "weight_activation": ["sigmoid", "exp", "softmax", "one"],
    "size_activation": ["sigmoid", "softmax", {"fixed": 1.0}, {"fixed": 2.0}],
    "normalization": ["sum", "mean", "none"],
    "r": [0.1, 0.2],
    "n_mode": [{"fixed": 9}, {"fixed": 20}],
    "residual": ["none", "add", "gate"],
    "prefix_tokens": ["pass_through", "pool"],
    "num_prefix_tokens": [0, 1, 2],
}


def config_of(case: Case) -> transformers.BertConfig:
    config = transformers.BertConfig(
        **{
            "vocab_size": VOCABULARY, "hidden_size": case.hidden, "num_hidden_layers": case.layers,
            "num_attention_heads": 2, "intermediate_size": 40, "max_position_embeddings": 32,
            "context_pool": case.context_pool, **case.config,
        }
    )  # fmt: skip
    if case.labels:
        config.id2label = dict(enumerate(case.labels))
        config.label2id = {label: i for i, label in enumerate(case.labels)}
    return config


def make(case: Case, config: transformers.BertConfig) -> bert.AnyBert:
    cls = bert.BertForSequenceClassification if case.labels else bert.BertModel
    return cls(config).eval()


def randomize(case: Case, model: bert.AnyBert, generator: torch.Generator) -> None:
    """Weights large enough that no term of a formula can be missing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.fill_(case.gamma)
            elif name.endswith("conv2.bias"):
                parameter.copy_(torch.tensor([case.a[0], case.b[0]]) + 0.1 * noise)
            elif name.endswith("conv2.weight"):
                spread = torch.tensor([case.a[1], case.b[1]]).view(2, 1, 1)
                parameter.copy_(noise * spread / (noise[0].numel() / 2) ** 0.5)
            elif "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "embeddings" in name:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_(noise * 1.2 / noise[0].numel() ** 0.5)


def expected_of(model: bert.AnyBert, sequences: list[list[int]]) -> dict[str, torch.Tensor]:
    """What the model says of each sequence alone, in its own precision."""
    encoder = getattr(model, "bert", model)
    mean, logits, support = [], [], []
    with torch.no_grad():
        for ids in sequences:
            batch = torch.tensor([ids])
            mean.append(encoder(batch).last_hidden_state[0].mean(dim=0))
            support.append(bert.support_of(encoder, batch)[:, :, 0])
            if encoder is not model:
                logits.append(model(batch).logits[0])
    rows = {"mean": torch.stack(mean), "context_pool": torch.cat(support, dim=2)}
    return {**rows, "logits": torch.stack(logits)} if logits else rows


def distance(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The largest difference of what the model is for."""
    return max(
        float((others[key] - ones[key]).abs().max() / ones[key].abs().max().clamp(min=1))
        for key in ("mean", "logits")
        if key in ones
    )


def mistaken(case: Case, stored: bert.AnyBert) -> Iterator[tuple[str, bert.AnyBert]]:
    """The same weights under another config, as far as they suffice."""
    own = bert.options_of(stored.config).to_dict()
    for key, values in OTHER_VALUES.items():
        for value in values:
            if not f"{key} {value}".startswith(case.unfelt):
                yield from reread(case, stored, f"{key} {value}", {**own, key: value})
    yield from reread(case, stored, "no ContextPool", None)
    if case.labels:
        own_pooling = bert.classifier_pooling_of(stored.config)
        other = "mean" if own_pooling == "cls" else "cls"
        layers = list(bert.layers_of(stored.config, True))
        yield from reread(case, stored, other, {**own, "layers": layers}, classifier_pooling=other)


def reread(
    case: Case, stored: bert.AnyBert, name: str, options: dict[str, Any] | None, **others: Any
) -> Iterator[tuple[str, bert.AnyBert]]:
    config = config_of(case)
    config.context_pool = options
    for key, value in others.items():
        setattr(config, key, value)
    try:
        model = make(case, config).double()
    except ValueError:
        return  # names a layer that is not there
    tensors = stored.state_dict()
    missing = [key for key in model.state_dict() if key not in tensors]
    same = bert.options_of(config) == bert.options_of(stored.config) and not others
    same_layers = options and bert.layers_of(config, bool(case.labels)) == bert.layers_of(
        stored.config, bool(case.labels)
    )
    if missing or same or (name.startswith("layers") and same_layers):
        return
    model.load_state_dict(tensors, strict=False)
    yield name, model


def check(
    case: Case,
    stored: bert.AnyBert,
    expected: dict[str, torch.Tensor],
    sequences: list[list[int]],
) -> None:
    for name, model in mistaken(case, stored):
        found = distance(expected, expected_of(model, sequences))
        print(f"  {found:9.2g} {name}")
        assert found > FELT, f"{case.name} cannot tell {name}"
    for name, value in case.constants.items():
        with mock.patch.object(context_pool, name, value):
            found = distance(expected, expected_of(stored, sequences))
        print(f"  {found:9.2g} {name} {value}")
        assert found > FELT, f"{case.name} cannot tell {name}"


def write(case: Case, number: int) -> None:
    generator = torch.Generator().manual_seed(100 * number + case.seed)
    directory = OUTPUT / case.name
    model = make(case, config_of(case))
    randomize(case, model, generator)
    model.to(case.dtype).save_pretrained(directory)
    stored = bert.load(directory, torch.float64)
    sequences = [
        torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()
        for length in case.lengths
    ]
    expected = expected_of(stored, sequences)
    noise = distance(expected, expected_of(bert.load(directory, torch.float32), sequences))
    sizes = expected["context_pool"][:, 1]
    print(f"{case.name}: float32 {noise:.1e}, support up to {float(sizes.max()):.3g}")
    assert noise < NOISE, f"{case.name} is too much for float32"
    check(case, stored, expected, sequences)
    rows = {key: value.float().numpy() for key, value in expected.items()}
    save_file({**pack(sequences), **rows}, directory / "expected.safetensors")


def main() -> None:
    check_versions()
    torch.set_num_threads(1)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for number, case in enumerate(CASES):
        write(case, number)


if __name__ == "__main__":
    main()
