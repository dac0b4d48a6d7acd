"""ResNets with random weights beside PyTorch on the same CPUs, call by call in one run.

Both get the same images of 224 x 224. Their embeddings must agree to 1e-4 before a time counts.
Ratios above 1: ours is faster. Beside the wall time stands the processor time of all threads
together, which remains comparable when other programs share the machine.
"""

import argparse
import dataclasses
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

SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOLERANCE = 1e-4
MODELS = {
    "ResNet-18": {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512],
                  "depths": [2, 2, 2, 2]},
    "ResNet-50": {"layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048],
                  "depths": [3, 4, 6, 3]},
}  # fmt: skip


@dataclasses.dataclass
class Call:
    wall_ms: float
    processor_ms: float
    values: np.ndarray  # the beginning of the last image's embedding


class Ours:
    def __init__(self, program: str, directory: str, threads: int) -> None:
        command = [program, directory, f"--threads={threads}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, pixels: np.ndarray) -> Call:
        self.process.stdin.write(f"{len(pixels)}\n".encode() + pixels.tobytes())
        self.process.stdin.flush()
        wall, processor, *values = map(float, self.process.stdout.readline().split())
        return Call(wall, processor, np.array(values))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class PyTorch:
    def __init__(self, model: torch.nn.Module, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = model

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> Call:
        values = (pixels / np.float32(255) - MEAN) / STD
        x = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32))
        wall, processor = time.perf_counter(), time.process_time()
        pooled = self.model(x).pooler_output
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return Call(1e3 * wall, 1e3 * processor, pooled[-1].flatten().numpy())


def make_model(directory: str, options: dict) -> torch.nn.Module:
    torch.manual_seed(1)
    model = transformers.ResNetModel(transformers.ResNetConfig(**options)).eval()
    model.save_pretrained(directory)
    (pathlib.Path(directory) / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": MEAN.tolist(),
        "image_std": STD.tolist(),
    }))  # fmt: skip
    return model


def check(ours: Call, theirs: Call) -> None:
    wanted = theirs.values[: len(ours.values)]
    error = np.max(np.abs(ours.values - wanted) / np.maximum(1, np.abs(wanted)))
    if not error < TOLERANCE:
        raise SystemExit(f"embeddings differ by {error:.2g}")


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure(name: str, images: int, rounds: int, ours: Ours, theirs: PyTorch) -> None:
    generator = np.random.default_rng(images)
    pixels = generator.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)
    check(ours(pixels), theirs(pixels))
    pairs = [(ours(pixels), theirs(pixels)) for _ in range(rounds)]
    milliseconds = [
        f"{statistics.median(getattr(pair[side], key) for pair in pairs):.1f}"
        for key in ("wall_ms", "processor_ms")
        for side in (0, 1)
    ]
    ratios = [
        spread([getattr(b, key) / getattr(a, key) for a, b in pairs])
        for key in ("wall_ms", "processor_ms")
    ]
    print(f"| {name} | {images} | {' | '.join(milliseconds)} | {' | '.join(ratios)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_model_bench", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    cpus = host.pin(arguments.threads)
    print(
        f"{host.cpu_model()}, CPUs {cpus}, {arguments.threads} threads; {host.revision()}; PyTorch "
        f"{torch.__version__}, transformers {transformers.__version__}; medians of "
        f"{arguments.rounds} interleaved rounds\n"
    )
    print("| model | images | ours, ms | PyTorch, ms | ours, CPU ms | PyTorch, CPU ms | ratio of "
          "wall times | of CPU times |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, options in MODELS.items():
        with tempfile.TemporaryDirectory() as directory:
            theirs = PyTorch(make_model(directory, options), arguments.threads)
            ours = Ours(arguments.image_model_bench, directory, arguments.threads)
            for images in arguments.images:
                measure(name, images, arguments.rounds, ours, theirs)
            ours.close()


if __name__ == "__main__":
    main()
