"""What `evaluate` makes of all runs: `metrics.json`, and the files of `evaluation` and `plots`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat

from stages.common.data import Dataset
from stages.common.files import Arrays, Csv, IntArray, Json, UInt8Array

EVALUATION = Path("evaluation")
PLOTS = Path("plots")
REPORT = Path("report")


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
    """What the confirmation trials at one setting reached.

    Estimates are over the completed trials, of the last epoch; `best_validation_accuracy` is of
    each trial's own best epoch. `n_failed` counts the others, which diverged or ended in an error.
    """

    setting: int
    learning_rate: float
    n_trials: int
    n_failed: int
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
    mean validation accuracy lies within a point of its. `failed_share` is of all trials.
    `state_per_parameter` counts the numbers that the optimizer keeps for each weight.
    `expected_best[k - 1]` is the best validation accuracy to be expected of k learning rates
    drawn at random from the grid.
    """

    epochs_reached: tuple[int, ...]
    epochs_to_target: float | None
    steps_to_target: float | None
    rate_low: float
    rate_high: float
    failed_share: float
    state_per_parameter: float
    expected_best: tuple[float, ...]


@dataclass(frozen=True)
class OptimizerResult:
    """One optimizer: at the learning rate that tuning chose, and at that of params.yaml."""

    class_name: str
    tuned: Confirmed
    configured: Confirmed
    criteria: Criteria


Label = Literal["better", "tied", "undecided"]


@dataclass(frozen=True)
class Pair:
    """Two optimizers at their tuned rates.

    `first` ranks before `second`, and `label` is what may be said of it. `mean_difference` in test
    accuracy, its interval and `p` are paired over the `n_seeds` that both completed, None below
    two; `p_adjusted` is Holm's over all pairs. `probability_of_improvement` is that of a trial of
    `first` to beat one of `second`, where a failed one loses. `test_set_half_width` is how far
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
    """Everything that is said of the optimizers, best first.

    `best` is None where the verdict is undecided. `target_accuracy` is on the validation images,
    None if every trial failed. `budget` says in words what to take for how many learning rates.
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
    optimizers: Mapping[str, OptimizerResult]
    pairs: tuple[Pair, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ScoreRow:
    """One completed confirmation trial on the test images; `setting` is that of `Run.settings`."""

    optimizer: str
    setting: int
    learning_rate: float
    seed: int
    test_accuracy: float
    test_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Mistakes:
    """Test images that the ranking's first optimizer got wrong.

    Those that most of its confirmation trials at the tuned rate mistook, most often first: images
    `(n, height, width, channels) uint8`; `actual` and `predicted`, the most frequent mistake,
    index the class names; `n_wrong` counts the trials. All of these `(n,)`.
    """

    images: UInt8Array
    actual: IntArray
    predicted: IntArray
    n_wrong: IntArray


@dataclass(frozen=True)
class OptimizerMetrics:
    """The few numbers of an optimizer that `dvc metrics` puts in a table."""

    test_accuracy: FiniteFloat | None = None
    test_accuracy_low: FiniteFloat | None = None
    test_accuracy_high: FiniteFloat | None = None
    configured_test_accuracy: FiniteFloat | None = None
    learning_rate: FiniteFloat | None = None
    n_failed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What `dvc metrics` shows; an earlier commit's file may lack some of it.

    `best` is None where the verdict is undecided, empty where the file has none.
    """

    best: str | None = ""
    verdict: str = ""
    warnings: int = 0
    optimizers: Mapping[str, OptimizerMetrics]


@dataclass(frozen=True)
class CurvePoint:
    """One score after an epoch.

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
    """An optimizer's test accuracy with its interval."""

    optimizer: str
    test_accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TuningPoint:
    """One learning rate of an optimizer's grid.

    `validation_accuracy` is the mean over the completed tuning trials, None without any;
    `choice` says which rate is `tuned`, which `configured`, and which `both`.
    """

    optimizer: str
    learning_rate_factor: float
    learning_rate: float
    validation_accuracy: float | None
    n_trials: int
    n_failed: int
    choice: Literal["tuned", "configured", "both", "neither"]


@dataclass(frozen=True)
class BudgetPoint:
    """The best validation accuracy to be expected of so many learning rates."""

    optimizer: str
    n_rates: int
    expected_best: float


@dataclass(frozen=True)
class ConfusionCell:
    """What an optimizer's networks take a class for.

    `share` is the fraction of the test images of class `actual` that are taken for `predicted`,
    over the optimizer's completed confirmation trials at the tuned rate.
    """

    optimizer: str
    actual: str
    predicted: str
    share: float


# Of the project's folder
METRICS = Json("metrics.json", Metrics)
# Of evaluation
COMPARISON = Json("comparison.json", Comparison)
PAIRS = Csv("pairs.csv", Pair)
SCORES = Csv("scores.csv", ScoreRow)
MISTAKES = Arrays("mistakes.npz", Mistakes)
# Of plots
CURVES = Csv("curves.csv", CurvePoint)
ACCURACIES = Csv("accuracy.csv", AccuracyPoint)
TUNING = Csv("tuning.csv", TuningPoint)
BUDGET = Csv("budget.csv", BudgetPoint)
CONFUSION = Csv("confusion.csv", ConfusionCell)
