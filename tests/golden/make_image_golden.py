#!/usr/bin/env python3
"""Writes images/: small image files and what Pillow and transformers make of them.

    venv/bin/python make_image_golden.py

The versions in requirements.txt are checked. Files in images/ are as small as they can be for what
they show, which their names say.

pixels.json: for every file its size and pixels (base64 of RGB bytes) as transformers' load_image
gives them: turned upright, then convert("RGB").
resample.json: sizes, filter and the CRC-32 of Pillow's resized pixels. The source is noise(...).
processors.json: preprocessor_config.json files, the size of a source, and the CRC-32 of the pixels
(height, width, RGB) that the Pillow image processors of transformers cut out, before rescaling.
"""

import base64
import io
import itertools
import json
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import Resampling
from versions import FOLDER as GOLDEN
from versions import check_versions

FOLDER = GOLDEN / "images"
WIDTH, HEIGHT = 21, 14
# Those that checkpoints use.
FILTERS = [kind for kind in Resampling if kind <= 5]


def noise(width, height):
    """The bytes that the tests make too: the high bytes of a linear congruential generator."""
    state, out = width * 65536 + height, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state >> 24)
    return np.frombuffer(bytes(out), np.uint8).reshape(height, width, 3)


def picture(channels=3, width=WIDTH, height=HEIGHT):
    """A slope with some structure, which lossy coders keep."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 9 % 256, 255 - x * y % 200]
    return np.stack(planes[:channels], -1).astype(np.uint8)


# PNG files of kinds that Pillow does not write.


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content))


def packed(samples, depth):
    """Rows of samples as bytes, each with filter 0 before it."""
    out = b""
    for row in samples:
        flat = [int(v) for v in row.reshape(-1)]
        if depth == 16:
            data = struct.pack(f">{len(flat)}H", *flat)
        else:
            bits = "".join(format(v, f"0{depth}b") for v in flat)
            bits += "0" * (-len(bits) % 8)
            data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        out += b"\0" + data
    return out


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]


def png(samples, depth, colour_type, before=b"", interlaced=False, after=b""):
    height, width = samples.shape[:2]
    samples = samples.reshape(height, width, -1)
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        data = b"".join(packed(part, depth) for part in passes if part.size)
    else:
        data = packed(samples, depth)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before
            + chunk(b"IDAT", zlib.compress(data, 9)) + after + chunk(b"IEND", b""))


def png_files():
    wide = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 4))
    palette = bytes(np.random.default_rng(2).integers(0, 256, 768, np.uint8))
    some_transparent = chunk(b"tRNS", bytes([0, 128, 255]))
    files = {}
    for depth in (1, 2, 4, 8):
        files[f"grey{depth}"] = png(wide[..., 0] % 2**depth, depth, 0)
        colours = chunk(b"PLTE", palette[:3 * 2**depth])
        files[f"palette{depth}"] = png(wide[..., 1] % 2**depth, depth, 3, colours)
        files[f"palette{depth}_transparent"] = png(wide[..., 1] % 2**depth, depth, 3,
                                                   colours + some_transparent)
    mostly_dark = wide[..., 0] // 128
    files["grey16"] = png(mostly_dark, 16, 0)
    files["grey16_transparent"] = png(mostly_dark, 16, 0, chunk(b"tRNS", b"\0\x07"))
    files["grey8_transparent"] = png(wide[..., 0] % 256, 8, 0, chunk(b"tRNS", b"\0\x07"))
    files["grey16_interlaced"] = png(mostly_dark, 16, 0, interlaced=True)
    for depth in (8, 16):
        files[f"grey_alpha{depth}"] = png(wide[..., :2] % 2**depth, depth, 4)
        files[f"rgb{depth}"] = png(wide[..., :3] % 2**depth, depth, 2)
        files[f"rgba{depth}"] = png(wide % 2**depth, depth, 6)
    files["rgb8_transparent"] = png(wide[..., :3] % 256, 8, 2, chunk(b"tRNS", b"\0\1\0\2\0\3"))
    files["rgb8_interlaced"] = png(picture(), 8, 2, interlaced=True)
    files["palette4_interlaced"] = png(wide[..., 1] % 16, 4, 3, chunk(b"PLTE", palette[:48]),
                                       interlaced=True)
    # What a viewer would correct the colours by: Pillow does not, so nor do we.
    colours = (chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sBIT", b"\5\6\5")
               + chunk(b"bKGD", b"\0\1\0\2\0\3"))
    files["rgb8_gamma"] = png(picture(), 8, 2, colours)
    files["rgb8_split_data"] = split_data(png(picture(), 8, 2))
    xmp = (b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta><rdf:Description "
           b'tiff:Orientation="8"/></x:xmpmeta>')
    files["rgb8_xmp_orientation8"] = png(picture(), 8, 2, chunk(b"iTXt", xmp))
    files["rgb8_exif_orientation5"] = png(picture(), 8, 2, chunk(b"eXIf", exif(5)[6:]))
    files["rgb8_exif_after_data"] = png(picture(), 8, 2, after=chunk(b"eXIf", exif(3)[6:]))
    return {f"{name}.png": content for name, content in files.items()} | animated_png()


def split_data(file):
    """The same image data in chunks of seven bytes."""
    at = file.index(b"IDAT") - 4
    length = struct.unpack(">I", file[at:at + 4])[0]
    data = file[at + 8:at + 8 + length]
    pieces = [chunk(b"IDAT", data[i:i + 7]) for i in range(0, length, 7)]
    return file[:at] + b"".join(pieces) + file[at + 12 + length:]


def animated_png():
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    files = {}
    for name, options in {"animated": {}, "animated_default_image": {"default_image": True}}.items():
        buffer = io.BytesIO()
        frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], **options)
        files[f"{name}.png"] = buffer.getvalue()
    return files


def exif(orientation, order=">", kind=3):
    """An EXIF block: another tag, then the orientation as SHORT (3) or LONG (4)."""
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    entries = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0")
    entries += struct.pack(order + "HHI", 0x0112, kind, 1) + value
    head = b"MM\0*" if order == ">" else b"II*\0"
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, 2) + entries + b"\0\0\0\0"


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_files():
    rgb = Image.fromarray(picture())
    files = {}
    for name, sampling in {"444": 0, "422": 1, "420": 2}.items():
        files[f"rgb_{name}"] = saved(rgb, "JPEG", quality=90, subsampling=sampling)
        files[f"progressive_{name}"] = saved(rgb, "JPEG", quality=90, subsampling=sampling,
                                             progressive=True)
    files["grey"] = saved(rgb.convert("L"), "JPEG", quality=90)
    files["grey_progressive"] = saved(rgb.convert("L"), "JPEG", quality=90, progressive=True)
    cmyk = Image.fromarray(picture(4), "CMYK")
    files["cmyk"] = saved(cmyk, "JPEG", quality=95)
    files["cmyk_progressive"] = saved(cmyk, "JPEG", quality=95, progressive=True)
    files["cmyk_without_adobe"] = without_segment(files["cmyk"], b"\xff\xee")
    files["ycck"] = with_adobe_transform(files["cmyk"], 2)
    files["rgb_without_transform"] = saved(rgb, "JPEG", quality=90, keep_rgb=True)
    files["long_jfif"] = with_jfif_extension(files["rgb_444"])
    files["data_ends_early"] = files["rgb_444"][:-40] + b"\xff\xd9"
    files["restarts"] = saved(rgb, "JPEG", quality=90, restart_marker_blocks=1)
    files["comment"] = saved(rgb, "JPEG", quality=90, comment=b"\xff\xd9 is no end here")
    for orientation in range(1, 9):
        order, kind = ("<", 4) if orientation % 2 else (">", 3)
        files[f"orientation{orientation}"] = saved(rgb, "JPEG", quality=90,
                                                   exif=exif(orientation, order, kind))
    files["orientation9"] = saved(rgb, "JPEG", quality=90, exif=exif(9))
    files["xmp_orientation6"] = with_xmp(files["rgb_444"])
    return {f"{name}.jpg": content for name, content in files.items()}


def without_segment(file, marker):
    at = file.index(marker)
    return file[:at] + file[at + 2 + struct.unpack(">H", file[at + 2:at + 4])[0]:]


def with_adobe_transform(file, transform):
    """Says that the colours are coded as YCbCr (1), YCCK (2) or as they are (0)."""
    at = file.index(b"Adobe") + 11
    return file[:at] + bytes([transform]) + file[at + 1:]


def with_jfif_extension(file):
    """A thumbnail, so that decoders must skip something."""
    content = b"JFXX\0\x13\x0a\x0a" + bytes(range(250)) + bytes(50)
    at = file.index(b"\xff\xdb")
    return file[:at] + b"\xff\xe0" + struct.pack(">H", len(content) + 2) + content + file[at:]


def with_xmp(file):
    content = (b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><tiff:Orientation>6</tiff:Orientation>"
               b"</x:xmpmeta>")
    return file[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + file[2:]


def webp_files():
    rgb, rgba = Image.fromarray(picture()), Image.fromarray(picture(4))
    files = {
        "lossless": saved(rgb, "WEBP", lossless=True),
        "lossless_alpha": saved(rgba, "WEBP", lossless=True, exact=True),
        "lossless_orientation6": saved(rgb, "WEBP", lossless=True, exif=exif(6)),
        "lossless_xmp_orientation3": saved(rgb, "WEBP", lossless=True,
                                           xmp=b'<rdf:Description tiff:Orientation="3"/>'),
        "lossy": saved(rgb, "WEBP", quality=90),
        "lossy_alpha": saved(rgba, "WEBP", quality=90, exact=True),
        "animated_lossless": saved(rgb, "WEBP", lossless=True, save_all=True,
                                   append_images=[Image.fromarray(255 - picture())]),
        "animated_small_first_frame": small_first_frame(saved(rgb, "WEBP", lossless=True)),
    }
    return {f"{name}.webp": content for name, content in files.items()}


def riff_chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def small_first_frame(still):
    """An animation whose first frame does not cover the canvas."""
    def le24(value):
        return struct.pack("<I", value)[:3]

    canvas = le24(WIDTH + 7) + le24(HEIGHT + 5)
    frame = le24(2) + le24(1) + le24(WIDTH - 1) + le24(HEIGHT - 1) + le24(100) + b"\0"
    chunks = (riff_chunk(b"VP8X", b"\2\0\0\0" + canvas) + riff_chunk(b"ANIM", bytes(6))
              + riff_chunk(b"ANMF", frame + still[12:]))
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def load(file):
    """transformers.image_utils.load_image for a file."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


def write_files():
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    expected = {}
    for name, content in sorted((png_files() | jpeg_files() | webp_files()).items()):
        (FOLDER / name).write_bytes(content)
        image = load(content)
        expected[name] = {"width": image.width, "height": image.height,
                          "rgb": base64.b64encode(image.tobytes()).decode()}
    write_json("pixels.json", expected)


def write_json(name, value):
    """One entry a line."""
    entries = ([f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
               if isinstance(value, dict) else [json.dumps(v) for v in value])
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    (FOLDER / name).write_text(opening + "\n" + ",\n".join(entries) + "\n" + closing + "\n")


def write_resample():
    sizes = [(1, 1, 3, 2), (3, 2, 1, 1), (7, 5, 7, 5), (7, 5, 7, 11), (7, 5, 3, 5), (31, 17, 30, 18),
             (64, 48, 28, 28), (5, 9, 40, 33), (200, 3, 8, 8), (2, 150, 9, 7), (97, 61, 64, 64)]
    cases = []
    for (width, height, to_width, to_height), kind in itertools.product(sizes, FILTERS):
        image = Image.fromarray(noise(width, height)).resize((to_width, to_height), kind)
        cases.append({"filter": int(kind), "width": width, "height": height, "to_width": to_width,
                      "to_height": to_height, "crc32": zlib.crc32(image.tobytes())})
    write_json("resample.json", cases)


def processors():
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    kinds = {"ViT": ViTImageProcessorPil, "DeiT": DeiTImageProcessorPil,
             "ConvNext": ConvNextImageProcessorPil, "Bit": BitImageProcessorPil}
    configs = [
        ("ViT", {}),
        ("ViT", {"size": 32, "resample": 3}),
        ("ViT", {"size": {"height": 20, "width": 30}, "resample": 0}),
        ("ViT", {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": 24,
                 "resample": 1}),
        ("ViT", {"do_resize": False, "do_center_crop": True,
                 "crop_size": {"height": 45, "width": 44}}),
        ("DeiT", {"size": 40, "crop_size": {"height": 32, "width": 32}}),
        ("DeiT", {"size": 20, "crop_size": 25, "resample": 2}),
        ("ConvNext", {"size": {"shortest_edge": 56}, "crop_pct": 0.875}),
        ("ConvNext", {"size": 28, "crop_pct": 0.95, "resample": 2}),
        ("ConvNext", {"size": 384, "resample": 2}),
        ("Bit", {"size": {"shortest_edge": 40}, "crop_size": 32}),
        ("Bit", {}),
    ]
    for kind, config in configs:
        yield kind, kinds[kind](**config, do_rescale=False, do_normalize=False), config


def write_processors():
    cases = []
    for (kind, processor, config), size in itertools.product(processors(),
                                                             [(61, 44), (30, 53), (2, 9)]):
        pixels = processor(noise(*size), input_data_format="channels_last")["pixel_values"][0]
        pixels = np.ascontiguousarray(np.asarray(pixels).transpose(1, 2, 0))
        if pixels.dtype != np.uint8:
            raise SystemExit(f"{kind} {config}: {pixels.dtype}")
        config = {"image_processor_type": f"{kind}ImageProcessor", **config}
        cases.append({"config": config, "width": size[0], "height": size[1],
                      "to_width": pixels.shape[1], "to_height": pixels.shape[0],
                      "crc32": zlib.crc32(pixels.tobytes())})
    write_json("processors.json", cases)


if __name__ == "__main__":
    check_versions("numpy", "pillow", "transformers")
    write_files()
    write_resample()
    write_processors()
