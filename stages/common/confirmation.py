"""The files that `confirm` writes: the scores of every fresh seed, and the predictions."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from stages.common.files import Array, Arrays, Csv, FloatArray, as_written

CONFIRMATION = Path("confirmation")

Rate = Literal["tuned", "configured"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A trial with a fresh seed, at the tuned learning rate or at the one in params.yaml.

    If the two are equal, `rate` is `tuned`.
    """

    optimizer: str
    rate: Rate
    seed: int
    n_steps: int


@dataclass(frozen=True, kw_only=True)
class Scored(_Row):
    """A completed trial; all scores but the best one are of the last epoch."""

    outcome: Literal["completed"] = "completed"
    validation_score: float
    best_validation_score: float
    test_score: float
    test_loss: float


@dataclass(frozen=True, kw_only=True)
class Unscored(_Row):
    """A trial that diverged or failed."""

    outcome: Literal["diverged", "failed"]


ConfirmationRow = Scored | Unscored


def scores_by_seed(rows: Iterable[ConfirmationRow]) -> FloatArray:
    """The test score of each row; NaN for a trial without one.

    Scores are rounded as in the file, so that everyone who reads it judges by the same numbers.
    """
    return np.array(
        [as_written(row.test_score) if isinstance(row, Scored) else np.nan for row in rows]
    )


@dataclass(frozen=True)
class Predictions:
    """Predictions for the test examples: one array per optimizer, sorted by its name.

    The trials are the completed ones at the tuned rate, in the order of their seeds. `values` are
    `(n_trials, n_test)` unsigned integers, the classes, or `(n_trials, n_test, n_outputs) float32`.
    `scores` are `(n_test,) float64`: each example's score, averaged over the trials; their mean is
    the optimizer's score. Both are empty if no trial completed.
    """

    values: tuple[Array, ...]
    scores: tuple[FloatArray, ...]


ROWS = Csv("trials.csv", cast("type[ConfirmationRow]", ConfirmationRow))
PREDICTIONS = Arrays("predictions.npz", Predictions)
