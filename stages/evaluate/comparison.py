"""Brings the optimizers' trials together: statistics, verdict, checks, data of the plots."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stages.common.data import Dataset, Examples, Scaling
from stages.common.decimals import score_format
from stages.common.errors import InputError, shorten
from stages.common.files import FloatArray
from stages.common.params import ComparisonParams, Params
from stages.common.results import (
    Comparison,
    ConfusionCell,
    CurvePoint,
    FittedPoint,
    Metrics,
    Mistakes,
    OptimizerMetrics,
    OptimizerResult,
    Pair,
    PairTest,
    ScorePoint,
    TuningPoint,
)
from stages.common.runs import EpochRow, Run
from stages.common.score import Score, score_of
from stages.evaluate.checks import Experiment, find_faults
from stages.evaluate.criteria import grid_points, measure
from stages.evaluate.predictions import confuse, find_mistakes, fit
from stages.evaluate.scored import ScoredRun
from stages.evaluate.verdict import conclude
from stages.inference.estimates import half_width_of_examples, probability_of_improvement
from stages.inference.pairs import compare_pairs
from stages.inference.race import Rules, run_race


@dataclass(frozen=True)
class Evaluation:
    """Everything that the stage writes, except for the best model."""

    comparison: Comparison
    metrics: Metrics
    curves: tuple[CurvePoint, ...]
    scores: tuple[ScorePoint, ...]
    confusion: tuple[ConfusionCell, ...]
    tuning: tuple[TuningPoint, ...]
    fitted: tuple[FittedPoint, ...]
    mistakes: Mistakes


def evaluate(
    params: Params,
    dataset: Dataset,
    test: Examples,
    scored: Mapping[str, ScoredRun],
) -> Evaluation:
    """Compares the optimizers; `scored` has their trials by name.

    Raises:
        InputError: If they were trained with different versions of the packages.
    """
    comparison = compare(params, dataset, scored)
    results = comparison.optimizers
    first = next(iter(results))
    return Evaluation(
        comparison=comparison,
        metrics=summarise(comparison),
        curves=tuple(row for name, run in scored.items() for row in _mean_curve(name, run)),
        scores=tuple(_score_point(name, result) for name, result in results.items()),
        confusion=tuple(
            row
            for name, run in scored.items()
            for row in confuse(name, run, test, dataset.class_names)
        ),
        tuning=tuple(row for name, run in scored.items() for row in grid_points(name, run)),
        fitted=fit(first, scored[first], test),
        mistakes=find_mistakes(scored[first], test, dataset.scaling),
    )


def compare(params: Params, dataset: Dataset, scored: Mapping[str, ScoredRun]) -> Comparison:
    """The statistics, verdict and warnings; raises the same error as `evaluate`."""
    settings, score = params.comparison, score_of(params.task)
    rules = Rules(
        margin=settings.margin,
        confidence=settings.confidence,
        resolution=score.resolution(dataset.n_test),
        at_most=params.confirmation.at_most,
    )
    first_run = _check_same_versions({name: run.run for name, run in scored.items()})
    race = run_race(_merits(scored, score), rules)
    ranking = _rank(scored, race.looks[-1].leader, score)
    target = _target(settings, score, scored[ranking[0]])
    results = {
        name: OptimizerResult(
            class_name=scored[name].run.class_name,
            tuned=scored[name].tuned.summarise(settings.confidence, score, dataset.n_test),
            configured=scored[name].configured.summarise(
                settings.confidence, score, dataset.n_test
            ),
            criteria=measure(name, scored[name], score, target=target, margin=settings.margin),
        )
        for name in ranking
    }
    pairs = _pairs({name: scored[name] for name in ranking}, score, rules)
    best = results[ranking[0]].tuned.test_score.mean
    style = score_format(score, best, settings.margin)
    verdict = conclude(race, rules, results, pairs, style)
    experiment = Experiment(dataset, params.model, score, scored, results, pairs, settings)
    return Comparison(
        # Without these, which are long for a wide table.
        dataset=replace(dataset, features=(), medians=(), scaling=Scaling((), (), (), ())),
        score=score,
        n_parameters=first_run.n_parameters,
        n_trials=sum(len(run.trials) for run in scored.values()),
        n_steps=sum(row.n_steps for run in scored.values() for row in run.trials),
        confidence=settings.confidence,
        margin=settings.margin,
        target=target,
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
                score=result.tuned.test_score.mean,
                low=result.tuned.test_score.low,
                high=result.tuned.test_score.high,
                rate=result.tuned.learning_rate,
                failed=result.tuned.n_failed,
            )
            for name, result in sorted(comparison.optimizers.items())
        },
    )


def _merits(scored: Mapping[str, ScoredRun], score: Score) -> dict[str, FloatArray]:
    """Test scores by seed, with the sign that makes greater scores better."""
    return {name: score.sign * run.tuned.scores for name, run in scored.items()}


def _rank(scored: Mapping[str, ScoredRun], leader: str, score: Score) -> list[str]:
    """The leader, then by fewer failed trials, by the better mean score, and by name.

    Failure comes first because a mean over the trials that survive flatters.
    """

    def merit(name: str) -> tuple[bool, float, float, str]:
        group = scored[name].tuned
        scores = group.scores[np.isfinite(group.scores)]
        mean = round(float(scores.mean()), 9) if len(scores) else 0.0
        return name != leader, group.n_failed / len(group.rows), -score.merit(mean), name

    return sorted(scored, key=merit)


def _pairs(scored: Mapping[str, ScoredRun], score: Score, rules: Rules) -> tuple[Pair, ...]:
    scores = _merits(scored, score)
    of_examples = {name: run.example_scores for name, run in scored.items()}

    def complete(pair: PairTest) -> Pair:
        names = pair.first, pair.second
        n = min(len(scores[name]) for name in names)
        first, second = (np.nan_to_num(scores[name][:n], nan=-np.inf) for name in names)
        width = None
        one, other = (of_examples[name] for name in names)
        if min(len(one), len(other)) > 1:
            width = half_width_of_examples(one, other, rules.confidence)
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
                "train all with the same versions: dvc repro --force"
            )
    return one


def _target(settings: ComparisonParams, score: Score, leader: ScoredRun) -> float | None:
    """The target; `auto` is the leader's mean final validation score less the margin."""
    if settings.target != "auto":
        return settings.target
    scores = [row.validation_score for row in leader.tuned.completed]
    if not scores:
        return None
    target = float(np.mean(scores)) - score.sign * settings.margin
    worst = score.lowest if score.sign > 0 else score.highest
    # A target that every score reaches tells nothing.
    return target if score.merit(target) > score.merit(worst) else None


def _mean_curve(name: str, scored: ScoredRun) -> list[CurvePoint]:
    by_epoch: dict[int, list[EpochRow]] = {}
    for curve in scored.curves:
        for row in curve:
            by_epoch.setdefault(row.epoch, []).append(row)

    def point(split: Literal["train", "validation"], epoch: int) -> CurvePoint:
        losses = [getattr(row, f"{split}_loss") for row in by_epoch[epoch]]
        scores = [getattr(row, f"{split}_score") for row in by_epoch[epoch]]
        return CurvePoint(
            optimizer=name,
            split=split,
            epoch=epoch,
            loss=float(np.mean(losses)),
            score=float(np.mean(scores)),
            score_low=min(scores),
            score_high=max(scores),
        )

    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    return [point(split, epoch) for split in splits for epoch in sorted(by_epoch)]


def _score_point(name: str, result: OptimizerResult) -> ScorePoint:
    score = result.tuned.test_score
    return ScorePoint(name, score.mean, score.low, score.high)
