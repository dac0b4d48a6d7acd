#!/usr/bin/env python3
"""Preparing images beside Pillow and OpenCV on one core, in interleaved rounds.

    image.py IMAGE_BENCH_BINARY [ROUNDS]

Ratios above 1: ours is faster. All make the tensor that a ViT with patches of 16 x 16 begins with.
Pillow's time is that of Image.resize and of rescaling, normalising and cutting in numpy, in float32
and without needless copies; a round takes the fastest of REPETITIONS of each, and the pixels have
been compared before (tests/parity/image_parity.py).
"""

import io
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np
from PIL import Image, __version__
from PIL.Image import Resampling

REPETITIONS = 20
PATCH = 16
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SCALE, OFFSET = 1 / (255 * STD), -MEAN / STD


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / (7 + 9 * c) + y / 23) * 90 + np.cos(y / (5 + 11 * c)) * 30 for c in range(3)]
    noise = np.random.default_rng(1).normal(128, 8, (height, width, 3))
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def pillow_seconds(image, size, kind):
    start = time.perf_counter()
    values = np.asarray(image.resize(size, kind), np.float32)
    values *= SCALE
    values += OFFSET
    width, height = size
    patches = values.reshape(height // PATCH, PATCH, width // PATCH, PATCH, 3)
    np.ascontiguousarray(patches.transpose(0, 2, 1, 3, 4))
    return time.perf_counter() - start


def seconds(binary, stdin, *arguments):
    command = [binary, *map(str, arguments)]
    out = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
    return [[float(value) for value in line.split()] for line in out.decode().splitlines()]


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure_resize(binary, width, height, side, rounds):
    pixels = picture(width, height)
    image = Image.fromarray(pixels)
    for kind in (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS):
        ours, theirs = [], []
        for _ in range(rounds):
            (times,) = seconds(binary, pixels.tobytes(), "resize", width, height, side, side,
                               int(kind), REPETITIONS)
            ours.append(min(times))
            theirs.append(min(pillow_seconds(image, (side, side), kind)
                              for _ in range(REPETITIONS)))
        ratios = [b / a for a, b in zip(ours, theirs)]
        print(f"| {width}x{height} -> {side}x{side}, {kind.name.lower()} "
              f"| {statistics.median(ours) * 1e3:.3f} | {statistics.median(theirs) * 1e3:.3f} "
              f"| {spread(ratios)} |", flush=True)


def measure_file(binary, width, height, side, rounds):
    buffer = io.BytesIO()
    Image.fromarray(picture(width, height)).save(buffer, "JPEG", quality=90)
    best = [[min(column) for column in
             zip(*seconds(binary, buffer.getvalue(), "file", side, 3 * REPETITIONS))]
            for _ in range(rounds)]
    ours = [row[0] for row in best]
    print(f"| ours | {statistics.median(ours) * 1e3:.3f} | |")
    for column, name in enumerate(["OpenCV, bilinear without antialiasing", "OpenCV, area",
                                   "OpenCV, decoding alone"], 1):
        theirs = [row[column] for row in best]
        ratios = [b / a for a, b in zip(ours, theirs)]
        print(f"| {name} | {statistics.median(theirs) * 1e3:.3f} | {spread(ratios)} |", flush=True)


def main():
    binary = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"Pillow {__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
          f"one core, medians of {rounds} rounds\n")
    print("| resize and normalise | ours, ms | Pillow and numpy, ms | ratio |\n|---|---|---|---|")
    for case in [(640, 480, 224), (4000, 3000, 224), (256, 256, 224), (64, 64, 224)]:
        measure_resize(binary, *case, rounds)
    print("\n| JPEG 640x480 to a 224x224 tensor | ms | ratio |\n|---|---|---|")
    measure_file(binary, 640, 480, 224, rounds)


if __name__ == "__main__":
    main()
