"""The files that pass between stages: one type, one reader and one writer for each.

Every write is atomic. Measured values are written with six significant digits, so a file's bytes
say what can be told apart and nothing more.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from stages.common.console import InputError

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]
T = TypeVar("T")

RAW = Path("data/raw")
PROCESSED = Path("data/processed")
RUNS = Path("runs")
EVALUATION = Path("evaluation")
PLOTS = Path("plots")
REPORT = Path("report")
METRICS = Path("metrics.json")

TRAIN = PROCESSED / "train.npz"
VALIDATION = PROCESSED / "validation.npz"
TEST = PROCESSED / "test.npz"
DATASET = PROCESSED / "dataset.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which takes its place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, for libraries that go by it.
    temporary = path.with_name(f".{path.stem}.{token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


# data/raw


@dataclass(frozen=True)
class RawFile:
    """One file of `data/raw`, its content fixed by the hash."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """`data/raw/source.json`: which data set lies in the folder and where it comes from.

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


def read_source(folder: Path = RAW) -> Source:
    return _read_json(folder / "source.json", Source)


def write_source(source: Source, folder: Path = RAW) -> None:
    _write_json(folder / "source.json", asdict(source))


def read_raw_arrays(path: Path) -> RawArrays:
    return _read_arrays(path, RawArrays)


def write_raw_arrays(path: Path, arrays: RawArrays) -> None:
    _write_arrays(path, {field.name: getattr(arrays, field.name) for field in fields(arrays)})


# data/processed


@dataclass(frozen=True)
class Examples:
    """One split: images `(n, height, width, channels) uint8`, labels `(n,) uint8`."""

    images: UInt8Array
    labels: UInt8Array


@dataclass(frozen=True)
class Dataset:
    """`data/processed/dataset.json`.

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


def read_examples(path: Path) -> Examples:
    return _read_arrays(path, Examples)


def write_examples(path: Path, examples: Examples) -> None:
    _write_arrays(path, {"images": examples.images, "labels": examples.labels})


def read_dataset(path: Path = DATASET) -> Dataset:
    return _read_json(path, Dataset)


def write_dataset(dataset: Dataset, path: Path = DATASET) -> None:
    _write_json(path, asdict(dataset))


# runs/NAME

Phase = Literal["tuning", "confirmation"]
Status = Literal["completed", "diverged"]


@dataclass(frozen=True)
class TrialRow:
    """A row of `runs/NAME/trials.csv`: one trial.

    The rate is `learning_rate_factor` times the configured one; of a schedule, about its largest.
    Losses are mean cross-entropies in nats, accuracies fractions. `n_epochs` and `n_steps` count
    what was run; scores are of the last epoch, and None where the trial diverged.
    """

    phase: Phase
    learning_rate_factor: float
    learning_rate: float
    seed: int
    status: Status
    n_epochs: int
    n_steps: int
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    best_epoch: int | None
    best_validation_accuracy: float | None

    def __post_init__(self) -> None:
        if self.status == "completed" and None in (self.validation_accuracy, self.validation_loss):
            raise ValueError("a completed trial without validation scores")


@dataclass(frozen=True)
class EpochRow:
    """A row of `runs/NAME/curves.csv`: one epoch of one trial; None for what is not finite.

    Training scores are means over the epoch's minibatches, each before its update.
    """

    phase: Phase
    learning_rate_factor: float
    seed: int
    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Run:
    """`runs/NAME/run.json`: what trained.

    `optimizer` is Keras's full configuration, defaults included, but for the learning rate.
    `tuned_learning_rate_factor` is what tuning chose. `n_state` counts the numbers that the
    optimizer keeps for the `n_parameters` weights.
    `versions` are of the packages that compute the numbers.
    """

    class_name: str
    optimizer: Mapping[str, Any]
    tuned_learning_rate_factor: float
    jit_compile: bool
    n_parameters: int
    n_state: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Weights:
    """`runs/NAME/weights.npz`: the final weights of the completed confirmation trials.

    `learning_rate_factors` and `seeds` are `(n_trials,)`; `arrays` holds one
    `(n_trials, ...) float32` per weight, in the order of `keras.Model.weights`.
    """

    learning_rate_factors: FloatArray
    seeds: IntArray
    arrays: tuple[FloatArray, ...]


def read_trials(folder: Path) -> list[TrialRow]:
    return _read_rows(folder / "trials.csv", TrialRow)


def write_trials(folder: Path, rows: Sequence[TrialRow]) -> None:
    _write_rows(folder / "trials.csv", TrialRow, rows)


def read_epochs(folder: Path) -> list[EpochRow]:
    return _read_rows(folder / "curves.csv", EpochRow)


def write_epochs(folder: Path, rows: Sequence[EpochRow]) -> None:
    _write_rows(folder / "curves.csv", EpochRow, rows)


def read_run(folder: Path) -> Run:
    return _read_json(folder / "run.json", Run)


def write_run(folder: Path, run: Run) -> None:
    # As trials.csv has it, so that the two can be matched.
    factor = _rounded(run.tuned_learning_rate_factor)
    _write_json(folder / "run.json", {**asdict(run), "tuned_learning_rate_factor": factor})


def read_weights(folder: Path) -> Weights:
    def gather(learning_rate_factors: Any, seeds: Any, **arrays: Any) -> Weights:
        in_order = tuple(arrays[name] for name in sorted(arrays))
        return Weights(learning_rate_factors, seeds, in_order)

    return _read_arrays(folder / "weights.npz", gather)


def write_weights(folder: Path, weights: Weights) -> None:
    named = {f"weight_{index:04}": array for index, array in enumerate(weights.arrays)}
    factors = weights.learning_rate_factors
    arrays = {"learning_rate_factors": factors, "seeds": weights.seeds, **named}
    _write_arrays(folder / "weights.npz", arrays)


def read_architecture(folder: Path) -> str:
    """The network as Keras's JSON, from pixels to logits."""
    return json.dumps(_read_json(folder / "architecture.json", dict[str, Any]))


def write_architecture(folder: Path, keras_json: str) -> None:
    _write_json(folder / "architecture.json", json.loads(keras_json))


# evaluation, metrics.json


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its confidence interval.

    None where there is too little to tell: no mean without a value, no interval below two.
    """

    mean: float | None
    low: float | None
    high: float | None
    standard_deviation: float | None


@dataclass(frozen=True)
class Confirmed:
    """What the confirmation trials at one learning rate reached.

    Estimates are over the completed trials, of the last epoch; `best_validation_accuracy` is of
    each trial's own best epoch.
    """

    learning_rate: float
    n_trials: int
    n_diverged: int
    test_accuracy: Estimate
    test_loss: Estimate
    validation_accuracy: Estimate
    best_validation_accuracy: Estimate


@dataclass(frozen=True)
class Criteria:
    """What else the same trials say of an optimizer.

    `epochs_reached` has the epoch, in ascending order, of each confirmation trial at the tuned rate
    that reached the target; `epochs_to_target` and `steps_to_target` are medians over all of them,
    None where half or more never did.
    `rate_low` and `rate_high` bound the learning rates of the grid, around the tuned one, whose
    mean validation accuracy lies within a point of its. `diverged_share` is of all trials.
    `state_per_parameter` counts the numbers that the optimizer keeps for each weight.
    `expected_best[k - 1]` is the best validation accuracy to be expected of k learning rates
    drawn at random from the grid.
    """

    epochs_reached: tuple[int, ...]
    epochs_to_target: float | None
    steps_to_target: float | None
    rate_low: float
    rate_high: float
    diverged_share: float
    state_per_parameter: float
    expected_best: tuple[float, ...]


@dataclass(frozen=True)
class Standing:
    """One optimizer: at the learning rate that tuning chose, and at that of params.yaml."""

    class_name: str
    tuned: Confirmed
    configured: Confirmed
    criteria: Criteria


Label = Literal["better", "tied", "undecided"]


@dataclass(frozen=True)
class Pair:
    """A row of `evaluation/pairs.csv`: two optimizers at their tuned rates.

    `first` ranks before `second`, and `label` is what may be said of it. `mean_difference` in test
    accuracy, its interval and `p` are paired over the `n_seeds` that both completed, None below
    two; `p_adjusted` is Holm's over all pairs. `probability_of_improvement` is that of a trial of
    `first` to beat one of `second`, where a diverged one loses. `test_set_half_width` is how far
    the choice of test images alone may move the difference. `n_seeds_needed` is for 80 % power
    where the label is undecided and seeds can decide; None if that is beyond all means.
    """

    first: str
    second: str
    label: Label
    n_seeds: int
    mean_difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    probability_of_improvement: float | None
    test_set_half_width: float | None
    n_seeds_needed: int | None


@dataclass(frozen=True)
class Finding:
    """A validity check that fired: what is wrong in plain words, and what to do about it."""

    check: str
    optimizers: tuple[str, ...]
    problem: str
    advice: str


@dataclass(frozen=True)
class Comparison:
    """`evaluation/comparison.json`: everything that is said of the optimizers, best first.

    `best` is None where the verdict is undecided. `target_accuracy` is on the validation images,
    None if every trial diverged. `budget` says in words what to take for how many learning rates.
    `n_steps` counts the updates of all trials.
    """

    dataset: Dataset
    n_parameters: int
    n_trials: int
    n_steps: int
    confidence: float
    margin: float
    target_accuracy: float | None
    best: str | None
    verdict: str
    budget: str
    warnings: tuple[Finding, ...]
    optimizers: Mapping[str, Standing]
    pairs: tuple[Pair, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class TuningPoint:
    """A row of `plots/tuning.csv`: one learning rate of an optimizer's grid.

    `validation_accuracy` is the mean over the completed tuning trials, None without any;
    `choice` says which rate is `tuned`, which `configured`, and which `both`.
    """

    optimizer: str
    learning_rate_factor: float
    learning_rate: float
    validation_accuracy: float | None
    n_trials: int
    n_diverged: int
    choice: Literal["tuned", "configured", "both", "neither"]


@dataclass(frozen=True)
class BudgetPoint:
    """A row of `plots/budget.csv`: the best validation accuracy expected of so many rates."""

    optimizer: str
    n_rates: int
    expected_best: float


@dataclass(frozen=True)
class ScoreRow:
    """A row of `evaluation/scores.csv`: one completed confirmation trial on the test images."""

    optimizer: str
    learning_rate_factor: float
    learning_rate: float
    seed: int
    test_accuracy: float
    test_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Mistakes:
    """`evaluation/mistakes.npz`: test images that the ranking's first optimizer got wrong.

    Those that most of its confirmation trials at the tuned rate mistook, most often first: images
    `(n, height, width, channels) uint8`; `actual` and `predicted`, the most frequent mistake,
    index the class names; `n_wrong` counts the trials. All of these `(n,)`.
    """

    images: UInt8Array
    actual: IntArray
    predicted: IntArray
    n_wrong: IntArray


def read_comparison(folder: Path = EVALUATION) -> Comparison:
    return _read_json(folder / "comparison.json", Comparison)


def write_comparison(comparison: Comparison, folder: Path = EVALUATION) -> None:
    _write_json(folder / "comparison.json", _rounded(asdict(comparison)))


def read_mistakes(folder: Path = EVALUATION) -> Mistakes:
    return _read_arrays(folder / "mistakes.npz", Mistakes)


def write_mistakes(mistakes: Mistakes, folder: Path = EVALUATION) -> None:
    arrays = {field.name: getattr(mistakes, field.name) for field in fields(mistakes)}
    _write_arrays(folder / "mistakes.npz", arrays)


def write_pairs(rows: Sequence[Pair], folder: Path = EVALUATION) -> None:
    _write_rows(folder / "pairs.csv", Pair, rows)


def write_scores(rows: Sequence[ScoreRow], folder: Path = EVALUATION) -> None:
    _write_rows(folder / "scores.csv", ScoreRow, rows)


def write_metrics(comparison: Comparison, path: Path = METRICS) -> None:
    """Writes the few numbers that `dvc metrics show` and `dvc metrics diff` put in a table."""
    optimizers = {
        name: {
            "test_accuracy": standing.tuned.test_accuracy.mean,
            "test_accuracy_low": standing.tuned.test_accuracy.low,
            "test_accuracy_high": standing.tuned.test_accuracy.high,
            "configured_test_accuracy": standing.configured.test_accuracy.mean,
            "learning_rate": standing.tuned.learning_rate,
            "n_diverged": standing.tuned.n_diverged,
        }
        for name, standing in sorted(comparison.optimizers.items())
    }
    content = {
        "best": comparison.best,
        "verdict": comparison.verdict,
        "warnings": len(comparison.warnings),
        "optimizers": optimizers,
    }
    _write_json(path, _rounded(content))


# plots


@dataclass(frozen=True)
class CurvePoint:
    """A row of `plots/curves.csv`: one score after an epoch.

    Over the completed confirmation trials at the tuned rate: mean, lowest and highest.
    """

    optimizer: str
    split: Literal["train", "validation"]
    epoch: int
    loss: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class AccuracyPoint:
    """A row of `plots/accuracy.csv`: an optimizer's test accuracy with its interval."""

    optimizer: str
    test_accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ConfusionCell:
    """A row of `plots/confusion.csv`.

    `share` is the fraction of the test images of class `actual` that are taken for `predicted`,
    over the optimizer's completed confirmation trials at the tuned rate.
    """

    optimizer: str
    actual: str
    predicted: str
    share: float


def read_scores(folder: Path = EVALUATION) -> list[ScoreRow]:
    return _read_rows(folder / "scores.csv", ScoreRow)


def read_curve_points(folder: Path = PLOTS) -> list[CurvePoint]:
    return _read_rows(folder / "curves.csv", CurvePoint)


def read_tuning_points(folder: Path = PLOTS) -> list[TuningPoint]:
    return _read_rows(folder / "tuning.csv", TuningPoint)


def read_budget_points(folder: Path = PLOTS) -> list[BudgetPoint]:
    return _read_rows(folder / "budget.csv", BudgetPoint)


def read_confusion(folder: Path = PLOTS) -> list[ConfusionCell]:
    return _read_rows(folder / "confusion.csv", ConfusionCell)


def write_curve_points(rows: Sequence[CurvePoint], folder: Path = PLOTS) -> None:
    _write_rows(folder / "curves.csv", CurvePoint, rows)


def write_accuracy_points(rows: Sequence[AccuracyPoint], folder: Path = PLOTS) -> None:
    _write_rows(folder / "accuracy.csv", AccuracyPoint, rows)


def write_tuning_points(rows: Sequence[TuningPoint], folder: Path = PLOTS) -> None:
    _write_rows(folder / "tuning.csv", TuningPoint, rows)


def write_budget_points(rows: Sequence[BudgetPoint], folder: Path = PLOTS) -> None:
    _write_rows(folder / "budget.csv", BudgetPoint, rows)


def write_confusion(rows: Sequence[ConfusionCell], folder: Path = PLOTS) -> None:
    _write_rows(folder / "confusion.csv", ConfusionCell, rows)


# How the three kinds of file are read and written.


def _read_json(path: Path, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise _unreadable(path, error) from None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _read_arrays(path: Path, kind: Callable[..., T]) -> T:
    try:
        # Opened here, since NumPy leaves a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return kind(**archive)
    # A TypeError tells of an array too few or too many.
    except (OSError, ValueError, EOFError, BadZipFile, TypeError) as error:
        raise _unreadable(path, error) from None


def _write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def _read_rows(path: Path, kind: type[T]) -> list[T]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *lines = csv.reader(file)
        entries = [dict(zip(columns, (v or None for v in line), strict=True)) for line in lines]
        rows = TypeAdapter(list[kind]).validate_python(entries)  # type: ignore[valid-type]
    except (OSError, csv.Error, ValueError) as error:
        raise _unreadable(path, error) from None
    if columns != _columns(kind):
        raise _unreadable(path, f"columns {columns}, should be {_columns(kind)}")
    return rows


def _write_rows(path: Path, kind: type[Any], rows: Iterable[Any]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_columns(kind))
        writer.writerows(_rounded(astuple(row)) for row in rows)


def _columns(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]


def _rounded(value: Any) -> Any:
    """Cuts floats to six significant digits, in nested values as well."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value


def _unreadable(path: Path, error: Exception | str) -> InputError:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        error = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    reason = " ".join(str(error).split())
    return InputError(f"{path}: not as its stage writes it; run `dvc repro` ({reason})")
