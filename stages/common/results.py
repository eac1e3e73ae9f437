"""The files that `evaluate` writes: `metrics.json`, and those in `evaluation` and `plots`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, FiniteFloat

from stages.common.data import Dataset
from stages.common.files import Arrays, Csv, IntArray, Json, UInt8Array
from stages.common.score import Score

EVALUATION = Path("evaluation")
PLOTS = Path("plots")
REPORT = Path("report")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its confidence interval.

    Values are None if there is too little data: no mean without a value, no interval below two.
    """

    mean: float | None
    low: float | None
    high: float | None
    standard_deviation: float | None


@dataclass(frozen=True)
class Confirmed:
    """What the confirmation trials at one setting reached.

    Estimates are over the completed trials and of the last epoch; only `best_validation_score` is
    of each trial's own best epoch. `n_failed` counts trials that diverged or ended in an error.
    """

    learning_rate: float
    n_trials: int
    n_failed: int
    test_score: Estimate
    test_loss: Estimate
    validation_score: Estimate
    best_validation_score: Estimate


@dataclass(frozen=True)
class Criteria:
    """What else the trials tell about an optimizer.

    Of the `n_trials` trials with the first fresh seeds, `epochs_reached` lists in ascending order
    the epochs at which they reached the target; those that never did are missing from it.
    `epochs_to_target` and `steps_to_target` are medians over all of them, None if half or more
    never did. `rate_low` and `rate_high` bound the learning rates around the tuned one whose mean
    validation score is within the margin of the tuned one's. `failed_share` is the fraction of all
    trials that did not complete. `state_per_parameter` counts the numbers that the optimizer keeps
    for each weight.
    """

    epochs_reached: tuple[int, ...]
    n_trials: int
    epochs_to_target: float | None
    steps_to_target: float | None
    rate_low: float
    rate_high: float
    failed_share: float
    state_per_parameter: float


@dataclass(frozen=True)
class OptimizerResult:
    """One optimizer, at the learning rate that tuning chose and at the one in params.yaml."""

    class_name: str
    tuned: Confirmed
    configured: Confirmed
    criteria: Criteria


Label = Literal["better", "tied", "undecided"]
Choice = Literal["tuned", "configured", "both", "neither"]


@dataclass(frozen=True)
class PairTest:
    """The test of two optimizers at their tuned rates, with `first` ahead of `second`.

    `mean_difference` is in test score, positive if the first is better, and over those of the
    `n_seeds` shared seeds that both completed. It is None with fewer than two of them, and below 0
    if the first is ahead because it fails less often. `low` and `high` bound it at the level of the
    test. `p` is two-sided and of the last look alone; the pair differs significantly if `p` is at
    most `nominal`, the level that is left for this pair at that look.
    """

    first: str
    second: str
    label: Label
    n_seeds: int
    mean_difference: float | None
    low: float | None
    high: float | None
    p: float
    nominal: float


@dataclass(frozen=True)
class Pair(PairTest):
    """The test of two optimizers, and what else is known about the pair.

    `probability_of_improvement` is the probability that a trial of `first` beats one of `second`; a
    failed trial loses. `test_set_half_width` is how far the choice of test examples alone may move
    the difference.
    """

    probability_of_improvement: float
    test_set_half_width: float | None


@dataclass(frozen=True)
class Look:
    """The state of the race after `n_seeds` seeds.

    `bound` is how far one of `racing` may be ahead of `leader`, None if that is unknown;
    `beaten` were found to be behind, or to fail more often, and were not trained any further.
    """

    n_seeds: int
    racing: tuple[str, ...]
    leader: str
    bound: float | None
    beaten: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A fault that a validity check found; `stages/report/warnings.py` puts it into words.

    `facts` are the numbers and names that those words need, by names that differ between checks.
    """

    check: str
    optimizers: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The whole comparison; `optimizers` has the one to take first, the others follow by rank.

    `best` is None if every trial failed. Another optimizer may be ahead of it by at most `bound`,
    None if that is unknown. `verdict` says so in a sentence, and `details` adds what belongs to it.
    `target` is a validation score. `n_steps` counts the updates of all trials.
    """

    dataset: Dataset
    score: Score
    n_parameters: int
    n_trials: int
    n_steps: int
    confidence: float
    margin: float
    target: float | None
    best: str | None
    bound: float | None
    n_seeds: int
    verdict: str
    details: tuple[str, ...]
    warnings: tuple[Finding, ...]
    optimizers: Mapping[str, OptimizerResult]
    pairs: tuple[Pair, ...]
    looks: tuple[Look, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Mistakes:
    """Test pictures that the first optimizer of the ranking got wrong; none for other data.

    They are those that most of its confirmation trials at the tuned rate got wrong, most often
    first. `pictures` are `(n, height, width, channels) uint8`, where 255 is the training split's
    largest value. The others are `(n,)`: `actual` and `predicted`, the most frequent mistake, index
    the class names; `n_wrong` counts the trials.
    """

    pictures: UInt8Array
    actual: IntArray
    predicted: IntArray
    n_wrong: IntArray


def _called(*names: str) -> Any:
    """A field that is read under its present name or an earlier one."""
    return Field(validation_alias=AliasChoices(*names))


@dataclass(frozen=True)
class OptimizerMetrics:
    """The few numbers of an optimizer that `dvc metrics` puts in a table.

    An earlier commit's file may have them under longer names.
    """

    score: Annotated[FiniteFloat | None, _called("score", "accuracy", "test_accuracy")] = None
    low: Annotated[FiniteFloat | None, _called("low", "test_accuracy_low")] = None
    high: Annotated[FiniteFloat | None, _called("high", "test_accuracy_high")] = None
    rate: Annotated[FiniteFloat | None, _called("rate", "learning_rate")] = None
    failed: Annotated[int | None, _called("failed", "n_failed", "n_diverged")] = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What `dvc metrics` shows; an earlier commit's file may lack some of it.

    `best` is None if there is none, and empty if the file has no such key.
    """

    best: str | None = ""
    bound: FiniteFloat | None = None
    seeds: int | None = None
    warnings: int = 0
    optimizers: Mapping[str, OptimizerMetrics]


@dataclass(frozen=True)
class CurvePoint:
    """Loss and score after an epoch.

    The mean, and the lowest and highest score, over the completed confirmation trials at the tuned
    rate.
    """

    optimizer: str
    split: Literal["train", "validation"]
    epoch: int
    loss: float
    score: float
    score_low: float
    score_high: float


@dataclass(frozen=True)
class ScorePoint:
    """An optimizer's test score with its interval."""

    optimizer: str
    test_score: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TuningPoint:
    """One setting of an optimizer's tuning: a learning rate, and what else was searched.

    `arguments` are the searched ones, such as `momentum=0.9; nesterov=True`; None without any.
    `validation_score` is the mean over the completed tuning trials, None without any;
    `choice` says which rate is `tuned`, which `configured`, and which `both`.
    """

    optimizer: str
    learning_rate_factor: float
    learning_rate: float
    validation_score: float | None
    n_trials: int
    n_failed: int
    choice: Choice
    arguments: str | None = None


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of an optimizer's confusion matrix.

    `share` is the fraction of the test examples of class `actual` that are predicted as
    `predicted`, over the optimizer's completed confirmation trials at the tuned rate.
    """

    optimizer: str
    actual: str
    predicted: str
    share: float


@dataclass(frozen=True)
class FittedPoint:
    """A test example and its predictions by the networks of the ranking's first optimizer.

    They are the mean, lowest and highest over its completed confirmation trials at the tuned rate.
    `output` is the position of the value if there are several for an example.
    """

    optimizer: str
    output: int
    actual: float
    predicted: float
    predicted_low: float
    predicted_high: float


# In the project's folder
METRICS = Json("metrics.json", Metrics)
# In evaluation
COMPARISON = Json("comparison.json", Comparison)
PAIRS = Csv("pairs.csv", Pair)
MISTAKES = Arrays("mistakes.npz", Mistakes)
# In plots
CURVES = Csv("curves.csv", CurvePoint)
SCORES = Csv("scores.csv", ScorePoint)
TUNING = Csv("tuning.csv", TuningPoint)
CONFUSION = Csv("confusion.csv", ConfusionCell)
FITTED = Csv("fitted.csv", FittedPoint)
