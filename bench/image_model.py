"""Image models with random weights beside other engines on the same CPUs, call by call in one run.

All get the same images of 224 x 224 and compute the same embeddings: ViT's of its first token,
ResNet's mean. They must agree to 1e-4 before a time counts. PyTorch runs eagerly, with its fused
attention; the ONNX files that the others read are exported for one number of images each, which
spares them shapes that change. Ours begins at bytes, the others at normalised floats.

Ratios are theirs / ours within a round: above 1 ours is faster. Beside the wall time stands the
processor time of all threads together, which remains comparable when other programs share the
machine.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
import transformers

import host
import peers

SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOLERANCE = 1e-4
# Between calls, so that threads that still spin for more work do not meet the next program.
PAUSE_SECONDS = 0.05
OURS = "contextpool"
MODELS = {
    "ViT-B/16": transformers.ViTConfig(),
    "ResNet-18": transformers.ResNetConfig(
        layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2]),
    "ResNet-50": transformers.ResNetConfig(
        layer_type="bottleneck", hidden_sizes=[256, 512, 1024, 2048], depths=[3, 4, 6, 3]),
}  # fmt: skip


@dataclasses.dataclass
class Call:
    wall_ms: float
    processor_ms: float
    embeddings: np.ndarray  # [images, dimensions]


class Ours:
    def __init__(self, program: str, folder: str, threads: int) -> None:
        command = [program, folder, f"--threads={threads}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, pixels: np.ndarray) -> Call:
        self.process.stdin.write(f"{len(pixels)}\n".encode() + pixels.tobytes())
        self.process.stdin.flush()
        wall, processor, *values = map(float, self.process.stdout.readline().split())
        return Call(wall, processor, np.array(values).reshape(len(pixels), -1))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Embedder(torch.nn.Module):
    """pixels [images, 3, height, width] -> embeddings [images, dimensions]."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        output = self.model(pixel_values)
        if self.model.config.model_type == "vit":
            return output.last_hidden_state[:, 0]
        return output.pooler_output.flatten(1)


class Torch:
    def __init__(self, embedder: Embedder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.embedder = embedder

    @torch.inference_mode()
    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.embedder(torch.from_numpy(inputs["pixel_values"])).numpy()


class Peer:
    def __init__(self, engine) -> None:
        self.engine = engine

    def __call__(self, pixels: np.ndarray) -> Call:
        values = (pixels / np.float32(255) - MEAN) / STD
        x = np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)
        wall, processor = time.perf_counter(), time.process_time()
        embeddings = self.engine.run({"pixel_values": x})
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return Call(1e3 * wall, 1e3 * processor, embeddings.copy())


def make_model(config: transformers.PreTrainedConfig, folder: str) -> Embedder:
    torch.manual_seed(1)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    (pathlib.Path(folder) / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": MEAN.tolist(),
        "image_std": STD.tolist(),
    }))  # fmt: skip
    return Embedder(model).eval()


def export(embedder: Embedder, images: int, file: pathlib.Path) -> None:
    torch.onnx.export(
        embedder,
        (torch.zeros(images, 3, SIDE, SIDE),),
        str(file),
        input_names=["pixel_values"],
        output_names=["embeddings"],
        opset_version=17,
        dynamo=False,
    )


def load_peers(embedder: Embedder, images: int, folder: str, threads: int) -> dict[str, Peer]:
    file = pathlib.Path(folder) / f"{images}.onnx"
    export(embedder, images, file)
    engines = {"torch": Torch(embedder, threads)}
    for name, engine in peers.ONNX_ENGINES.items():
        engines[name] = engine(file, threads)
    return {name: Peer(engine) for name, engine in engines.items()}


def check(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    if ours.shape != theirs.shape:
        raise SystemExit(f"embeddings of {ours.shape}, but {theirs.shape} from {name}")
    error = np.max(np.abs(ours - theirs) / np.maximum(1, np.abs(theirs)))
    if not error < TOLERANCE:
        raise SystemExit(f"the embeddings differ by {error:.2g} from {name}'s")


def measure(programs: dict, pixels: np.ndarray, rounds: int) -> dict[str, list[Call]]:
    """Each program's calls, one a round, after an untimed one that is compared with ours."""
    first = {name: program(pixels) for name, program in programs.items()}
    for name, call in first.items():
        check(name, first[OURS].embeddings, call.embeddings)
    calls = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            time.sleep(PAUSE_SECONDS)
            calls[name].append(program(pixels))
    return calls


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(model: str, images: int, calls: dict[str, list[Call]]) -> None:
    for name, theirs in calls.items():
        row = [model, str(images), name]
        for key in ("wall_ms", "processor_ms"):
            times = [getattr(call, key) for call in theirs]
            mine = [getattr(call, key) for call in calls[OURS]]
            row.append(f"{statistics.median(times):.1f}")
            row.append("" if name == OURS else spread([t / m for t, m in zip(times, mine)]))
        print(f"| {' | '.join(row)} |", flush=True)


def compare(model: str, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        embedder = make_model(MODELS[model], folder)
        ours = Ours(arguments.image_model_bench, folder, arguments.threads)
        for images in arguments.images:
            others = load_peers(embedder, images, folder, arguments.threads)
            shape = (images, SIDE, SIDE, 3)
            pixels = np.random.default_rng(images).integers(0, 256, shape, np.uint8)
            calls = measure({OURS: ours, **others}, pixels, arguments.rounds)
            report(model, images, calls)
        ours.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_model_bench", required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    cpus = host.pin(arguments.threads)
    packages = ["torch", *peers.ONNX_ENGINES, "transformers"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"- {OURS} {host.revision()}; {versions}")
    print(f"- {host.cpu_model()}; {arguments.threads} threads on CPUs {cpus}; float32")
    print(f"- {arguments.rounds} interleaved rounds; embeddings agree to {TOLERANCE:.0e}\n")
    print("| model | images | program | median ms | ratio | CPU ms | ratio |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for model in arguments.models:
        compare(model, arguments)


if __name__ == "__main__":
    main()
