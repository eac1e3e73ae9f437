"""Holding out the validation images and fitting the scaling."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from stages.common.data import Dataset, Examples, RawArrays, Source
from stages.common.errors import InputError
from stages.common.files import UInt8Array
from stages.common.params import Split

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """What data/processed holds."""

    train: Examples
    validation: Examples
    test: Examples
    dataset: Dataset


def split(source: Source, arrays: RawArrays, settings: Split) -> Parts:
    """Splits the training images in two and fits the scaling on the first part alone.

    Raises:
        InputError: If the fraction leaves a part empty, a class is too rare to stratify by, or the
            training images are all black.
    """
    train, validation = split_indices(arrays.train_labels, settings)
    images, labels = arrays.train_images, arrays.train_labels
    pixel_maximum = int(images[train].max())
    if pixel_maximum == 0:
        raise InputError("data/raw: every pixel of the training images is 0")
    _, height, width, channels = images.shape

    def count(of: UInt8Array) -> tuple[int, ...]:
        return tuple(np.bincount(of, minlength=len(source.class_names)).tolist())

    return Parts(
        train=Examples(images[train], labels[train]),
        validation=Examples(images[validation], labels[validation]),
        test=Examples(arrays.test_images, arrays.test_labels),
        dataset=Dataset(
            name=source.dataset,
            class_names=source.class_names,
            height=height,
            width=width,
            channels=channels,
            pixel_maximum=pixel_maximum,
            train_counts=count(labels[train]),
            validation_counts=count(labels[validation]),
            test_counts=count(arrays.test_labels),
            files=source.files,
        ),
    )


def split_indices(labels: UInt8Array, settings: Split) -> tuple[Indices, Indices]:
    """Which images train and which validate: scikit-learn's `train_test_split`.

    Args:
        labels: Shape (n,).
        settings: Fraction, seed and whether to stratify.

    Returns:
        Two arrays of indices, disjoint, together 0 to n - 1, shuffled; the same as those of
        `train_test_split(images, test_size=validation_fraction, random_state=seed)`.

    Raises:
        InputError: If scikit-learn cannot split so.
    """
    try:
        train, validation = train_test_split(
            np.arange(len(labels)),
            test_size=settings.validation_fraction,
            random_state=settings.seed,
            stratify=labels if settings.stratify else None,
        )
    except ValueError as error:
        raise InputError(f"params.yaml: split: {error}") from None
    return train, validation
