"""Brings the optimizers' trials together: statistics, verdict, checks, data of the plots."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from stages.common.data import Dataset, Examples
from stages.common.errors import InputError, shorten
from stages.common.params import Params
from stages.common.results import (
    AccuracyPoint,
    Comparison,
    ConfusionCell,
    CurvePoint,
    Metrics,
    Mistakes,
    OptimizerMetrics,
    OptimizerResult,
    Pair,
    PairTest,
    TuningPoint,
)
from stages.common.runs import EpochRow, Run
from stages.evaluate.checks import Experiment, find_faults
from stages.evaluate.criteria import POINT, grid_points, measure
from stages.evaluate.scored import ScoredRun
from stages.evaluate.verdict import conclude
from stages.inference.estimates import half_width_of_images, probability_of_improvement
from stages.inference.pairs import compare_pairs
from stages.inference.race import Rules, run_race

N_MISTAKES = 24


@dataclass(frozen=True)
class Evaluation:
    """What the stage hands on."""

    comparison: Comparison
    metrics: Metrics
    curves: tuple[CurvePoint, ...]
    accuracies: tuple[AccuracyPoint, ...]
    confusion: tuple[ConfusionCell, ...]
    tuning: tuple[TuningPoint, ...]
    mistakes: Mistakes


def evaluate(
    params: Params, dataset: Dataset, test: Examples, scored: Mapping[str, ScoredRun]
) -> Evaluation:
    """Compares the optimizers, whose trials `scored` has by name.

    Raises:
        InputError: If they were trained with different versions of the packages.
    """
    comparison = compare(params, dataset, test, scored)
    results = comparison.optimizers
    return Evaluation(
        comparison=comparison,
        metrics=summarise(comparison),
        curves=tuple(row for name, run in scored.items() for row in _mean_curve(name, run)),
        accuracies=tuple(_accuracy_point(name, result) for name, result in results.items()),
        confusion=tuple(
            row
            for name, run in scored.items()
            for row in _confusion(name, run, test, dataset.class_names)
        ),
        tuning=tuple(row for name, run in scored.items() for row in grid_points(name, run)),
        mistakes=_mistakes(scored[next(iter(results))], test),
    )


def compare(
    params: Params, dataset: Dataset, test: Examples, scored: Mapping[str, ScoredRun]
) -> Comparison:
    """Everything that is said of the optimizers; errors as above."""
    settings = params.comparison
    rules = Rules(
        margin=settings.margin,
        confidence=settings.confidence,
        resolution=1 / dataset.n_test,
        at_most=params.confirmation.at_most,
    )
    first_run = _check_same_versions({name: run.run for name, run in scored.items()})
    race = run_race({name: run.tuned.scores for name, run in scored.items()}, rules)
    ranking = _rank(scored, race.looks[-1].leader)
    target = _target(settings.target_accuracy, scored[ranking[0]])
    results = {
        name: OptimizerResult(
            class_name=scored[name].run.class_name,
            tuned=scored[name].tuned.summarise(settings.confidence, dataset.n_test),
            configured=scored[name].configured.summarise(settings.confidence, dataset.n_test),
            criteria=measure(name, scored[name], target=target),
        )
        for name in ranking
    }
    pairs = _pairs({name: scored[name] for name in ranking}, rules, test)
    verdict = conclude(race, rules, results, pairs)
    experiment = Experiment(dataset, params.model, scored, results, pairs, settings)
    return Comparison(
        dataset=dataset,
        n_parameters=first_run.n_parameters,
        n_trials=sum(len(run.trials) for run in scored.values()),
        n_steps=sum(row.n_steps for run in scored.values() for row in run.trials),
        confidence=settings.confidence,
        margin=settings.margin,
        target_accuracy=target,
        best=verdict.best,
        bound=race.looks[-1].bound,
        n_seeds=race.looks[-1].n_seeds,
        verdict=verdict.sentence,
        details=verdict.details,
        warnings=find_faults(experiment),
        optimizers=results,
        pairs=pairs,
        looks=race.looks,
        versions=first_run.versions,
    )


def summarise(comparison: Comparison) -> Metrics:
    """The few numbers that `dvc metrics show` and `dvc metrics diff` put in a table."""
    return Metrics(
        best=comparison.best,
        bound=comparison.bound,
        seeds=comparison.n_seeds,
        warnings=len(comparison.warnings),
        optimizers={
            name: OptimizerMetrics(
                accuracy=result.tuned.test_accuracy.mean,
                low=result.tuned.test_accuracy.low,
                high=result.tuned.test_accuracy.high,
                rate=result.tuned.learning_rate,
                failed=result.tuned.n_failed,
            )
            for name, result in sorted(comparison.optimizers.items())
        },
    )


def _rank(scored: Mapping[str, ScoredRun], leader: str) -> list[str]:
    """The leader, then by fewer failed trials, by higher mean accuracy, and by name.

    Failure comes first because a mean over the trials that survive flatters.
    """

    def merit(name: str) -> tuple[bool, float, float, str]:
        group = scored[name].tuned
        scores = group.scores[np.isfinite(group.scores)]
        mean = round(float(scores.mean()), 9) if len(scores) else 0.0
        return name != leader, group.n_failed / len(group.rows), -mean, name

    return sorted(scored, key=merit)


def _pairs(scored: Mapping[str, ScoredRun], rules: Rules, test: Examples) -> tuple[Pair, ...]:
    scores = {name: run.tuned.scores for name, run in scored.items()}
    rights = {name: run.predictions == test.labels for name, run in scored.items()}

    def complete(pair: PairTest) -> Pair:
        names = pair.first, pair.second
        n = min(len(scores[name]) for name in names)
        first, second = (np.nan_to_num(scores[name][:n], nan=-np.inf) for name in names)
        width = None
        if all(len(rights[name]) for name in names) and len(test.labels) > 1:
            share, other = (rights[name].mean(axis=0) for name in names)
            width = half_width_of_images(share, other, rules.confidence)
        improvement = probability_of_improvement(first, second)
        return Pair(**vars(pair), probability_of_improvement=improvement, test_set_half_width=width)

    return tuple(map(complete, compare_pairs(scores, rules)))


def _check_same_versions(runs: Mapping[str, Run]) -> Run:
    (first, one), *others = runs.items()
    for name, run in others:
        if run.versions != one.versions:
            raise InputError(
                f"runs/{name} was trained with {shorten(str(dict(run.versions)), 120)}, "
                f"runs/{first} with {shorten(str(dict(one.versions)), 120)}; "
                "train all with the same: dvc repro --force"
            )
    return one


def _target(setting: float | Literal["auto"], leader: ScoredRun) -> float | None:
    """`auto`: a point below the mean final validation accuracy of the ranking's first."""
    if setting != "auto":
        return setting
    accuracies = [row.validation_accuracy for row in leader.tuned.completed]
    mean = float(np.mean(accuracies)) if accuracies else 0.0
    return mean - POINT if mean > POINT else None


def _mean_curve(name: str, scored: ScoredRun) -> list[CurvePoint]:
    by_epoch: dict[int, list[EpochRow]] = {}
    for curve in scored.curves:
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


def _confusion(
    name: str, scored: ScoredRun, test: Examples, class_names: tuple[str, ...]
) -> list[ConfusionCell]:
    predictions = scored.predictions
    if not len(predictions):
        return []
    labels = np.tile(test.labels, len(predictions))
    counts = confusion_matrix(labels, predictions.ravel(), labels=range(len(class_names)))
    return [
        ConfusionCell(name, class_names[actual], class_names[predicted], count / sum(row))
        for actual, row in enumerate(counts.tolist())
        for predicted, count in enumerate(row)
        if sum(row)
    ]


def _mistakes(scored: ScoredRun, test: Examples) -> Mistakes:
    """The test images that most trials got wrong, at most N_MISTAKES; none without a trial."""
    predictions = scored.predictions.astype(np.int64)
    n_wrong = np.sum(predictions != test.labels, axis=0)
    worst = np.argsort(-n_wrong, kind="stable")[:N_MISTAKES]
    worst = worst[n_wrong[worst] > 0]
    frequent = [
        np.bincount(column[column != label]).argmax()
        for column, label in zip(predictions[:, worst].T, test.labels[worst], strict=True)
    ]
    return Mistakes(
        images=test.images[worst],
        actual=test.labels[worst].astype(np.int64),
        predicted=np.array(frequent, np.int64),
        n_wrong=n_wrong[worst],
    )
