"""Brings the optimizers' runs together and compares them on the test images."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from stages.common.console import notice
from stages.common.data import Dataset, Examples
from stages.common.errors import InputError
from stages.common.params import Params
from stages.common.results import (
    AccuracyPoint,
    BudgetPoint,
    Comparison,
    ConfusionCell,
    CurvePoint,
    Metrics,
    Mistakes,
    OptimizerMetrics,
    OptimizerResult,
    ScoreRow,
    TuningPoint,
)
from stages.common.runs import TRIALS, Completed, EpochRow, Run
from stages.evaluate.checks import Experiment, find_faults
from stages.evaluate.criteria import POINT, advise_budget, grid_points, measure
from stages.evaluate.pairs import compare_pairs, rank
from stages.evaluate.scored import ScoredRun, read_run
from stages.evaluate.scoring import TrialScore, find_mistakes
from stages.evaluate.verdict import judge


@dataclass(frozen=True)
class Evaluation:
    """What the stage hands on."""

    comparison: Comparison
    metrics: Metrics
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
    scored = {name: read_run(runs / name, test) for name in sorted(params.optimizers)}
    comparison = compare(params, dataset, scored)
    results = comparison.optimizers
    return Evaluation(
        comparison=comparison,
        metrics=summarise(comparison),
        scores=tuple(row for name, run in scored.items() for row in _score_rows(name, run)),
        curves=tuple(row for name, run in scored.items() for row in _mean_curve(name, run)),
        accuracies=tuple(_accuracy_point(name, result) for name, result in results.items()),
        confusion=tuple(
            row
            for name, run in scored.items()
            for row in _confusion(name, run.tuned.scores, test, dataset.class_names)
        ),
        tuning=tuple(row for name, run in scored.items() for row in _tuning_points(name, run)),
        budget=tuple(
            BudgetPoint(name, n_rates, expected)
            for name, result in sorted(results.items())
            if any(isinstance(row, Completed) for row in scored[name].tuning)
            for n_rates, expected in enumerate(result.criteria.expected_best, start=1)
        ),
        mistakes=find_mistakes(scored[next(iter(results))].tuned.scores, test),
    )


def compare(params: Params, dataset: Dataset, scored: Mapping[str, ScoredRun]) -> Comparison:
    """Everything that is said of the optimizers.

    Args:
        params: Levels, margin and target of `comparison`, and the model.
        dataset: What they were trained on.
        scored: Their scored trials, by name.
    """
    settings = params.comparison
    tuned = {name: run.tuned.sample for name, run in scored.items()}
    configured = {name: run.configured.sample for name, run in scored.items()}
    pairs, configured_pairs = (
        compare_pairs(
            samples, confidence=settings.confidence, margin=settings.margin, n_test=dataset.n_test
        )
        for samples in (tuned, configured)
    )
    verdict = judge(tuned, pairs, configured, configured_pairs, settings.margin)
    ranking = rank(tuned)
    target = _target(settings.target_accuracy, scored[ranking[0]], settings.confidence)
    guessing = max(dataset.validation_counts) / dataset.n_validation
    results = {
        name: OptimizerResult(
            class_name=scored[name].run.class_name,
            tuned=scored[name].tuned.summarise(settings.confidence),
            configured=scored[name].configured.summarise(settings.confidence),
            criteria=measure(scored[name], target=target, guessing=guessing),
        )
        for name in ranking
    }
    expected = {name: result.criteria.expected_best for name, result in results.items()}
    first = _check_same_versions({name: run.run for name, run in scored.items()})
    return Comparison(
        dataset=dataset,
        n_parameters=first.n_parameters,
        n_trials=sum(len(run.trials) for run in scored.values()),
        n_steps=sum(row.n_steps for run in scored.values() for row in run.trials),
        confidence=settings.confidence,
        margin=settings.margin,
        target_accuracy=target,
        best=verdict.best,
        verdict=verdict.sentence,
        budget=advise_budget(expected) if any(s.accuracies for s in tuned.values()) else "",
        warnings=find_faults(
            Experiment(
                dataset=dataset,
                model=params.model,
                runs=scored,
                pairs=pairs,
                confidence=settings.confidence,
                margin=settings.margin,
            )
        ),
        optimizers=results,
        pairs=pairs,
        versions=first.versions,
    )


def summarise(comparison: Comparison) -> Metrics:
    """The few numbers that `dvc metrics show` and `dvc metrics diff` put in a table."""
    return Metrics(
        best=comparison.best,
        verdict=comparison.verdict,
        warnings=len(comparison.warnings),
        optimizers={
            name: OptimizerMetrics(
                test_accuracy=result.tuned.test_accuracy.mean,
                test_accuracy_low=result.tuned.test_accuracy.low,
                test_accuracy_high=result.tuned.test_accuracy.high,
                configured_test_accuracy=result.configured.test_accuracy.mean,
                learning_rate=result.tuned.learning_rate,
                n_failed=result.tuned.n_failed,
            )
            for name, result in sorted(comparison.optimizers.items())
        },
    )


def remove_stale_runs(runs: Path, optimizers: Iterable[str]) -> None:
    """Removes the runs of optimizers that params.yaml no longer names.

    DVC leaves them behind, and this stage depends on the whole folder, so that they would leave a
    trace in dvc.lock. DVC's cache still has them: a returning optimizer is not trained again.
    """
    for folder in sorted({path.parent for path in runs.glob(f"*/{TRIALS.name}")}):
        if folder.name not in set(optimizers):
            shutil.rmtree(folder)
            notice(f"{folder}: removed, since params.yaml no longer names it")


def _check_same_versions(runs: Mapping[str, Run]) -> Run:
    (first, one), *others = runs.items()
    for name, run in others:
        if run.versions != one.versions:
            raise InputError(
                f"runs/{name} was trained with {dict(run.versions)}, runs/{first} with "
                f"{dict(one.versions)}; train all with the same: dvc repro --force"
            )
    return one


def _target(setting: float | Literal["auto"], leader: ScoredRun, confidence: float) -> float | None:
    """`auto`: a point below the mean final validation accuracy of the ranking's first."""
    if setting != "auto":
        return setting
    mean = leader.tuned.summarise(confidence).validation_accuracy.mean
    return None if mean is None or mean <= POINT else mean - POINT


def _score_rows(name: str, scored: ScoredRun) -> list[ScoreRow]:
    is_tuned = scored.run.tuned == scored.run.configured
    groups = (scored.tuned,) if is_tuned else (scored.configured, scored.tuned)
    return [
        ScoreRow(
            optimizer=name,
            setting=row.setting,
            learning_rate=row.learning_rate,
            seed=row.seed,
            test_accuracy=score.accuracy,
            test_loss=score.loss,
            validation_accuracy=row.validation_accuracy,
        )
        for group in groups
        for row, score in zip(group.completed, group.scores, strict=True)
    ]


def _mean_curve(name: str, scored: ScoredRun) -> list[CurvePoint]:
    by_epoch: dict[int, list[EpochRow]] = {}
    for curve in scored.tuned.curves:
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


def _accuracy_point(name: str, result: OptimizerResult) -> AccuracyPoint:
    accuracy = result.tuned.test_accuracy
    return AccuracyPoint(name, accuracy.mean, accuracy.low, accuracy.high)


def _tuning_points(name: str, scored: ScoredRun) -> list[TuningPoint]:
    run = scored.run

    def choice(setting: int) -> Literal["tuned", "configured", "both", "neither"]:
        if setting == run.configured:
            return "both" if setting == run.tuned else "configured"
        return "tuned" if setting == run.tuned else "neither"

    return [
        TuningPoint(
            optimizer=name,
            learning_rate_factor=point.learning_rate_factor,
            learning_rate=point.learning_rate,
            validation_accuracy=point.validation_accuracy,
            n_trials=point.n_trials,
            n_failed=point.n_failed,
            choice=choice(point.setting),
        )
        for point in grid_points(run, scored.tuning)
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
