"""What trials are judged by: accuracy, R² or a metric of Keras's."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from stages.common.params import Task

ACCURACY = "accuracy"
R2 = "r2_score"
# Of Keras's names, those of metrics of which more is better.
_HIGHER = ("accuracy", "similarity", R2)
_SHOWN = {R2: "R²"}


@dataclass(frozen=True)
class Score:
    """What the run's score is.

    `keras_name` is Keras's, `name` that for readers. `sign` is 1 where a higher score is better and
    -1 where a lower one is. `is_count` tells that each example is either right or wrong.
    """

    keras_name: str
    name: str
    sign: Literal[1, -1]
    is_count: bool

    @property
    def lowest(self) -> float:
        """What no score can be below."""
        is_error = self.keras_name.endswith(("error", "crossentropy"))
        return 0.0 if self.is_count or is_error else -inf

    @property
    def highest(self) -> float:
        """What no score can be above."""
        return 1.0 if self.is_count or self.keras_name == R2 else inf

    def resolution(self, n: int) -> float:
        """The step in which a mean over n examples can change; 0 where it is as good as none."""
        return 1 / n if self.is_count else 0.0

    def merit(self, value: float) -> float:
        """The greater, the better."""
        return self.sign * value


def score_of(task: Task) -> Score:
    """The score that the task asks for."""
    name = task.score
    if name == "auto":
        name = ACCURACY if task.name == "classification" else R2
    is_higher = task.direction == "higher"
    if task.direction == "auto":
        is_higher = name.endswith(_HIGHER)
    return Score(
        keras_name=name,
        name=_SHOWN.get(name, name.replace("_", " ")),
        sign=1 if is_higher else -1,
        is_count=name.endswith("accuracy"),
    )
