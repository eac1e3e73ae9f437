"""`python -m stages.evaluate`: test scores, statistics and verdict, and the data of the plots."""

from pathlib import Path

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TEST
from stages.common.params import load_params
from stages.common.results import (
    ACCURACIES,
    BUDGET,
    COMPARISON,
    CONFUSION,
    CURVES,
    EVALUATION,
    METRICS,
    MISTAKES,
    PAIRS,
    PLOTS,
    SCORES,
    TUNING,
)
from stages.common.runs import RUNS
from stages.engine.determinism import set_up_tensorflow


def main() -> None:
    params = load_params()
    dataset, test = DATASET.read(PROCESSED), TEST.read(PROCESSED)
    set_up_tensorflow()
    # Only now, since this imports Keras.
    from stages.evaluate.comparison import evaluate, remove_stale_runs

    remove_stale_runs(RUNS, params.optimizers)
    result = evaluate(params, dataset, test, RUNS)
    COMPARISON.write(EVALUATION, result.comparison)
    METRICS.write(Path(), result.metrics)
    PAIRS.write(EVALUATION, result.comparison.pairs)
    SCORES.write(EVALUATION, result.scores)
    MISTAKES.write(EVALUATION, result.mistakes)
    CURVES.write(PLOTS, result.curves)
    ACCURACIES.write(PLOTS, result.accuracies)
    CONFUSION.write(PLOTS, result.confusion)
    TUNING.write(PLOTS, result.tuning)
    BUDGET.write(PLOTS, result.budget)


run_stage(main)
