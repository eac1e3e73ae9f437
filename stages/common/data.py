"""What `sources`, `download` and `preprocess` make: facts, files and arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.common.files import Arrays, Json, UInt8Array

RAW = Path("data/raw")
PROCESSED = Path("data/processed")
SOURCES = Path("data/sources")


@dataclass(frozen=True)
class RawFile:
    """One file of `data/raw`, its content fixed by the hash."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Which data set lies in `data/raw` and where it comes from.

    `format` is `idx`, the four gzipped files of MNIST and its relatives under their published
    names, or `npz`, one file of arrays. `origin` holds the mirrors that publish the files, or says
    how the arrays were made; the mirror that happened to answer changes no byte.
    """

    dataset: str
    format: Literal["idx", "npz"]
    origin: tuple[str, ...]
    class_names: tuple[str, ...]
    files: tuple[RawFile, ...]


@dataclass(frozen=True)
class RawArrays:
    """A whole data set before the validation split.

    Images are `(n, height, width, channels) uint8`, labels `(n,) uint8`.
    """

    train_images: UInt8Array
    train_labels: UInt8Array
    test_images: UInt8Array
    test_labels: UInt8Array


@dataclass(frozen=True)
class Examples:
    """One split: images `(n, height, width, channels) uint8`, labels `(n,) uint8`."""

    images: UInt8Array
    labels: UInt8Array


@dataclass(frozen=True)
class Dataset:
    """What is known of the data in `data/processed`.

    `pixel_maximum` is the largest pixel of the training split: the model's first layer divides by
    it, so that a saved model takes raw pixels. `train_counts` and the like are the images of each
    class in a split, in the order of `class_names`; `files` are those of `data/raw`.
    """

    name: str
    class_names: tuple[str, ...]
    height: int
    width: int
    channels: int
    pixel_maximum: int
    train_counts: tuple[int, ...]
    validation_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    files: tuple[RawFile, ...]

    @property
    def n_train(self) -> int:
        return sum(self.train_counts)

    @property
    def n_validation(self) -> int:
        return sum(self.validation_counts)

    @property
    def n_test(self) -> int:
        return sum(self.test_counts)


# Of data/raw
SOURCE = Json("source.json", Source)
RAW_ARRAYS = Arrays("arrays.npz", RawArrays)
# Of data/processed
TRAIN = Arrays("train.npz", Examples)
VALIDATION = Arrays("validation.npz", Examples)
TEST = Arrays("test.npz", Examples)
DATASET = Json("dataset.json", Dataset)
