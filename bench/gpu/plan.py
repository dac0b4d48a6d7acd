"""Which cases are run: names and arguments only, so that listing them needs no PyTorch."""

import dataclasses
import random
import re
from typing import Any


@dataclasses.dataclass(frozen=True)
class Planned:
    # module.function that makes the case.
    kernel: str
    shape: str
    dtype: str
    arguments: dict[str, Any]
    # Whether torch.compile is among the peers.
    compiles: bool = True

    @property
    def name(self) -> str:
        return f"{self.kernel.split('.')[1]} {self.shape} {self.dtype}"


def mixed(count: int, shortest: int, longest: int) -> list[int]:
    """Lengths as a queue of texts has them: most are short."""
    numbers = random.Random(7)
    span = longest - shortest
    return [shortest + int(span * numbers.random() ** 3) for _ in range(count)]


# Name and lengths of batches.
BATCHES = {
    "1x128": [128],
    "32x128": [128] * 32,
    "128x128": [128] * 128,
    "8x512": [512] * 8,
    "32x512": [512] * 32,
    "256x16": [16] * 256,
    "4096x1": [1] * 4096,
    "mixed": mixed(40, 4, 512),
}


def batch(name: str) -> tuple[str, list[int]]:
    lengths = BATCHES[name]
    shown = name if name != "mixed" else f"{len(lengths)} of 4-512, {sum(lengths)} in all"
    return shown, lengths


def layer_norms(sizes: list[tuple[int, int]], dtype: str) -> list[Planned]:
    return [
        Planned(
            "row_cases.layer_norm",
            f"{tokens} x {columns}",
            dtype,
            {"tokens": tokens, "columns": columns},
        )
        for tokens, columns in sizes
    ]


def activations(sizes: list[tuple[int, int]], dtype: str) -> list[Planned]:
    return [
        Planned(
            "row_cases.bias_activation",
            f"{tokens} x {columns} gelu",
            dtype,
            {"tokens": tokens, "columns": columns},
        )
        for tokens, columns in sizes
    ]


def per_batch(
    kernel: str, batches: list[str], columns: int, dtype: str, **more: Any
) -> list[Planned]:
    found = []
    for name in batches:
        shown, lengths = batch(name)
        found.append(
            Planned(
                f"row_cases.{kernel}",
                f"{shown} x {columns}",
                dtype,
                {"lengths": lengths, "columns": columns, **more},
            )
        )
    return found


def attentions(
    batches: list[str], heads: int, head_size: int, dtype: str, flex: tuple[str, ...] = ()
) -> list[Planned]:
    found = []
    for name in batches:
        shown, lengths = batch(name)
        found.append(
            Planned(
                "attention_cases.attention",
                f"{shown}, {heads} heads of {head_size}",
                dtype,
                {
                    "lengths": lengths,
                    "heads": heads,
                    "head_size": head_size,
                    "flex": name in flex,
                },
            )
        )
    return found


def context_pools(
    batches: list[str], columns: int, sigmas: list[str], dtype: str, flex: bool = False
) -> list[Planned]:
    """`sigmas`: support sizes in tokens; "0.1n" of the longest sequence."""
    found = []
    for name in batches:
        shown, lengths = batch(name)
        for sigma in sigmas:
            mean = 0.1 * max(lengths) if sigma == "0.1n" else float(sigma)
            found.append(
                Planned(
                    "context_pool_cases.context_pool",
                    f"{shown} x {columns}, sigma {sigma}",
                    dtype,
                    {
                        "lengths": lengths,
                        "columns": columns,
                        "sigma": mean,
                        "grid_width": 0,
                        "flex": flex,
                    },
                )
            )
    return found


def context_pool_grid(images: int, side: int, columns: int, sigma: float, dtype: str) -> Planned:
    return Planned(
        "context_pool_cases.context_pool",
        f"{images} images of {side}x{side} x {columns}, sigma {sigma:g}",
        dtype,
        {
            "lengths": [side * side] * images,
            "columns": columns,
            "sigma": sigma,
            "grid_width": side,
            "flex": True,
        },
    )


def supports(batches: list[str], dtype: str) -> list[Planned]:
    found = []
    for name in batches:
        shown, lengths = batch(name)
        found.append(
            Planned(
                "context_pool_cases.context_pool_support",
                f"{shown}, 3 taps of 32",
                dtype,
                {"lengths": lengths, "bottleneck": 32, "kernel_size": 3},
            )
        )
    return found


def images(count: int, side: int, patch: int, columns: int, dtype: str) -> list[Planned]:
    tokens = (side // patch) ** 2 + 1
    return [
        Planned(
            "row_cases.im2col",
            f"{count} images of {side}x{side}, patches of {patch}",
            dtype,
            {"images": count, "side": side, "patch": patch},
        ),
        Planned(
            "row_cases.patch_tokens",
            f"{count} x {tokens} x {columns}",
            dtype,
            {"images": count, "tokens": tokens, "columns": columns},
        ),
    ]


MODELS = {
    "MiniLM-L6": {"hidden": 384, "layers": 6, "heads": 12, "intermediate": 1536},
    "BERT-base": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072},
    "ViT-B/16": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072, "image": 224},
}


def whole_models(name: str, sizes: list[str], pools: bool, dtype: str) -> list[Planned]:
    """`sizes`: batches of texts, or numbers of images."""
    architecture = MODELS[name] | {"context_pool": pools}
    called = f"{name} with ContextPool" if pools else name
    found = []
    for size in sizes:
        if "image" in architecture:
            shape, function = f"{called}, {size} images", "vit"
            arguments: dict[str, Any] = {"images": int(size)}
        else:
            shown, lengths = batch(size)
            shape, function = f"{called}, {shown}", "bert"
            arguments = {"lengths": lengths}
        arguments["architecture"] = architecture
        found.append(Planned(f"model_cases.{function}", shape, dtype, arguments))
    return found


SMALL_TO_LARGE = [(tokens, columns) for columns in (384, 768) for tokens in (128, 4096, 16384)]


def quick() -> list[Planned]:
    """One or two cases of each kernel."""
    return [
        *context_pools(["8x512"], 768, ["3", "0.1n"], "bf16", flex=True),
        *context_pools(["mixed"], 768, ["3"], "bf16", flex=True),
        *attentions(["32x128", "8x512"], 12, 64, "bf16", flex=("8x512",)),
        *attentions(["256x16", "mixed"], 12, 64, "bf16"),
        *attentions(["32x128"], 12, 32, "bf16"),
        *supports(["32x128"], "bf16"),
        *layer_norms([(4096, 768), (16384, 768)], "bf16"),
        *activations([(4096, 3072)], "bf16"),
        *per_batch("embedding", ["32x128"], 768, "bf16"),
        *per_batch("pool", ["128x128"], 768, "bf16"),
        *images(64, 224, 16, 768, "bf16"),
        *whole_models("MiniLM-L6", ["1x128", "32x128"], False, "bf16"),
        *whole_models("BERT-base", ["32x128"], False, "bf16"),
        *whole_models("BERT-base", ["32x128"], True, "bf16"),
    ]


def full() -> list[Planned]:
    fp16 = [
        *context_pools(["8x512"], 768, ["3", "0.1n"], "fp16"),
        *attentions(["32x128", "8x512"], 12, 64, "fp16"),
        *supports(["32x128"], "fp16"),
        *layer_norms([(16384, 768)], "fp16"),
        *activations([(16384, 3072)], "fp16"),
        *per_batch("embedding", ["128x128"], 768, "fp16"),
        *per_batch("pool", ["128x128"], 768, "fp16"),
        *images(64, 224, 16, 768, "fp16"),
    ]
    rest = [
        *context_pools(["8x512"], 768, ["1", "10"], "bf16"),
        *context_pools(["32x128", "32x512"], 768, ["1", "3", "10", "0.1n"], "bf16"),
        *context_pools(["1x128", "mixed"], 768, ["3", "0.1n"], "bf16", flex=True),
        *context_pools(["256x16"], 768, ["3"], "bf16"),
        *context_pools(["32x128", "8x512"], 384, ["3", "0.1n"], "bf16"),
        context_pool_grid(32, 14, 768, 1.4, "bf16"),
        *attentions(["1x128", "128x128", "32x512", "4096x1"], 12, 64, "bf16"),
        *attentions(["1x128", "8x512", "256x16", "mixed"], 12, 32, "bf16"),
        *attentions(["32x128", "8x512", "256x16"], 6, 128, "bf16"),
        *supports(["1x128", "8x512", "32x512"], "bf16"),
        *layer_norms([size for size in SMALL_TO_LARGE if size != (16384, 768)], "bf16"),
        *activations([(tokens, 4 * columns) for tokens, columns in SMALL_TO_LARGE], "bf16"),
        *per_batch("embedding", ["1x128", "128x128"], 768, "bf16"),
        *per_batch("embedding", ["32x128", "128x128"], 384, "bf16"),
        *per_batch("pool", ["1x128", "32x128", "32x512"], 768, "bf16"),
        *per_batch("pool", ["128x128"], 384, "bf16"),
    ]
    texts = ["1x128", "32x128", "8x512", "mixed"]
    models = [
        *(
            case
            for name in ("BERT-base", "MiniLM-L6")
            for pools in (False, True)
            for case in whole_models(name, texts, pools, "bf16")
        ),
        *whole_models("ViT-B/16", ["1", "64"], False, "bf16"),
        *whole_models("ViT-B/16", ["1", "64"], True, "bf16"),
        *whole_models("BERT-base", ["32x128"], False, "fp16"),
    ]
    # Those of quick() first, but models one after the other, each loaded once.
    kernels = [case for case in quick() if not case.kernel.startswith("model_cases")]
    planned = [*kernels, *models, *fp16, *rest]
    return list({case.name: case for case in planned}.values())


def tiny() -> list[Planned]:
    """Each kernel once, as small as the emulator can take."""
    lengths = {"lengths": [37] * 2}
    uneven = {"lengths": [37, 70]}
    wide = {"columns": 64}
    small = {"hidden": 64, "layers": 2, "heads": 2, "intermediate": 128}
    pooled = {"sigma": 3.0, "grid_width": 0, "flex": False}
    cases = [
        ("context_pool_cases.context_pool", lengths | wide | pooled),
        ("context_pool_cases.context_pool", uneven | wide | pooled),
        ("context_pool_cases.context_pool_support", lengths | {"bottleneck": 8, "kernel_size": 3}),
        ("attention_cases.attention", lengths | {"heads": 2, "head_size": 32, "flex": False}),
        ("attention_cases.attention", uneven | {"heads": 1, "head_size": 64, "flex": False}),
        ("row_cases.layer_norm", {"tokens": 5} | wide),
        ("row_cases.bias_activation", {"tokens": 5} | wide),
        ("row_cases.embedding", uneven | wide),
        ("row_cases.pool", lengths | wide),
        ("row_cases.im2col", {"images": 1, "side": 32, "patch": 16}),
        ("row_cases.patch_tokens", {"images": 2, "tokens": 5} | wide),
        *(
            (kernel, arguments | {"architecture": architecture | {"context_pool": pools}})
            for pools in (False, True)
            for kernel, arguments, architecture in (
                ("model_cases.bert", uneven, small | {"vocabulary": 100, "positions": 80}),
                ("model_cases.vit", {"images": 2}, small | {"image": 32, "patch": 8}),
            )
        ),
    ]
    return [
        Planned(kernel, f"tiny {number}", dtype, arguments, compiles=False)
        for dtype in ("bf16", "fp16")
        for number, (kernel, arguments) in enumerate(cases)
    ]


PLANS = {"quick": quick, "full": full, "dry-run": tiny}


def chosen(name: str, only: str) -> list[Planned]:
    """Of a plan, the cases in whose name the regular expression `only` is found."""
    return [case for case in PLANS[name]() if re.search(only, case.name)]
