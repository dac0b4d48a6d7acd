#!/usr/bin/env python3
"""Our pixels against Pillow's and transformers': they must be identical.

    image_parity.py PREPARE_IMAGES_BINARY

Resizing: sizes from 1x1 to 4000x3000, all filters, the plain form and the vectorised one. Whole
image processors: PNG and lossless WebP files bit for bit; for JPEG and lossy WebP the difference of
the decoders is printed and bounded.
"""

import io
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
from PIL import Image, __version__
from PIL.Image import Resampling
from transformers.image_utils import load_image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

GENERATOR = np.random.default_rng(5)


def noise(width, height):
    return GENERATOR.integers(0, 256, (height, width, 3), np.uint8)


def picture(width, height):
    """Smooth areas and edges, as photographs have them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / (7 + 9 * c) + y / 23) * 90 + np.cos(y / (5 + 11 * c)) * 30 + 128
              for c in range(3)]
    image = np.stack(planes, -1)
    image[height // 3:height // 2, width // 4:width // 2] = [200, 30, 60]
    return np.clip(image, 0, 255).astype(np.uint8)


# Resizing.


def resize_cases():
    """(width, height, new width, new height), small to large."""
    chooser = random.Random(3)
    sizes = [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 32, 33, 63, 64, 100, 127, 224, 256, 333]
    cases = [tuple(chooser.choice(sizes) for _ in range(4)) for _ in range(400)]
    cases += [(640, 480, 224, 224), (640, 480, 298, 224), (1024, 768, 384, 384),
              (1, 4000, 224, 224), (4000, 1, 224, 224), (1920, 1080, 455, 256),
              (224, 224, 224, 224), (224, 100, 224, 224), (100, 224, 224, 224)]
    large = [(4000, 3000, 224, 224), (4000, 3000, 341, 256), (3000, 4000, 1024, 1365),
             (224, 224, 4000, 3000)]
    return cases, large


def check_resize(binary):
    small, large = resize_cases()
    work = [(case, kind) for case in small for kind in Resampling if kind <= 5]
    work += [(case, kind) for case in large
             for kind in (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC,
                          Resampling.LANCZOS)]
    bad = 0
    for begin in range(0, len(work), 300):
        part = work[begin:begin + 300]
        sources = [noise(case[0], case[1]) for case, _ in part]
        stdin = b"".join(np.array([*case, int(kind)], np.int32).tobytes() + source.tobytes()
                         for (case, kind), source in zip(part, sources))
        expected = [np.asarray(Image.fromarray(source).resize(case[2:], kind))
                    for (case, kind), source in zip(part, sources)]
        for form in ("plain", "best"):
            out = run(binary, stdin, "resize", form)
            at = 0
            for (case, kind), pixels in zip(part, expected):
                same = out[at:at + pixels.size] == pixels.tobytes()
                at += pixels.size
                if not same:
                    bad += 1
                    print(f"  {case} {kind.name} {form}: differs")
            bad += at != len(out)
    print(f"{len(work)} resized images in two forms, {bad} mismatches", flush=True)
    return bad


def run(binary, stdin, *arguments):
    return subprocess.run([binary, *arguments], input=stdin, stdout=subprocess.PIPE,
                          check=True).stdout


# Whole processors.

PROCESSORS = [
    (ViTImageProcessorPil, {}),
    (ViTImageProcessorPil, {"size": {"height": 32, "width": 48}, "resample": 3}),
    (DeiTImageProcessorPil, {}),
    (DeiTImageProcessorPil, {"size": 64, "crop_size": 80, "resample": 1}),
    (ConvNextImageProcessorPil, {"size": {"shortest_edge": 224}, "crop_pct": 0.875,
                                 "image_mean": [0.485, 0.456, 0.406],
                                 "image_std": [0.229, 0.224, 0.225]}),
    (ConvNextImageProcessorPil, {"size": 384, "resample": 2}),
    (ConvNextImageProcessorPil, {"size": 48, "crop_pct": 0.95, "do_rescale": False}),
    (BitImageProcessorPil, {"size": {"shortest_edge": 256}}),
    (BitImageProcessorPil, {"size": {"shortest_edge": 33}, "crop_size": 31, "resample": 0,
                            "do_normalize": False}),
]
SIZES = [(1, 1), (3, 200), (97, 61), (480, 640), (640, 480), (333, 334)]


def encoded(array, kind, mode=None, **options):
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, kind, **options)
    return buffer.getvalue()


def exact_files():
    for width, height in SIZES:
        yield encoded(picture(width, height), "PNG")
        yield encoded(noise(width, height), "PNG")
        yield encoded(picture(width, height), "WEBP", lossless=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        yield encoded(picture(width, height), "PNG", exif=exif)


def lossy_files(kind):
    for (width, height), quality in itertools.product(SIZES, (50, 90)):
        if kind == "WEBP":
            yield encoded(picture(width, height), kind, quality=quality)
            continue
        for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
            yield encoded(picture(width, height), kind, quality=quality, subsampling=subsampling,
                          progressive=progressive)
        grey = picture(width, height)[..., 0]
        for pixels in (grey, noise(width, height)[..., 0]):
            yield encoded(pixels, kind, quality=quality)
        for progressive in (False, True):
            cmyk = encoded(np.concatenate([noise(width, height), grey[..., None]], -1), kind, "CMYK",
                           quality=quality, progressive=progressive)
            yield cmyk
            # The same numbers as YCCK: the last byte of Adobe's segment says so.
            at = cmyk.index(b"Adobe") + 11
            yield cmyk[:at] + b"\2" + cmyk[at + 1:]


def prepared(binary, processor, files):
    """(pixels or None of each file, scale, offset)."""
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        config = pathlib.Path(folder, "preprocessor_config.json")
        stdin = b"".join(np.uint32(len(file)).tobytes() + file for file in files)
        out = run(binary, stdin, "prepare", str(config))
    at, results = 0, []
    for _ in files:
        code, height, width = np.frombuffer(out, np.int32, 3, at)
        at += 12
        results.append(None)
        if code == 0:
            size = height * width * 3
            results[-1] = np.frombuffer(out, np.uint8, size, at).reshape(height, width, 3)
            at += size
    scale, offset = np.frombuffer(out, np.float32, 6, at).reshape(2, 3)
    return results, scale, offset


def loaded(file):
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(file)
        copy.flush()
        return load_image(copy.name)


def check_processors(binary):
    bad = compared = 0
    files = list(exact_files())
    images = [loaded(file) for file in files]
    for kind, options in PROCESSORS:
        processor = kind(**options)
        cut = kind(**{**options, "do_rescale": False, "do_normalize": False})
        results, scale, offset = prepared(binary, processor, files)
        for number, (image, ours) in enumerate(zip(images, results)):
            compared += 1
            pixels = np.asarray(cut(image)["pixel_values"][0]).transpose(1, 2, 0)
            values = np.asarray(processor(image)["pixel_values"][0]).transpose(1, 2, 0)
            if ours is None or not np.array_equal(pixels, ours):
                bad += 1
                print(f"  {kind.__name__} {options}, file {number}: pixels differ")
            elif np.abs(ours * scale + offset - values).max() > 2e-6 * np.abs(values).max():
                bad += 1
                print(f"  {kind.__name__} {options}, file {number}: values differ")
    print(f"{compared} images prepared, {bad} mismatches", flush=True)
    return bad


def check_lossy(binary, kind, largest_allowed):
    """What decoders differ by, before any resizing hides it."""
    files = list(lossy_files(kind))
    largest, different, total, identical = 0, 0, 0, 0
    for file in files:
        image = np.asarray(loaded(file))
        size = {"height": image.shape[0], "width": image.shape[1]}
        (ours,), _, _ = prepared(binary, ViTImageProcessorPil(size=size), [file])
        difference = np.abs(ours.astype(int) - image)
        largest = max(largest, difference.max())
        different += np.count_nonzero(difference)
        total += difference.size
        identical += not difference.any()
    print(f"{kind}: {identical} of {len(files)} files decode to Pillow's pixels; of all values "
          f"{100 * different / total:.3f}% differ, by at most {largest}", flush=True)
    return largest > largest_allowed


def check_damaged(binary):
    """What Pillow refuses as truncated we refuse too."""
    files = [encoded(picture(97, 61), kind) for kind in ("PNG", "JPEG", "WEBP")]
    cut = [file[:len(file) * part // 10] for file in files for part in range(1, 10)]
    results, _, _ = prepared(binary, ViTImageProcessorPil(size=16), cut)
    return sum(result is not None for result in results)


def main():
    binary = sys.argv[1]
    print(f"Pillow {__version__}")
    bad = check_resize(binary) + check_processors(binary) + check_damaged(binary)
    bad += check_lossy(binary, "JPEG", 0)
    bad += check_lossy(binary, "WEBP", 0)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
