"""What the report is made of, from plain numbers: evaluated as the real ones are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from stages.common.data import Dataset
from stages.evaluate import comparison
from stages.evaluate.scored import Group, ScoredRun
from stages.report.charts.base import Results
from tests.examples import CLASS_NAMES, DATASET, TEST, group, optimizer, scored_run, small_params

ODD_NAMES = ('<b title="굵게">', '"it\'s" & 최적화', "<img src=x onerror=alert(1)>", "</script>")
ODD_DATASET = replace(DATASET, name="<i>'자료' & \"data\"", class_names=ODD_NAMES)


def rising(accuracy: float, n: int = 10, n_failed: int = 0, setting: int = 1) -> Group:
    """Trials a hundredth above and below the accuracy in turn, each rising for five epochs."""
    ends = [accuracy + 0.01 * (-1) ** seed for seed in range(n)]
    curves = [[share * end for share in (0.5, 0.7, 0.9, 0.95, 1.0)] for end in ends]
    return group(ends, curves, n_failed=n_failed, setting=setting)


def tuned_higher(accuracy: float, configured: float, n: int = 10) -> ScoredRun:
    """Tuning chose ten times the configured rate."""
    grid: Mapping[float, Sequence[float]] = {0.1: [0.5], 1.0: [configured], 10.0: [accuracy]}
    return scored_run(rising(accuracy, n, setting=2), rising(configured, n), tuning=grid)


def lost(n: int = 10) -> ScoredRun:
    """Every trial diverged."""
    return scored_run(group([], n_failed=n), tuning={0.1: [None], 1.0: [None], 10.0: [None]})


def results(outcomes: Mapping[str, ScoredRun], dataset: Dataset = DATASET) -> Results:
    """What evaluate makes of the outcomes, with the parameters that would have led to them."""
    seeds = [row.seed for row in next(iter(outcomes.values())).tuned.rows]
    stand_ins = {f"optimizer-{i}": optimizer(class_name="SGD") for i in range(len(outcomes))}
    params = small_params(stand_ins, confirmation={"seeds": seeds})
    # Past the check of names, for those that a page must bear all the same.
    named = dict(zip(outcomes, params.optimizers.values(), strict=True))
    params = params.model_copy(update={"optimizers": named})
    predicted = {
        name: replace(each, tuned=_predicting(each.tuned), configured=_predicting(each.configured))
        for name, each in outcomes.items()
    }
    with patch.object(comparison, "read_run", lambda folder, _: predicted[str(folder)]):
        found = comparison.evaluate(params, dataset, TEST, Path())
    return Results(
        params=params,
        comparison=found.comparison,
        scores=found.scores,
        curves=found.curves,
        tuning=found.tuning,
        budget=found.budget,
        confusion=found.confusion,
        mistakes=found.mistakes,
    )


# Small results of every kind that a page may have to show.
CASES: Mapping[str, Callable[[], Results]] = {
    "usual": lambda: results({"sgd": tuned_higher(0.92, 0.88), "adam": scored_run(rising(0.9))}),
    "one": lambda: results({"alone": scored_run(rising(0.9))}),
    "ten": lambda: results(
        {f"optimizer_{i:x>6}": tuned_higher(0.9 - i / 100, 0.8 - i / 100) for i in range(10)}
    ),
    "one_diverged": lambda: results(
        {"sgd": scored_run(rising(0.9)), "adam": scored_run(rising(0.8, 9, 1)), "lost": lost()}
    ),
    "all_diverged": lambda: results({"lost": lost(), "gone": lost()}),
    "one_seed": lambda: results(
        {
            "sgd": tuned_higher(0.9, 0.8, n=1),
            "adam": scored_run(rising(0.85, 1)),
            "far": scored_run(rising(0.3, 1)),
            "lost": lost(1),
        }
    ),
    "odd_names": lambda: results(
        {name: scored_run(rising(0.9 - i / 100)) for i, name in enumerate(ODD_NAMES)}, ODD_DATASET
    ),
}


def _predicting(trials: Group) -> Group:
    """With a class predicted for each test image: the right one or the one after it."""
    n_classes = len(CLASS_NAMES)
    return replace(
        trials,
        scores=tuple(
            replace(score, predictions=(TEST.labels + np.int64(1) - score.is_correct) % n_classes)
            for score in trials.scores
        ),
    )
