"""What one optimizer's trials gave, with their scores on the test images."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.common.confirmation import (
    CONFIRMATION,
    PREDICTIONS,
    ROWS,
    ConfirmationRow,
    Rate,
    Scored,
    accuracies_by_seed,
)
from stages.common.errors import InputError
from stages.common.files import FloatArray, UInt8Array
from stages.common.results import Confirmed, Estimate
from stages.common.runs import EPOCHS, RUN, RUNS, TRIALS, EpochRow, Run, TrialRow
from stages.inference.estimates import estimate


@dataclass(frozen=True)
class Group:
    """The trials with fresh seeds at one rate, in the order of the seeds."""

    learning_rate: float
    rows: tuple[ConfirmationRow, ...]

    @property
    def completed(self) -> tuple[Scored, ...]:
        return tuple(row for row in self.rows if isinstance(row, Scored))

    @property
    def n_failed(self) -> int:
        """How many diverged or failed."""
        return len(self.rows) - len(self.completed)

    @cached_property
    def scores(self) -> FloatArray:
        return accuracies_by_seed(self.rows)

    def summarise(self, confidence: float, n_test: int) -> Confirmed:
        def accuracy(values: Iterable[float], resolution: float = 0.0) -> Estimate:
            return estimate(
                list(values), confidence, resolution=resolution, lowest=0.0, highest=1.0
            )

        completed = self.completed
        return Confirmed(
            learning_rate=self.learning_rate,
            n_trials=len(self.rows),
            n_failed=self.n_failed,
            test_accuracy=accuracy((row.test_accuracy for row in completed), 1 / n_test),
            test_loss=estimate([row.test_loss for row in completed], confidence, lowest=0),
            validation_accuracy=accuracy(row.validation_accuracy for row in completed),
            best_validation_accuracy=accuracy(row.best_validation_accuracy for row in completed),
        )


@dataclass(frozen=True)
class ScoredRun:
    """One optimizer's trials.

    `tuning` rows are in the order of their making; `curves` are of the completed trials at the
    tuned rate with the first fresh seeds, `n_curves` of them with the failed ones. `predictions` is
    `(n_completed, n_test)`, the classes that the completed trials of `tuned` predict.
    """

    run: Run
    tuning: tuple[TrialRow, ...]
    curves: tuple[tuple[EpochRow, ...], ...]
    n_curves: int
    n_steps_per_epoch: float
    tuned: Group
    configured: Group
    predictions: UInt8Array

    @property
    def trials(self) -> tuple[TrialRow | ConfirmationRow, ...]:
        """Every trial, once."""
        is_same = self.run.tuned == self.run.configured
        return (*self.tuning, *self.tuned.rows, *(() if is_same else self.configured.rows))


def read_runs(
    names: Iterable[str], runs: Path = RUNS, confirmation: Path = CONFIRMATION
) -> dict[str, ScoredRun]:
    """Reads what `train` and `confirm` made of the optimizers of these names.

    Raises:
        InputError: If a file is missing, damaged, or of other trials than the others.
    """
    names = sorted(names)
    rows: dict[tuple[str, Rate], list[ConfirmationRow]] = {}
    for row in ROWS.read(confirmation):
        rows.setdefault((row.optimizer, row.rate), []).append(row)
    predictions = PREDICTIONS.read(confirmation).classes
    if {name for name, _ in rows} != set(names) or len(predictions) != len(names):
        raise InputError(f"{confirmation}: of other optimizers than params.yaml; run `dvc repro`")
    return {
        name: _read_run(runs / name, name, rows, classes)
        for name, classes in zip(names, predictions, strict=True)
    }


def _read_run(
    folder: Path,
    name: str,
    rows: Mapping[tuple[str, Rate], list[ConfirmationRow]],
    predictions: UInt8Array,
) -> ScoredRun:
    run, trials = RUN.read(folder), TRIALS.read(folder)
    curves: dict[int, list[EpochRow]] = {}
    for epoch in EPOCHS.read(folder):
        if epoch.phase == "confirmation" and epoch.setting == run.tuned:
            curves.setdefault(epoch.seed, []).append(epoch)
    rates = [setting.learning_rate for setting in run.settings]
    tuned = Group(rates[run.tuned], tuple(rows[name, "tuned"]))
    others = tuple(rows.get((name, "configured"), ())) or tuned.rows
    configured = Group(rates[run.configured], others)
    first = [t for t in trials if t.phase == "confirmation" and t.setting == run.tuned]
    completed = sorted(row.seed for row in first if row.outcome == "completed")
    if (
        not first
        or _known(tuned.rows[: len(first)]) != sorted(_known(first))
        or len(tuned.completed) != len(predictions)
        or not curves.keys() >= {*completed}
    ):
        raise InputError(
            f"{folder} and {CONFIRMATION} are of other trials; run `dvc repro --force`"
        )
    return ScoredRun(
        run=run,
        tuning=tuple(row for row in trials if row.phase == "tuning"),
        curves=tuple(tuple(curves[seed]) for seed in completed),
        n_curves=len(first),
        n_steps_per_epoch=max((t.n_steps / t.n_epochs for t in trials if t.n_epochs), default=0.0),
        tuned=tuned,
        configured=configured,
        predictions=predictions,
    )


def _known(rows: Iterable[TrialRow | ConfirmationRow]) -> list[tuple[int, float]]:
    """Seed and validation accuracy, -1 for a trial without one: the same in both files."""
    return [(row.seed, getattr(row, "validation_accuracy", -1.0)) for row in rows]
