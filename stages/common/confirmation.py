"""What `confirm` makes of all runs: the files of `confirmation`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from stages.common.files import Arrays, Csv, FloatArray, UInt8Array, as_written

CONFIRMATION = Path("confirmation")

Rate = Literal["tuned", "configured"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A trial with a fresh seed, at the tuned rate or at that of params.yaml.

    Where both are the same, it is called tuned.
    """

    optimizer: str
    rate: Rate
    seed: int
    n_steps: int


@dataclass(frozen=True, kw_only=True)
class Scored(_Row):
    """A completed trial; accuracies are fractions, the loss is in nats, after the last epoch."""

    outcome: Literal["completed"] = "completed"
    validation_accuracy: float
    best_validation_accuracy: float
    test_accuracy: float
    test_loss: float


@dataclass(frozen=True, kw_only=True)
class Unscored(_Row):
    """A trial that diverged or failed."""

    outcome: Literal["diverged", "failed"]


ConfirmationRow = Scored | Unscored


def accuracies_by_seed(rows: Iterable[ConfirmationRow]) -> FloatArray:
    """Test accuracy by row, NaN for a trial without one.

    Rounded as in the file, so that whoever reads it judges by the same numbers.
    """
    return np.array(
        [as_written(row.test_accuracy) if isinstance(row, Scored) else np.nan for row in rows]
    )


@dataclass(frozen=True)
class Predictions:
    """The class that each network predicts for each test image.

    One `(n_trials, n_test) uint8` for each optimizer, by name; the trials are the completed ones at
    the tuned rate, in the order of their seeds.
    """

    classes: tuple[UInt8Array, ...]


ROWS = Csv("trials.csv", cast("type[ConfirmationRow]", ConfirmationRow))
PREDICTIONS = Arrays("predictions.npz", Predictions)
