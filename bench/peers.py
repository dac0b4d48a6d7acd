"""Runs one peer engine on one workload and prints a JSON line, as engine_bench does.

    peers.py ENGINE MODEL_DIR WORKLOAD [--texts FILE] [--order arrival|sorted] [--output PREFIX]

ENGINE is torch (eager), onnxruntime or openvino. WORKLOAD is `list` or INPUTSxTOKENS. Tokenising is
not timed. Texts go in padded batches of 32; pooling (mean, normalised) is timed where it runs.
As in engine_bench, every workload runs once in full before it is timed.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time

import numpy as np

BATCH = 32
MAX_TOKENS = 256


class Torch:
    def __init__(self, model_dir: str, threads: int) -> None:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = AutoModel.from_pretrained(model_dir).eval()

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        with self.torch.inference_mode():
            tensors = {name: self.torch.from_numpy(array) for name, array in inputs.items()}
            return self.model(**tensors).last_hidden_state.numpy()


def exported(model_dir: str) -> pathlib.Path:
    """The model as ONNX, exported once into the cache folder under its name and its weights' hash."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    with open(os.path.join(model_dir, "model.safetensors"), "rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()[:12]
    name = f"{pathlib.Path(model_dir).resolve().name}-{digest}.onnx"
    path = cache / "contextpool-server" / "bench" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(model_dir, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids, attention_mask=attention_mask).last_hidden_state

    example = torch.ones(2, 8, dtype=torch.int64)
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        Hidden(),
        (example, example),
        str(partial),
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
        opset_version=17,
        dynamo=False,
    )
    partial.rename(path)
    return path


class OnnxRuntime:
    def __init__(self, onnx_file: pathlib.Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(onnx_file), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.session.run(None, inputs)[0]


class OpenVino:
    def __init__(self, onnx_file: pathlib.Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32",
                  "PERFORMANCE_HINT": "LATENCY"}  # fmt: skip
        self.request = core.compile_model(
            core.read_model(onnx_file), "CPU", config
        ).create_infer_request()

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The result lasts until the next run."""
        self.request.infer(inputs)
        return self.request.get_output_tensor(0).data


ONNX_ENGINES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def load(engine: str, model_dir: str, threads: int):
    if engine == "torch":
        return Torch(model_dir, threads)
    return ONNX_ENGINES[engine](exported(model_dir), threads)


def hidden(engine, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return engine.run({"input_ids": ids, "attention_mask": mask})


def pooled(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weights = mask[..., None].astype(np.float32)
    mean = (tokens * weights).sum(1) / weights.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def padded(encoded: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, encoded))
    ids = np.zeros((len(encoded), width), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def tokenized(model_dir: str, texts: str) -> list[list[int]]:
    """The ids of each line of the file `texts`, special tokens included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(model_dir, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    lines = pathlib.Path(texts).read_text(encoding="utf-8").split("\n")[:-1]
    return [encoding.ids for encoding in tokenizer.encode_batch(lines)]


def timed(run, rounds: int) -> tuple[list[float], np.ndarray]:
    """The seconds of each of `rounds` runs after an untimed one, and the last run's output."""
    output = run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        output = run()
        seconds.append(time.perf_counter() - start)
    return seconds, output


def list_run(engine, encoded: list[list[int]], order: str):
    """A function that embeds all texts; padding them is not part of it."""
    indices = list(range(len(encoded)))
    if order == "sorted":
        indices.sort(key=lambda i: len(encoded[i]))
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    inputs = [padded([encoded[i] for i in batch]) for batch in batches]

    def run() -> np.ndarray:
        vectors = [None] * len(encoded)
        for batch, (ids, mask) in zip(batches, inputs):
            for i, vector in zip(batch, pooled(hidden(engine, ids, mask), mask)):
                vectors[i] = vector
        return np.stack(vectors)

    return run


def shape_run(engine, inputs: int, tokens: int):
    """A function that embeds one batch of the ids that engine_bench makes."""
    ids = (1000 + np.arange(inputs * tokens) * 7919 % 20000).reshape(inputs, tokens)
    mask = np.ones_like(ids)
    return lambda: pooled(hidden(engine, ids, mask), mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["torch", *ONNX_ENGINES])
    parser.add_argument("model_dir")
    parser.add_argument("workload")
    parser.add_argument("--texts")
    parser.add_argument("--order", choices=["arrival", "sorted"], default="arrival")
    parser.add_argument("--output", help="writes raw float32 into OUTPUT.WORKLOAD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    engine = load(args.engine, args.model_dir, args.threads)
    if args.workload == "list":
        encoded = tokenized(args.model_dir, args.texts)
        inputs, run = len(encoded), list_run(engine, encoded, args.order)
    else:
        inputs, tokens = map(int, args.workload.split("x"))
        run = shape_run(engine, inputs, tokens)
    seconds, output = timed(run, args.rounds)
    if args.output:
        output.astype(np.float32).tofile(f"{args.output}.{args.workload}")
    json.dump({"workload": args.workload, "inputs": inputs, "seconds": seconds}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
