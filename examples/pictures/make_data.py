"""Writes scikit-learn's digits as a folder of PNG files for each class."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
pixels = (digits.images * (255 / 16)).astype(np.uint8)
for place, (picture, digit) in enumerate(zip(pixels, digits.target, strict=True)):
    part = "test" if place % 5 == 4 else "train"
    folder = Path("data/custom/digits", part, str(digit))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{place:04}.png")
