"""One optimizer's trials, with their scores on the test examples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

from stages.common.confirmation import (
    CONFIRMATION,
    PREDICTIONS,
    ROWS,
    ConfirmationRow,
    Rate,
    Scored,
    scores_by_seed,
)
from stages.common.errors import InputError
from stages.common.files import Array, FloatArray
from stages.common.results import Confirmed, Estimate
from stages.common.runs import EPOCHS, RUN, RUNS, TRIALS, EpochRow, Run, TrialRow
from stages.common.score import Score
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
        return scores_by_seed(self.rows)

    def summarise(self, confidence: float, score: Score, n_test: int) -> Confirmed:
        def estimated(values: Iterable[float], resolution: float = 0.0) -> Estimate:
            return estimate(
                list(values),
                confidence,
                resolution=resolution,
                lowest=score.lowest,
                highest=score.highest,
            )

        completed = self.completed
        return Confirmed(
            learning_rate=self.learning_rate,
            n_trials=len(self.rows),
            n_failed=self.n_failed,
            test_score=estimated((row.test_score for row in completed), score.resolution(n_test)),
            test_loss=estimate([row.test_loss for row in completed], confidence),
            validation_score=estimated(row.validation_score for row in completed),
            best_validation_score=estimated(row.best_validation_score for row in completed),
        )


@dataclass(frozen=True)
class ScoredRun:
    """One optimizer's trials.

    `tuning` rows are in the order in which they were trained. `curves` belong to the completed
    trials at the tuned rate with the first fresh seeds; `n_curves` counts the failed ones as well.
    `predictions` are those of the completed trials of `tuned`, and `example_scores` is what each
    test example adds to their score; see `Predictions`.
    """

    run: Run
    tuning: tuple[TrialRow, ...]
    curves: tuple[tuple[EpochRow, ...], ...]
    n_curves: int
    n_steps_per_epoch: float
    tuned: Group
    configured: Group
    predictions: Array
    example_scores: FloatArray

    @property
    def trials(self) -> tuple[TrialRow | ConfirmationRow, ...]:
        """Every trial, once."""
        is_same = self.run.tuned == self.run.configured
        return (*self.tuning, *self.tuned.rows, *(() if is_same else self.configured.rows))


def read_runs(
    names: Iterable[str], runs: Path = RUNS, confirmation: Path = CONFIRMATION
) -> dict[str, ScoredRun]:
    """Reads what `train` and `confirm` wrote for the optimizers of these names.

    Raises:
        InputError: If a file is missing, damaged, or has other trials than the rest.
    """
    names = sorted(names)
    rows: dict[tuple[str, Rate], list[ConfirmationRow]] = {}
    for row in ROWS.read(confirmation):
        rows.setdefault((row.optimizer, row.rate), []).append(row)
    found = PREDICTIONS.read(confirmation)
    if {name for name, _ in rows} != set(names) or not len(found.values) == len(
        found.scores
    ) == len(names):
        raise InputError(f"{confirmation}: has other optimizers than params.yaml; run `dvc repro`")
    return {
        name: _read_run(runs / name, name, rows, values, scores)
        for name, values, scores in zip(names, found.values, found.scores, strict=True)
    }


def _read_run(
    folder: Path,
    name: str,
    rows: Mapping[tuple[str, Rate], list[ConfirmationRow]],
    predictions: Array,
    example_scores: FloatArray,
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
        example_scores=example_scores,
    )


def _known(rows: Iterable[TrialRow | ConfirmationRow]) -> list[tuple[int, float]]:
    """Seed and validation score, infinite for a trial without one: the same in both files."""
    return [(row.seed, getattr(row, "validation_score", inf)) for row in rows]
