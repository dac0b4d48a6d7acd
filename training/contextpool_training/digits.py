"""scikit-learn's digits as a folder of images: 1,797 handwritten digits, 8 x 8 grey pixels each.

The split is a rule: of each digit's scans, in the order of the data set, the first, fourth and
seventh of every ten are test images, the others training images.
"""

import collections
import pathlib

import numpy as np
from PIL import Image

_TEST = (0, 3, 6)
# The largest value of a scan's pixels.
_WHITE = 16


def write_digits(folder: pathlib.Path) -> None:
    """train/DIGIT/*.png and test/DIGIT/*.png, named by their number in the data set. Raises
    ValueError without scikit-learn, which nothing else here needs."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("scikit-learn has the digits: pip install scikit-learn") from error
    scans = load_digits()
    seen: collections.Counter[int] = collections.Counter()
    for number, (values, digit) in enumerate(zip(scans.images, scans.target, strict=True)):
        split = "test" if seen[digit] % 10 in _TEST else "train"
        seen[digit] += 1
        path = folder / split / str(digit) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(values * (255 / _WHITE)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
