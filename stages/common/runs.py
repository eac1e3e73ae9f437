"""The files that `train` writes for one optimizer, in `runs/NAME` and `weights/NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from stages.common.files import Arrays, Csv, FloatArray, IntArray, Json

RUNS = Path("runs")
ALL_WEIGHTS = Path("weights")

Phase = Literal["tuning", "confirmation"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One trial, whatever its outcome.

    `setting` is an index of `Run.settings`; the learning rate there is repeated here for readers.
    `n_epochs` and `n_steps` count what was run.
    """

    phase: Phase
    setting: int
    learning_rate: float
    seed: int
    n_epochs: int
    n_steps: int


@dataclass(frozen=True, kw_only=True)
class Completed(_Row):
    """A trial that was trained to the end; scores are of the last epoch.

    Cross-entropies are in nats. Training losses and scores are means over the epoch's minibatches,
    each before its update. `best_epoch` is that of the best validation score.
    """

    outcome: Literal["completed"] = "completed"
    train_loss: float
    train_score: float
    validation_loss: float
    validation_score: float
    best_epoch: int
    best_validation_score: float


@dataclass(frozen=True, kw_only=True)
class Diverged(_Row):
    """A trial that ended because a loss, score or weight was not finite."""

    outcome: Literal["diverged"] = "diverged"


@dataclass(frozen=True, kw_only=True)
class Failed(_Row):
    """A trial that ended with an error; `reason` is the error's text."""

    outcome: Literal["failed"] = "failed"
    reason: str


TrialRow = Completed | Diverged | Failed


@dataclass(frozen=True)
class EpochRow:
    """One epoch of a trial, scored like `Completed`; an epoch that is not finite has no row."""

    phase: Phase
    setting: int
    seed: int
    epoch: int
    train_loss: float
    train_score: float
    validation_loss: float
    validation_score: float


@dataclass(frozen=True)
class Setting:
    """A point of the optimizer's search space.

    `learning_rate` is `learning_rate_factor` times the configured one; for a schedule, about its
    largest rate. `arguments` are the searched ones, which replace those configured.
    """

    learning_rate_factor: float
    learning_rate: float
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What was trained.

    `optimizer` is Keras's full configuration, defaults included, without the learning rate. `tuned`
    and `configured` are indices of `settings`: what tuning chose, and what `params.yaml` has.
    `n_state` counts the numbers that the optimizer keeps for the `n_parameters` weights. `versions`
    are those of the packages that compute the numbers. `own` is a digest of the user's own code
    that the trials ran, empty if there is none.
    """

    class_name: str
    optimizer: Mapping[str, Any]
    settings: tuple[Setting, ...]
    tuned: int
    configured: int
    jit_compile: bool
    n_parameters: int
    n_state: int
    versions: Mapping[str, str]
    own: str = ""


@dataclass(frozen=True)
class Weights:
    """The final weights of the completed confirmation trials.

    `settings`, indices of `Run.settings`, and `seeds` are `(n_trials,)`; `arrays` holds one
    `(n_trials, ...) float32` per weight, in the order of `keras.Model.weights`.
    """

    settings: IntArray
    seeds: IntArray
    arrays: tuple[FloatArray, ...]


# In runs/NAME
TRIALS = Csv("trials.csv", cast("type[TrialRow]", TrialRow))
EPOCHS = Csv("curves.csv", EpochRow)
# Exact, because the race trains further seeds at the tuned setting.
RUN = Json("run.json", Run, exact=True)
MODEL = "model.keras"
# In weights/NAME
WEIGHTS = Arrays("weights.npz", Weights)
