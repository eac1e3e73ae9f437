"""The files that `sources`, `download` and `preprocess` write: facts about the data, and arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.common.files import Array, Arrays, Json

RAW = Path("data/raw")
PROCESSED = Path("data/processed")
SOURCES = Path("data/sources")


InputDtype = Literal["uint8", "float32", "int32"]


@dataclass(frozen=True)
class RawFile:
    """A file in `data/raw`, whose hash fixes its content."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Which data set is in `data/raw`, and where it comes from.

    `format` is `idx`, the four gzipped files of MNIST and its relatives under their published
    names; `npz`, one file of arrays; or `table`, one CSV or Parquet file, or two with the training
    part first, in which the column `target` is to be predicted. `origin` lists the mirrors that
    publish the files, whichever of them answered, or says how the arrays were made. `class_names`
    is empty if the targets themselves hold the names.
    """

    dataset: str
    format: Literal["idx", "npz", "table"]
    origin: tuple[str, ...]
    class_names: tuple[str, ...]
    files: tuple[RawFile, ...]
    target: str = ""


@dataclass(frozen=True)
class RawArrays:
    """A whole data set before the validation split.

    Inputs are `(n, ...)` of `uint8`, `float32` or `int32`. Targets are `(n,)` classes, given as
    indices of `Source.class_names` or by their names, or `(n,)` or `(n, n_outputs)` numbers. The
    test arrays are empty if the data set has no test part.
    """

    train_inputs: Array
    train_targets: Array
    test_inputs: Array
    test_targets: Array


@dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Inputs are `(n, ...)` of `uint8`, `float32` or `int32`; targets are `(n,) int32`, indices of the
    class names, or `(n, n_outputs) float32`.
    """

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Scaling:
    """How inputs, and the targets of a regression, are scaled to about the size of 1.

    Fitted on the training split. Scaled inputs are `inputs * input_scale + input_offset`; each of
    the two holds one number, or one for each entry of the last axis, or none if inputs are not
    scaled. Targets are `scaled * target_scale + target_offset`, with a number for each output; both
    are empty for classes.
    """

    input_scale: tuple[float, ...]
    input_offset: tuple[float, ...]
    target_scale: tuple[float, ...]
    target_offset: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """Describes the data in `data/processed`.

    A regression has no class names, and `n_outputs` values for each example. `features` names the
    columns of inputs that come from a table, numeric ones first; `medians` are the values that fill
    the gaps in the numeric ones. `train_counts` and the like count the examples of each class in a
    split, in the order of `class_names`; `files` are those in `data/raw`.
    """

    name: str
    input_shape: tuple[int, ...]
    input_dtype: InputDtype
    n_outputs: int
    class_names: tuple[str, ...]
    features: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    train_counts: tuple[int, ...]
    validation_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    files: tuple[RawFile, ...]
    scaling: Scaling
    medians: tuple[float, ...] = ()

    @property
    def task(self) -> Literal["classification", "regression"]:
        return "classification" if self.class_names else "regression"


# In data/raw
SOURCE = Json("source.json", Source)
RAW_ARRAYS = Arrays("arrays.npz", RawArrays)
# In data/processed
TRAIN = Arrays("train.npz", Examples)
VALIDATION = Arrays("validation.npz", Examples)
TEST = Arrays("test.npz", Examples)
# Exact, because networks are built with its scaling.
DATASET = Json("dataset.json", Dataset, exact=True)
