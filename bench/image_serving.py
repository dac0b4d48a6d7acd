"""Whether decoding images and computing on them overlap, seen in the server's own stage metrics.

The server decodes with one thread and computes with another. Each round measures the same calls
twice: one at a time, where an image is decoded first and computed then, and several at a time. If
the stages did not overlap, the seconds of both stages together could not exceed the wall time.

The model is a ViT of 12 layers with random weights that reads 224 x 224 pixels; the photos are JPEG
files of so many pixels that decoding takes about as long as computing. No two that are under way at
the same time are equal: those would be computed once.
"""

import argparse
import concurrent.futures
import io
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

import load  # noqa: F401  (finds the harness)
from harness import Server, embed_request, generate_stubs
from host import cpu_model, pin, revision
from image import picture

MODEL = "vit"
HIDDEN, HEADS, LAYERS, PATCH, SIDE = 192, 3, 12, 16, 224
STAGES = {"decode_image": "decoding", "compute": "computing"}


def linear(rng: np.random.Generator, name: str, rows: int, columns: int) -> dict:
    weight = rng.normal(0, 0.02, (rows, columns)).astype(np.float32)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(rows, np.float32)}


def norm(name: str) -> dict:
    return {f"{name}.weight": np.ones(HIDDEN, np.float32),
            f"{name}.bias": np.zeros(HIDDEN, np.float32)}  # fmt: skip


def write_model(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    tensors = linear(rng, "embeddings.patch_embeddings.projection", HIDDEN, 3 * PATCH * PATCH)
    name = "embeddings.patch_embeddings.projection.weight"
    tensors[name] = tensors[name].reshape(HIDDEN, 3, PATCH, PATCH)
    tensors["embeddings.cls_token"] = np.zeros((1, 1, HIDDEN), np.float32)
    tokens = 1 + (SIDE // PATCH) ** 2
    tensors["embeddings.position_embeddings"] = rng.normal(0, 0.02, (1, tokens, HIDDEN)).astype(
        np.float32
    )
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            tensors |= linear(rng, f"{prefix}attention.{part}", HIDDEN, HIDDEN)
        tensors |= linear(rng, f"{prefix}intermediate.dense", 4 * HIDDEN, HIDDEN)
        tensors |= linear(rng, f"{prefix}output.dense", HIDDEN, 4 * HIDDEN)
        tensors |= norm(f"{prefix}layernorm_before") | norm(f"{prefix}layernorm_after")
    save_file(tensors | norm("layernorm"), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "model_type": "vit", "architectures": ["ViTModel"], "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": 4 * HIDDEN, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "image_size": SIDE, "patch_size": PATCH,
    }))  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE},
    }))  # fmt: skip


def photos(width: int, height: int, count: int) -> list[bytes]:
    """The same picture, rolled."""
    pixels = picture(width, height)
    files = [io.BytesIO() for _ in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(np.roll(pixels, 64 * i, axis=1)).save(file, "JPEG", quality=90)
    return [file.getvalue() for file in files]


def stage_seconds(server: Server) -> dict[str, float]:
    page = server.metrics()
    return {stage: page.value("contextpool_stage_duration_seconds_sum", model=MODEL, stage=stage)
            for stage in STAGES}  # fmt: skip


def measure(
    server: Server, requests: list[bytes], calls: int, at_a_time: int
) -> dict[str, float]:
    """Wall seconds, and those of each stage."""
    client = server.client()
    before = stage_seconds(server)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        method = "/contextpool.v1.EmbeddingService/Embed"
        list(pool.map(lambda i: client.raw(method, requests[i % len(requests)]), range(calls)))
    wall = time.monotonic() - began
    client.close()
    after = stage_seconds(server)
    return {"wall": wall} | {stage: after[stage] - before[stage] for stage in STAGES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--at_a_time", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(2880, 2160), metavar=("W", "H"))
    args = parser.parse_args()
    cpus = pin(2)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "stubs").mkdir()
        generate_stubs(folder / "stubs")
        (folder / "models" / MODEL).mkdir(parents=True)
        write_model(folder / "models" / MODEL)
        requests = [embed_request([file], MODEL).SerializeToString()
                    for file in photos(*args.size, count=2 * args.at_a_time)]  # fmt: skip
        server = Server(folder / "server", [folder / "models"], "--threads=1",
                        "--decode_threads=1")  # fmt: skip
        try:
            print(f"{cpu_model()}, CPUs {cpus}, revision {revision()}; JPEG {args.size[0]} x "
                  f"{args.size[1]}, {args.calls} calls a round, medians of {args.rounds} rounds\n")
            report(args, server, requests)
        finally:
            server.stop()


def report(args: argparse.Namespace, server: Server, requests: list[bytes]) -> None:
    print("| calls at a time | images/s | decoding, s | computing, s | wall, s "
          "| both stages / wall |\n|---|---|---|---|---|---|")  # fmt: skip
    measure(server, requests, args.calls // 4, args.at_a_time)
    loads = (1, args.at_a_time)
    rounds = [{load: measure(server, requests, args.calls, load) for load in loads}
              for _ in range(args.rounds)]  # fmt: skip
    for at_a_time in loads:
        found = [round[at_a_time] for round in rounds]
        median = {key: statistics.median(row[key] for row in found) for key in found[0]}
        shares = [sum(row[stage] for stage in STAGES) / row["wall"] for row in found]
        print(f"| {at_a_time} | {args.calls / median['wall']:.1f} | {median['decode_image']:.2f} "
              f"| {median['compute']:.2f} | {median['wall']:.2f} | {statistics.median(shares):.2f} "
              f"({min(shares):.2f}-{max(shares):.2f}) |")  # fmt: skip


if __name__ == "__main__":
    main()
