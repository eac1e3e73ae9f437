"""What one optimizer's run gave, its confirmation trials scored on the test images."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stages.common.data import Examples
from stages.common.errors import InputError
from stages.common.files import FloatArray
from stages.common.results import Confirmed, Estimate
from stages.common.runs import (
    ARCHITECTURE,
    EPOCHS,
    RUN,
    TRIALS,
    WEIGHTS,
    Completed,
    EpochRow,
    Run,
    TrialRow,
)
from stages.evaluate.pairs import Sample
from stages.evaluate.scoring import TrialScore, score_trials
from stages.evaluate.statistics import estimate


@dataclass(frozen=True)
class Group:
    """The confirmation trials at one setting, ordered by seed.

    `completed` rows, `scores` on the test images and `curves` go together.
    """

    rows: tuple[TrialRow, ...]
    completed: tuple[Completed, ...]
    scores: tuple[TrialScore, ...]
    curves: tuple[tuple[EpochRow, ...], ...]

    @property
    def n_failed(self) -> int:
        """How many diverged or failed."""
        return len(self.rows) - len(self.completed)

    @cached_property
    def sample(self) -> Sample:
        """The trials as comparisons see them."""
        seeds = [row.seed for row in self.completed]
        accuracies = [score.accuracy for score in self.scores]
        return Sample(
            accuracies=dict(zip(seeds, accuracies, strict=True)),
            n_failed=self.n_failed,
            image_accuracies=self._image_accuracies() if self.scores else None,
        )

    def summarise(self, confidence: float) -> Confirmed:
        def accuracy(values: Iterable[float]) -> Estimate:
            return estimate(list(values), confidence, lowest=0, highest=1)

        return Confirmed(
            setting=self.rows[0].setting,
            learning_rate=self.rows[0].learning_rate,
            n_trials=len(self.rows),
            n_failed=self.n_failed,
            test_accuracy=accuracy(score.accuracy for score in self.scores),
            test_loss=estimate([score.loss for score in self.scores], confidence, lowest=0),
            validation_accuracy=accuracy(row.validation_accuracy for row in self.completed),
            best_validation_accuracy=accuracy(
                row.best_validation_accuracy for row in self.completed
            ),
        )

    def _image_accuracies(self) -> FloatArray:
        means: FloatArray = np.mean([score.is_correct for score in self.scores], axis=0)
        return means


@dataclass(frozen=True)
class ScoredRun:
    """One optimizer's run: `tuning` rows in the order of the grid, and both confirmations."""

    run: Run
    tuning: tuple[TrialRow, ...]
    tuned: Group
    configured: Group

    @property
    def trials(self) -> tuple[TrialRow, ...]:
        """Every trial, once."""
        is_same = self.run.tuned == self.run.configured
        return (*self.tuning, *self.configured.rows, *(() if is_same else self.tuned.rows))


def read_run(folder: Path, test: Examples) -> ScoredRun:
    """Reads `runs/NAME` and scores its networks.

    Raises:
        InputError: If the run is missing or damaged.
    """
    run, rows, weights = RUN.read(folder), TRIALS.read(folder), WEIGHTS.read(folder)
    curves: dict[tuple[int, int], list[EpochRow]] = {}
    for epoch in EPOCHS.read(folder):
        if epoch.phase == "confirmation":
            curves.setdefault((epoch.setting, epoch.seed), []).append(epoch)
    confirmed = [row for row in rows if row.phase == "confirmation"]
    completed = [row for row in confirmed if isinstance(row, Completed)]
    places = [(row.setting, row.seed) for row in completed]
    if list(zip(weights.settings.tolist(), weights.seeds.tolist(), strict=True)) != places:
        raise _mismatch(folder, WEIGHTS.name)
    if not all(place in curves for place in places):
        raise _mismatch(folder, EPOCHS.name)
    if not {run.tuned, run.configured} <= {row.setting for row in confirmed}:
        raise _mismatch(folder, RUN.name)
    network = ARCHITECTURE.read(folder)
    scores = dict(zip(places, score_trials(network, weights, test), strict=True))

    def group(setting: int) -> Group:
        of_setting = sorted((r for r in confirmed if r.setting == setting), key=lambda r: r.seed)
        finished = [row for row in of_setting if isinstance(row, Completed)]
        return Group(
            rows=tuple(of_setting),
            completed=tuple(finished),
            scores=tuple(scores[setting, row.seed] for row in finished),
            curves=tuple(tuple(curves[setting, row.seed]) for row in finished),
        )

    return ScoredRun(
        run=run,
        tuning=tuple(row for row in rows if row.phase == "tuning"),
        tuned=group(run.tuned),
        configured=group(run.configured),
    )


def _mismatch(folder: Path, name: str) -> InputError:
    return InputError(f"{folder}: {name} and {TRIALS.name} differ; run `dvc repro --force`")
