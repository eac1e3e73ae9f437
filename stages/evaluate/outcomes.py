"""What one optimizer's run gave, its confirmation trials scored on the test images."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stages.common import artifacts
from stages.common.artifacts import (
    Confirmed,
    EpochRow,
    Estimate,
    Examples,
    FloatArray,
    TrialRow,
)
from stages.common.console import InputError
from stages.evaluate.pairs import Sample
from stages.evaluate.scoring import TrialScore, score_trials
from stages.evaluate.statistics import estimate

CONFIGURED = 1.0


@dataclass(frozen=True)
class Group:
    """The confirmation trials at one learning rate, ordered by seed.

    `completed` rows, `scores` on the test images and `curves` go together.
    """

    rows: tuple[TrialRow, ...]
    completed: tuple[TrialRow, ...]
    scores: tuple[TrialScore, ...]
    curves: tuple[tuple[EpochRow, ...], ...]

    @property
    def n_diverged(self) -> int:
        return len(self.rows) - len(self.completed)

    @cached_property
    def sample(self) -> Sample:
        """The trials as comparisons see them."""
        seeds = [row.seed for row in self.completed]
        accuracies = [score.accuracy for score in self.scores]
        return Sample(
            accuracies=dict(zip(seeds, accuracies, strict=True)),
            n_diverged=self.n_diverged,
            image_accuracies=self._image_accuracies() if self.scores else None,
        )

    def summarise(self, confidence: float) -> Confirmed:
        def accuracy(values: Iterable[float]) -> Estimate:
            return estimate(list(values), confidence, lowest=0, highest=1)

        return Confirmed(
            learning_rate=self.rows[0].learning_rate,
            n_trials=len(self.rows),
            n_diverged=self.n_diverged,
            test_accuracy=accuracy(score.accuracy for score in self.scores),
            test_loss=estimate([score.loss for score in self.scores], confidence, lowest=0),
            validation_accuracy=accuracy(row.validation_accuracy or 0.0 for row in self.completed),
            best_validation_accuracy=accuracy(
                row.best_validation_accuracy or 0.0 for row in self.completed
            ),
        )

    def _image_accuracies(self) -> FloatArray:
        means: FloatArray = np.mean([score.is_correct for score in self.scores], axis=0)
        return means


@dataclass(frozen=True)
class Outcome:
    """One optimizer's run: `tuning` rows in the order of the grid, and both confirmations."""

    run: artifacts.Run
    tuning: tuple[TrialRow, ...]
    tuned: Group
    configured: Group

    @property
    def trials(self) -> tuple[TrialRow, ...]:
        """Every trial, once."""
        is_same = self.run.tuned_learning_rate_factor == CONFIGURED
        return (*self.tuning, *self.configured.rows, *(() if is_same else self.tuned.rows))


def read_outcome(folder: Path, test: Examples) -> Outcome:
    """Reads `runs/NAME` and scores its networks.

    Raises:
        InputError: If the run is missing or damaged.
    """
    run, rows = artifacts.read_run(folder), artifacts.read_trials(folder)
    completed = [row for row in rows if row.phase == "confirmation" and row.status == "completed"]
    weights, network = artifacts.read_weights(folder), artifacts.read_architecture(folder)
    factors = [row.learning_rate_factor for row in completed]
    is_same = weights.seeds.tolist() == [row.seed for row in completed]
    if not is_same or not np.allclose(weights.learning_rate_factors, factors, rtol=1e-5):
        raise InputError(f"{folder}: weights.npz and trials.csv differ; run `dvc repro --force`")
    scored = list(zip(completed, score_trials(network, weights, test), strict=True))
    grid = {row.learning_rate_factor for row in rows if row.phase == "tuning"}
    if run.tuned_learning_rate_factor not in grid:
        raise InputError(f"{folder}: run.json and trials.csv differ; run `dvc repro --force`")
    curves: dict[tuple[float, int], list[EpochRow]] = {}
    for epoch in artifacts.read_epochs(folder):
        if epoch.phase == "confirmation":
            curves.setdefault((epoch.learning_rate_factor, epoch.seed), []).append(epoch)
    if any((row.learning_rate_factor, row.seed) not in curves for row in completed):
        raise InputError(f"{folder}: curves.csv and trials.csv differ; run `dvc repro --force`")

    def group(factor: float) -> Group:
        here = [(row, score) for row, score in scored if row.learning_rate_factor == factor]
        here.sort(key=lambda each: each[0].seed)
        of_factor = [
            row for row in rows if (row.phase, row.learning_rate_factor) == ("confirmation", factor)
        ]
        return Group(
            rows=tuple(sorted(of_factor, key=lambda row: row.seed)),
            completed=tuple(row for row, _ in here),
            scores=tuple(score for _, score in here),
            curves=tuple(tuple(curves[factor, row.seed]) for row, _ in here),
        )

    return Outcome(
        run=run,
        tuning=tuple(row for row in rows if row.phase == "tuning"),
        tuned=group(run.tuned_learning_rate_factor),
        configured=group(CONFIGURED),
    )
