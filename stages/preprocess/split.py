"""Holding out the validation images and fitting the scaling."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from stages.common.data import Dataset, Examples, RawArrays, Source
from stages.common.errors import InputError, one_line
from stages.common.files import UInt8Array
from stages.common.params import Split


@dataclass(frozen=True)
class Parts:
    """What data/processed holds."""

    train: Examples
    validation: Examples
    test: Examples
    dataset: Dataset


def split(source: Source, arrays: RawArrays, settings: Split) -> Parts:
    """Splits the training images in two and fits the scaling on the first part alone.

    The parts are shuffled; they are those of scikit-learn's `train_test_split`.

    Raises:
        InputError: If the fraction leaves a part empty, a class is too rare to stratify by, or the
            training images are all black.
    """
    try:
        parts = train_test_split(
            arrays.train_images,
            arrays.train_labels,
            test_size=settings.validation_fraction,
            random_state=settings.seed,
            stratify=arrays.train_labels if settings.stratify else None,
        )
    except ValueError as error:
        raise InputError(f"params.yaml: split: {one_line(error)}") from None
    train_images, validation_images, train_labels, validation_labels = parts
    pixel_maximum = int(train_images.max())
    if pixel_maximum == 0:
        raise InputError("data/raw: every pixel of the training images is 0")
    _, height, width, channels = train_images.shape

    def count(of: UInt8Array) -> tuple[int, ...]:
        return tuple(np.bincount(of, minlength=len(source.class_names)).tolist())

    return Parts(
        train=Examples(train_images, train_labels),
        validation=Examples(validation_images, validation_labels),
        test=Examples(arrays.test_images, arrays.test_labels),
        dataset=Dataset(
            name=source.dataset,
            class_names=source.class_names,
            height=height,
            width=width,
            channels=channels,
            pixel_maximum=pixel_maximum,
            train_counts=count(train_labels),
            validation_counts=count(validation_labels),
            test_counts=count(arrays.test_labels),
            files=source.files,
        ),
    )
