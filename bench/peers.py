"""Runs one peer engine on one workload and prints a JSON line, as engine_bench does.

    peers.py ENGINE MODEL_DIR WORKLOAD [--texts FILE] [--order arrival|sorted] [--output FILE]

ENGINE is torch (eager), onnxruntime or openvino. WORKLOAD is `list` or INPUTSxTOKENS. Tokenising is
not timed. Texts go in padded batches of 32; pooling (mean, normalised) is timed where it runs.
"""

import argparse
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

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            tensors = [self.torch.from_numpy(a) for a in (ids, mask)]
            return self.model(tensors[0], attention_mask=tensors[1]).last_hidden_state.numpy()


def exported(model_dir: str) -> pathlib.Path:
    """The model as ONNX, exported once into the cache folder."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    path = cache / "contextpool-server" / "bench" / "all-MiniLM-L6-v2.onnx"
    if path.exists():
        return path
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
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
        opset_version=17,
        dynamo=False,
    )
    return path


class OnnxRuntime:
    def __init__(self, model_dir: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(exported(model_dir)), options, providers=["CPUExecutionProvider"]
        )

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


class OpenVino:
    def __init__(self, model_dir: str, threads: int) -> None:
        import openvino

        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32",
                  "PERFORMANCE_HINT": "LATENCY"}  # fmt: skip
        self.request = core.compile_model(
            core.read_model(exported(model_dir)), "CPU", config
        ).create_infer_request()

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.request.infer({"input_ids": ids, "attention_mask": mask})
        return self.request.get_output_tensor(0).data


ENGINES = {"torch": Torch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}


def pooled(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weights = mask[..., None].astype(np.float32)
    mean = (hidden * weights).sum(1) / weights.sum(1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def padded(encoded: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, encoded))
    ids = np.zeros((len(encoded), width), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def run_list(engine, encoded: list[list[int]], order: str, output: str | None) -> float:
    indices = list(range(len(encoded)))
    if order == "sorted":
        indices.sort(key=lambda i: len(encoded[i]))
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    inputs = [padded([encoded[i] for i in batch]) for batch in batches]
    engine.run(*inputs[0])
    engine.run(*inputs[-1])
    vectors = [None] * len(encoded)
    start = time.perf_counter()
    for batch, (ids, mask) in zip(batches, inputs):
        for i, vector in zip(batch, pooled(engine.run(ids, mask), mask)):
            vectors[i] = vector
    seconds = time.perf_counter() - start
    if output:
        np.stack(vectors).astype(np.float32).tofile(output)
    return seconds


def run_shape(engine, inputs: int, tokens: int, rounds: int) -> list[float]:
    ids = np.random.default_rng(1).integers(1000, 21000, (inputs, tokens))
    mask = np.ones_like(ids)
    engine.run(ids, mask)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        pooled(engine.run(ids, mask), mask)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model_dir")
    parser.add_argument("workload")
    parser.add_argument("--texts")
    parser.add_argument("--order", choices=["arrival", "sorted"], default="arrival")
    parser.add_argument("--output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    engine = ENGINES[args.engine](args.model_dir, args.threads)
    if args.workload == "list":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(os.path.join(args.model_dir, "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        texts = pathlib.Path(args.texts).read_text(encoding="utf-8").split("\n")[:-1]
        encoded = [e.ids for e in tokenizer.encode_batch(texts)]
        inputs, seconds = len(texts), [run_list(engine, encoded, args.order, args.output)]
    else:
        inputs, tokens = map(int, args.workload.split("x"))
        seconds = run_shape(engine, inputs, tokens, args.rounds)
    json.dump({"workload": args.workload, "inputs": inputs, "seconds": seconds}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
