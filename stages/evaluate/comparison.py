"""Brings the optimizers' runs together and compares them on the test images."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from stages.common import artifacts
from stages.common.artifacts import (
    AccuracyPoint,
    BudgetPoint,
    Comparison,
    ConfusionCell,
    CurvePoint,
    Dataset,
    EpochRow,
    Examples,
    Mistakes,
    ScoreRow,
    Standing,
    TuningPoint,
)
from stages.common.console import InputError, notice
from stages.common.params import Params
from stages.evaluate.checks import Evidence, find_faults
from stages.evaluate.criteria import POINT, advise_budget, grid_points, measure
from stages.evaluate.outcomes import CONFIGURED, Outcome, read_outcome
from stages.evaluate.pairs import compare_pairs, rank
from stages.evaluate.scoring import TrialScore, find_mistakes
from stages.evaluate.verdict import judge


@dataclass(frozen=True)
class Evaluation:
    """What the stage hands on."""

    comparison: Comparison
    scores: tuple[ScoreRow, ...]
    curves: tuple[CurvePoint, ...]
    accuracies: tuple[AccuracyPoint, ...]
    confusion: tuple[ConfusionCell, ...]
    tuning: tuple[TuningPoint, ...]
    budget: tuple[BudgetPoint, ...]
    mistakes: Mistakes


def evaluate(params: Params, dataset: Dataset, test: Examples, runs: Path) -> Evaluation:
    """Compares the optimizers that params.yaml names, and no others.

    Args:
        params: Which optimizers, and what they are judged by.
        dataset: What they were trained on.
        test: The test images, read here and nowhere else.
        runs: Holds a folder for each optimizer.

    Raises:
        InputError: If a run is missing or damaged.
    """
    outcomes = {name: read_outcome(runs / name, test) for name in sorted(params.optimizers)}
    comparison = compare(params, dataset, outcomes)
    standings = comparison.optimizers
    return Evaluation(
        comparison=comparison,
        scores=tuple(row for name, o in outcomes.items() for row in _score_rows(name, o)),
        curves=tuple(row for name, o in outcomes.items() for row in _mean_curve(name, o)),
        accuracies=tuple(_accuracy_point(name, standings[name]) for name in standings),
        confusion=tuple(
            row
            for name, o in outcomes.items()
            for row in _confusion(name, o.tuned.scores, test, dataset.class_names)
        ),
        tuning=tuple(row for name, o in outcomes.items() for row in _tuning_points(name, o)),
        budget=tuple(
            BudgetPoint(name, n_rates, expected)
            for name, standing in sorted(standings.items())
            if any(row.status == "completed" for row in outcomes[name].tuning)
            for n_rates, expected in enumerate(standing.criteria.expected_best, start=1)
        ),
        mistakes=find_mistakes(outcomes[next(iter(standings))].tuned.scores, test),
    )


def compare(params: Params, dataset: Dataset, outcomes: Mapping[str, Outcome]) -> Comparison:
    """Everything that is said of the optimizers.

    Args:
        params: Levels, margin and target of `comparison`, and the model.
        dataset: What they were trained on.
        outcomes: Their scored trials, by name.
    """
    settings = params.comparison
    tuned = {name: outcome.tuned.sample for name, outcome in outcomes.items()}
    configured = {name: outcome.configured.sample for name, outcome in outcomes.items()}
    pairs, configured_pairs = (
        compare_pairs(
            samples, confidence=settings.confidence, margin=settings.margin, n_test=dataset.n_test
        )
        for samples in (tuned, configured)
    )
    judgement = judge(tuned, pairs, configured, configured_pairs, settings.margin)
    ranking = rank(tuned)
    target = _target(settings.target_accuracy, outcomes[ranking[0]], settings.confidence)
    guessing = max(dataset.validation_counts) / dataset.n_validation
    standings = {
        name: Standing(
            class_name=outcomes[name].run.class_name,
            tuned=outcomes[name].tuned.summarise(settings.confidence),
            configured=outcomes[name].configured.summarise(settings.confidence),
            criteria=measure(outcomes[name], target=target, guessing=guessing),
        )
        for name in ranking
    }
    expected = {name: standing.criteria.expected_best for name, standing in standings.items()}
    run = _check_same_versions({name: outcome.run for name, outcome in outcomes.items()})
    return Comparison(
        dataset=dataset,
        n_parameters=run.n_parameters,
        n_trials=sum(len(outcome.trials) for outcome in outcomes.values()),
        n_steps=sum(row.n_steps for outcome in outcomes.values() for row in outcome.trials),
        confidence=settings.confidence,
        margin=settings.margin,
        target_accuracy=target,
        best=judgement.best,
        verdict=judgement.verdict,
        budget=advise_budget(expected) if any(s.accuracies for s in tuned.values()) else "",
        warnings=find_faults(
            Evidence(
                dataset=dataset,
                model=params.model,
                outcomes=outcomes,
                pairs=pairs,
                confidence=settings.confidence,
                margin=settings.margin,
            )
        ),
        optimizers=standings,
        pairs=pairs,
        versions=run.versions,
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


def _target(setting: float | Literal["auto"], leader: Outcome, confidence: float) -> float | None:
    """`auto`: a point below the mean final validation accuracy of the ranking's first."""
    if setting != "auto":
        return setting
    mean = leader.tuned.summarise(confidence).validation_accuracy.mean
    return None if mean is None or mean <= POINT else mean - POINT


def _score_rows(name: str, outcome: Outcome) -> list[ScoreRow]:
    is_tuned = outcome.run.tuned_learning_rate_factor == CONFIGURED
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


def _mean_curve(name: str, outcome: Outcome) -> list[CurvePoint]:
    by_epoch: dict[int, list[EpochRow]] = {}
    for curve in outcome.tuned.curves:
        for row in curve:
            by_epoch.setdefault(row.epoch, []).append(row)

    def point(split: Literal["train", "validation"], epoch: int) -> CurvePoint:
        losses = [getattr(row, f"{split}_loss") for row in by_epoch[epoch]]
        accuracies = [getattr(row, f"{split}_accuracy") for row in by_epoch[epoch]]
        return CurvePoint(
            optimizer=name,
            split=split,
            epoch=epoch,
            loss=float(np.mean(losses)),
            accuracy=float(np.mean(accuracies)),
            accuracy_low=min(accuracies),
            accuracy_high=max(accuracies),
        )

    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    return [point(split, epoch) for split in splits for epoch in sorted(by_epoch)]


def _accuracy_point(name: str, standing: Standing) -> AccuracyPoint:
    accuracy = standing.tuned.test_accuracy
    return AccuracyPoint(name, accuracy.mean, accuracy.low, accuracy.high)


def _tuning_points(name: str, outcome: Outcome) -> list[TuningPoint]:
    def choice(factor: float) -> Literal["tuned", "configured", "both", "neither"]:
        is_tuned = factor == outcome.run.tuned_learning_rate_factor
        if factor == CONFIGURED:
            return "both" if is_tuned else "configured"
        return "tuned" if is_tuned else "neither"

    return [
        TuningPoint(optimizer=name, **asdict(point), choice=choice(point.learning_rate_factor))
        for point in grid_points(outcome.tuning)
    ]


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
