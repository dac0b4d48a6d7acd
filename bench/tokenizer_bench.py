#!/usr/bin/env python3
"""Our tokeniser against Hugging Face `tokenizers` on one core, in interleaved rounds.

    tokenizer_bench.py TOKENIZE_LINES_BINARY MODEL_DIRECTORY [ROUNDS]

Prints, per set of texts, the median time of both for the whole set and the ratio (above 1: ours is
faster). Hugging Face is timed inside `encode_batch_fast`, without reading the ids out in Python.
"""

import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "parity"))

from tokenizers import Tokenizer
from tokenizer_texts import SENTENCES, library_lines, texts


def sets():
    lines = library_lines(20000)
    return {
        "short lines of English and code": lines[:10000],
        "long passages (about 2 KB)": [" ".join(lines[i:i + 45]) for i in range(0, 20000, 45)],
        "25 languages": SENTENCES * 200,
        "adversarial mixture": texts(30000)[10000:20000],
    }


def measure(name, strings, binary, path, reference, rounds):
    ours, theirs = [], []
    encoded = [text.encode() for text in strings]
    stdin = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    for _ in range(rounds):
        command = [binary, path, "512", "right", "1", "3"]
        out = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
        ours.append(min(float(seconds) for seconds in out.split()))
        start = time.perf_counter()
        reference.encode_batch_fast(strings)
        theirs.append(time.perf_counter() - start)
    a, b = statistics.median(ours), statistics.median(theirs)
    mib = sum(map(len, encoded)) / 2**20
    print(f"{name:34s} {mib:6.2f} MiB  ours {a * 1e3:8.1f} ms ({mib / a:6.1f} MiB/s)  "
          f"tokenizers {b * 1e3:8.1f} ms ({mib / b:5.1f} MiB/s)  ratio {b / a:5.1f}")


def main():
    binary, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    reference = Tokenizer.from_file(str(pathlib.Path(model, "tokenizer.json")))
    reference.no_padding()
    reference.enable_truncation(512)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "tokenizer.json"))
        reference.save(path)
        for name, strings in sets().items():
            measure(name, strings, binary, path, reference, rounds)


if __name__ == "__main__":
    main()
