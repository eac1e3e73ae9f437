"""Trials and their results, as values that processes exchange; imports no TensorFlow."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from stages.common.data import Dataset, Examples
from stages.common.files import FloatArray
from stages.common.params import Params
from stages.common.runs import EpochRow, Phase, TrialRow
from stages.engine.environment import Environment

# How many optimizers' networks a worker keeps, since it may be given their trials in turn.
N_SLOTS = 8


@dataclass(frozen=True)
class Trial:
    """A training run to be done.

    `setting` is the index of its setting; it does not affect the result, so it is not compared.
    """

    phase: Phase
    learning_rate_factor: float
    seed: int
    setting: int = field(compare=False)


@dataclass(frozen=True, eq=False)
class Data:
    """The examples that train and validate; sent to each worker once."""

    train: Examples
    validation: Examples


@dataclass(frozen=True)
class Work:
    """What one optimizer's trials have in common, except the examples.

    `params` has that optimizer alone, `configured_rate` is the rate at a factor of 1, `own` is a
    digest of the user's own code, and `key` identifies everything that the results depend on.
    """

    name: str
    params: Params
    dataset: Dataset
    jit_compile: bool
    configured_rate: float
    own: str
    key: str


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial.

    `curve` has its epochs, up to the one that diverged. `weights`, in the order of
    `keras.Model.weights`, are kept for completed confirmation trials only, else empty.
    """

    row: TrialRow
    curve: tuple[EpochRow, ...]
    weights: tuple[FloatArray, ...]


class LostTrialError(Exception):
    """A trial was lost on the way to a worker or back, and may be submitted again."""


class Workers(Protocol):
    """Runs trials side by side."""

    @property
    def environment(self) -> Environment:
        """The environment that all workers share."""

    def submit(self, work: Work, data: Data, trial: Trial) -> "Future[TrialResult]":
        """Queues the trial, which runs when its turn comes."""

    def collect(self, future: "Future[TrialResult]") -> TrialResult:
        """The result of a future that is done.

        Raises:
            LostTrialError: If the trial may be submitted again.
            InputError: If it may not.
        """
