"""What `sources`, `download` and `preprocess` make: facts, files and arrays."""

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
    """One file of `data/raw`, its content fixed by the hash."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Which data set lies in `data/raw` and where it comes from.

    `format` is `idx`, the four gzipped files of MNIST and its relatives under their published
    names; `npz`, one file of arrays; or `table`, one CSV or Parquet file, or two with the training
    part first, whose column `target` is to be predicted. `origin` holds the mirrors that publish
    the files, or says how the arrays were made; the mirror that happened to answer changes no byte.
    `class_names` are empty where they are what the targets hold.
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

    Inputs are `(n, ...)` of `uint8`, `float32` or `int32`; targets `(n,)` classes, as indices of
    `Source.class_names` or as what names them, or `(n,)` or `(n, n_outputs)` numbers. Both are of
    no examples where there is no test part.
    """

    train_inputs: Array
    train_targets: Array
    test_inputs: Array
    test_targets: Array


@dataclass(frozen=True)
class Examples:
    """One split.

    Inputs `(n, ...)` of `uint8`, `float32` or `int32`; targets `(n,) int32`, indices of the class
    names, or `(n, n_outputs) float32`.
    """

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Scaling:
    """What brings inputs, and the targets of a regression, to about the size of 1.

    Fitted on the training split. Scaled inputs are `inputs * input_scale + input_offset`; each
    holds one number, one for each entry of the last axis, or none where inputs are left as they
    are. Targets are `scaled * target_scale + target_offset`, with a number for each output; none
    for classes.
    """

    input_scale: tuple[float, ...]
    input_offset: tuple[float, ...]
    target_scale: tuple[float, ...]
    target_offset: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """What is known of the data in `data/processed`.

    Of a regression there are no class names, and `n_outputs` values for each example. `features`
    names the columns of inputs that come from a table, the numbers first; `medians` are what a gap
    in each of those becomes. `train_counts` and the like are the examples of each class in a split,
    in the order of `class_names`; `files` are those of `data/raw`.
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


# Of data/raw
SOURCE = Json("source.json", Source)
RAW_ARRAYS = Arrays("arrays.npz", RawArrays)
# Of data/processed
TRAIN = Arrays("train.npz", Examples)
VALIDATION = Arrays("validation.npz", Examples)
TEST = Arrays("test.npz", Examples)
# Exact, since models are made of its scaling.
DATASET = Json("dataset.json", Dataset, exact=True)
