"""What the report is made of, from plain numbers: evaluated as the real ones are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from stages.common.data import Dataset
from stages.evaluate import comparison
from stages.evaluate.scored import ScoredRun
from stages.report.charts.base import Results
from tests import regression
from tests.examples import DATASET, TEST, Trials, group, scored_run
from tests.parameters import optimizer, small_params
from tests.regression import numbers_params

ODD_NAMES = ('<b title="굵게">', '"it\'s" & 최적화', "<img src=x onerror=alert(1)>", "</script>")
ODD_DATASET = replace(DATASET, name="<i>'자료' & \"data\"", class_names=ODD_NAMES)


def rising(accuracy: float, n: int = 10, n_failed: int = 0, setting: int = 1) -> Trials:
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
    stand_ins = {f"optimizer-{i}": optimizer(class_name="SGD") for i in range(len(outcomes))}
    at_most = max(len(run.tuned.rows) for run in outcomes.values())
    params = small_params(stand_ins, confirmation={"at_most": at_most})
    # Past the check of names, for those that a page must bear all the same.
    named = dict(zip(outcomes, params.optimizers.values(), strict=True))
    params = params.model_copy(update={"optimizers": named})
    found = comparison.evaluate(params, dataset, TEST, outcomes)
    return Results(
        params=params,
        comparison=found.comparison,
        scores=[
            replace(r, optimizer=name) for name, run in outcomes.items() for r in run.tuned.rows
        ],
        curves=found.curves,
        tuning=found.tuning,
        confusion=found.confusion,
        fitted=found.fitted,
        mistakes=found.mistakes,
    )


def of_numbers(outcomes: Mapping[str, ScoredRun]) -> Results:
    """The same of a regression, whose networks are off by more the lower their R² is."""
    params = numbers_params({name: optimizer(class_name="SGD") for name in outcomes})
    scored = {name: predicting_numbers(run) for name, run in outcomes.items()}
    found = comparison.evaluate(params, regression.DATASET, regression.TEST, scored)
    return Results(
        params=params,
        comparison=found.comparison,
        scores=[
            replace(r, optimizer=name) for name, run in outcomes.items() for r in run.tuned.rows
        ],
        curves=found.curves,
        tuning=found.tuning,
        confusion=found.confusion,
        fitted=found.fitted,
        mistakes=found.mistakes,
    )


def predicting_numbers(run: ScoredRun) -> ScoredRun:
    """Trials predict too much by a share of the deviation."""
    targets = regression.TEST.targets.astype(np.float64)
    shares = [abs(1 - row.test_score) ** 0.5 for row in run.tuned.completed]
    predictions = np.array([targets + share * targets.std(axis=0) for share in shares])
    return replace(
        run,
        predictions=predictions.reshape(-1, *targets.shape).astype(np.float32),
        example_scores=np.nanmean(run.tuned.scores) + np.linspace(-0.5, 0.5, len(targets)),
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
    "numbers": lambda: of_numbers(
        {"sgd": tuned_higher(0.92, 0.88), "adam": scored_run(rising(0.9))}
    ),
    "all_diverged": lambda: results({"lost": lost(), "gone": lost()}),
    "odd_names": lambda: results(
        {name: scored_run(rising(0.9 - i / 100)) for i, name in enumerate(ODD_NAMES)}, ODD_DATASET
    ),
}
