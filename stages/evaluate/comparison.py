"""Brings the optimizers' runs together and compares them on the test images."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from stages.common import artifacts
from stages.common.artifacts import (
    AccuracyPoint,
    Comparison,
    ConfusionCell,
    CurvePoint,
    Dataset,
    EpochRow,
    Estimate,
    Examples,
    ScoreRow,
    Standing,
    TrialRow,
)
from stages.common.console import InputError, notice
from stages.common.params import Params
from stages.evaluate.scoring import TrialScore, score_trials
from stages.evaluate.statistics import estimate
from stages.evaluate.verdict import judge


@dataclass(frozen=True)
class Evaluation:
    """What the stage hands on."""

    comparison: Comparison
    scores: tuple[ScoreRow, ...]
    curves: tuple[CurvePoint, ...]
    accuracies: tuple[AccuracyPoint, ...]
    confusion: tuple[ConfusionCell, ...]


@dataclass(frozen=True)
class _Confirmed:
    """The confirmation trials at one learning rate.

    `scores` on the test images and `completed` rows go together.
    """

    rows: tuple[TrialRow, ...]
    completed: tuple[TrialRow, ...]
    scores: tuple[TrialScore, ...]


@dataclass(frozen=True)
class _Outcome:
    """One optimizer's run."""

    run: artifacts.Run
    tuned: _Confirmed
    configured: _Confirmed
    tuned_epochs: tuple[EpochRow, ...]


def evaluate(params: Params, dataset: Dataset, test: Examples, runs: Path) -> Evaluation:
    """Compares the optimizers that params.yaml names, and no others.

    Args:
        params: Which optimizers, and the level of the intervals.
        dataset: What they were trained on.
        test: The test images, read here and nowhere else.
        runs: Holds a folder for each optimizer.

    Raises:
        InputError: If a run is missing or damaged.
    """
    outcomes = {name: _read_outcome(runs / name, test) for name in sorted(params.optimizers)}
    confidence = params.comparison.confidence
    standings = {name: _standing(outcome, confidence) for name, outcome in outcomes.items()}
    judgement = judge(standings, confidence)
    run = _check_same_versions({name: outcome.run for name, outcome in outcomes.items()})
    return Evaluation(
        comparison=Comparison(
            dataset=dataset,
            n_parameters=run.n_parameters,
            confidence=confidence,
            best=judgement.best,
            verdict=judgement.verdict,
            versions=run.versions,
            optimizers={name: standings[name] for name in judgement.ranking},
        ),
        scores=tuple(row for name, o in outcomes.items() for row in _score_rows(name, o)),
        curves=tuple(row for name, o in outcomes.items() for row in _mean_curve(name, o)),
        accuracies=tuple(_accuracy_point(name, standings[name]) for name in judgement.ranking),
        confusion=tuple(
            row
            for name, o in outcomes.items()
            for row in _confusion(name, o.tuned.scores, test, dataset.class_names)
        ),
    )


def remove_stale_runs(runs: Path, optimizers: Iterable[str]) -> None:
    """Removes the runs of optimizers that params.yaml no longer names.

    DVC leaves them behind, and this stage depends on the whole folder, so that they would leave a
    trace in dvc.lock. DVC's cache still has them: a returning optimizer is not trained again.
    """
    for folder in sorted({path.parent for path in runs.glob("*/trials.csv")}):
        if folder.name not in set(optimizers):
            shutil.rmtree(folder)
            notice(f"{folder}: removed, since params.yaml no longer names it")


def _check_same_versions(runs: Mapping[str, artifacts.Run]) -> artifacts.Run:
    (first, one), *others = runs.items()
    for name, run in others:
        if run.versions != one.versions:
            raise InputError(
                f"runs/{name} was trained with {dict(run.versions)}, runs/{first} with "
                f"{dict(one.versions)}; train all with the same: dvc repro --force"
            )
    return one


def _read_outcome(folder: Path, test: Examples) -> _Outcome:
    run = artifacts.read_run(folder)
    rows = [row for row in artifacts.read_trials(folder) if row.phase == "confirmation"]
    completed = [row for row in rows if row.status == "completed"]
    weights, network = artifacts.read_weights(folder), artifacts.read_architecture(folder)
    if weights.seeds.tolist() != [row.seed for row in completed]:
        raise InputError(f"{folder}: weights.npz and trials.csv differ; run `dvc repro --force`")
    scored = list(zip(completed, score_trials(network, weights, test), strict=True))

    def confirmed(factor: float) -> _Confirmed:
        here = [(row, score) for row, score in scored if row.learning_rate_factor == factor]
        return _Confirmed(
            rows=tuple(row for row in rows if row.learning_rate_factor == factor),
            completed=tuple(row for row, _ in here),
            scores=tuple(score for _, score in here),
        )

    tuned = confirmed(run.tuned_learning_rate_factor)
    keys = {(row.phase, row.learning_rate_factor, row.seed) for row in tuned.completed}
    return _Outcome(
        run=run,
        tuned=tuned,
        configured=confirmed(1.0),
        tuned_epochs=tuple(
            row
            for row in artifacts.read_epochs(folder)
            if (row.phase, row.learning_rate_factor, row.seed) in keys
        ),
    )


def _standing(outcome: _Outcome, confidence: float) -> Standing:
    def accuracy(values: Iterable[float]) -> Estimate:
        return estimate(list(values), confidence, lowest=0, highest=1)

    tuned, configured = outcome.tuned, outcome.configured
    return Standing(
        class_name=outcome.run.class_name,
        learning_rate=tuned.rows[0].learning_rate,
        configured_learning_rate=configured.rows[0].learning_rate,
        n_trials=len(tuned.rows),
        n_diverged=len(tuned.rows) - len(tuned.completed),
        test_accuracy=accuracy(score.accuracy for score in tuned.scores),
        configured_test_accuracy=accuracy(score.accuracy for score in configured.scores),
        test_loss=estimate([score.loss for score in tuned.scores], confidence, lowest=0),
        validation_accuracy=accuracy(row.validation_accuracy or 0.0 for row in tuned.completed),
    )


def _score_rows(name: str, outcome: _Outcome) -> list[ScoreRow]:
    is_tuned = outcome.run.tuned_learning_rate_factor == 1.0
    groups = (outcome.tuned,) if is_tuned else (outcome.configured, outcome.tuned)
    return [
        ScoreRow(
            optimizer=name,
            learning_rate_factor=row.learning_rate_factor,
            learning_rate=row.learning_rate,
            seed=row.seed,
            test_accuracy=score.accuracy,
            test_loss=score.loss,
            validation_accuracy=row.validation_accuracy or 0.0,
        )
        for group in groups
        for row, score in zip(group.completed, group.scores, strict=True)
    ]


def _mean_curve(name: str, outcome: _Outcome) -> list[CurvePoint]:
    by_epoch: dict[int, list[EpochRow]] = {}
    for row in outcome.tuned_epochs:
        by_epoch.setdefault(row.epoch, []).append(row)

    def mean(rows: Sequence[EpochRow], score: str) -> float:
        return float(np.mean([getattr(row, score) for row in rows]))

    return [
        CurvePoint(
            optimizer=name,
            epoch=epoch,
            train_loss=mean(rows, "train_loss"),
            train_accuracy=mean(rows, "train_accuracy"),
            validation_loss=mean(rows, "validation_loss"),
            validation_accuracy=mean(rows, "validation_accuracy"),
        )
        for epoch, rows in sorted(by_epoch.items())
    ]


def _accuracy_point(name: str, standing: Standing) -> AccuracyPoint:
    accuracy = standing.test_accuracy
    return AccuracyPoint(name, accuracy.mean, accuracy.low, accuracy.high)


def _confusion(
    name: str, scores: Sequence[TrialScore], test: Examples, class_names: Sequence[str]
) -> list[ConfusionCell]:
    classes = range(len(class_names))
    counts = sum(confusion_matrix(test.labels, s.predictions, labels=classes) for s in scores)
    return [
        ConfusionCell(name, class_names[actual], class_names[predicted], count / sum(row))
        for actual, row in enumerate(np.asarray(counts).tolist() if scores else [])
        for predicted, count in enumerate(row)
        if sum(row)
    ]
