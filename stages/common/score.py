"""What trials are judged by: accuracy, R² or a Keras metric."""

import re
from dataclasses import dataclass
from math import inf
from typing import Literal

from stages.common.params import Task

ACCURACY = "accuracy"
R2 = "r2_score"
# Keras's metrics where higher is better, by the end of the name: the lowest and highest value.
_HIGHER = {
    "accuracy": (0.0, 1.0),
    "similarity": (-1.0, 1.0),
    "correlation": (-1.0, 1.0),
    R2: (-inf, 1.0),
}
# All others are errors, which are never below 0, except this one.
_UNBOUNDED = "poisson"
_SHOWN = {R2: "R²"}


@dataclass(frozen=True)
class Score:
    """The score that trials are judged by.

    `keras_name` is its name in Keras, `name` the one for readers. `sign` is 1 if a higher score is
    better and -1 if a lower one is. `is_count` is true if each example is either right or wrong.
    """

    keras_name: str
    name: str
    sign: Literal[1, -1]
    is_count: bool

    @property
    def lowest(self) -> float:
        """The lowest value that the score can have."""
        return _reach(self.keras_name)[0]

    @property
    def highest(self) -> float:
        """The highest value that the score can have."""
        return _reach(self.keras_name)[1]

    def resolution(self, n: int) -> float:
        """The smallest change of a mean over n examples; 0 if the score is continuous."""
        return 1 / n if self.is_count else 0.0

    def merit(self, value: float) -> float:
        """The value, negated if a lower score is better: the greater, the better."""
        return self.sign * value


def score_of(task: Task) -> Score:
    """The score that the task asks for."""
    name = task.score
    if name == "auto":
        name = ACCURACY if task.name == "classification" else R2
    # Keras takes MeanAbsoluteError for mean_absolute_error.
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    is_higher = task.direction == "higher"
    if task.direction == "auto":
        is_higher = name.endswith(tuple(_HIGHER))
    return Score(
        keras_name=name,
        name=_SHOWN.get(name, name.replace("_", " ")),
        sign=1 if is_higher else -1,
        is_count=name == ACCURACY or name.endswith("categorical_accuracy"),
    )


def _reach(name: str) -> tuple[float, float]:
    ends = (reach for end, reach in _HIGHER.items() if name.endswith(end))
    return next(ends, (-inf if name == _UNBOUNDED else 0.0, inf))
