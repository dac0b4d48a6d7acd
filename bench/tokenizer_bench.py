#!/usr/bin/env python3
"""Our tokeniser against Hugging Face `tokenizers` on one core, in interleaved rounds.

    tokenizer_bench.py TOKENIZE_LINES_BINARY MODEL_DIRECTORY [ROUNDS]

Prints, per set of texts, the median time of both for the whole set and the ratio (above 1: ours is
faster). A round takes the fastest of REPETITIONS passes of each. Hugging Face is timed inside
`encode_batch_fast`, without reading the ids out in Python. The ids are compared first.
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


REPETITIONS = 3


def run_ours(binary, path, stdin, *repetitions):
    command = [binary, path, "512", "right", "1", *map(str, repetitions)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def seconds_of(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def check_ids(name, strings, ours, reference):
    """Ends the program where a text's ids differ: `ours` is the output of tokenize_lines."""
    at = 0
    for text, encoding in zip(strings, reference.encode_batch_fast(strings)):
        expected = struct.pack(f"<I{len(encoding.ids)}i", len(encoding.ids), *encoding.ids)
        if ours[at:at + len(expected)] != expected:
            sys.exit(f"{name}: the ids differ for {text!r}")
        at += len(expected)


def measure(name, strings, binary, path, reference, rounds):
    ours, theirs = [], []
    encoded = [text.encode() for text in strings]
    stdin = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    check_ids(name, strings, run_ours(binary, path, stdin), reference)
    for _ in range(rounds):
        out = run_ours(binary, path, stdin, REPETITIONS)
        ours.append(min(float(seconds) for seconds in out.split()))
        theirs.append(min(seconds_of(lambda: reference.encode_batch_fast(strings))
                          for _ in range(REPETITIONS)))
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
