"""`python -m stages.evaluate`: statistics and verdict, and the data of the plots."""

from pathlib import Path

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TEST
from stages.common.params import load_params
from stages.common.results import (
    COMPARISON,
    CONFUSION,
    CURVES,
    EVALUATION,
    FITTED,
    METRICS,
    MISTAKES,
    PAIRS,
    PLOTS,
    SCORES,
    TUNING,
)
from stages.evaluate.comparison import evaluate
from stages.evaluate.scored import read_runs


def main() -> None:
    params = load_params()
    dataset, test = DATASET.read(PROCESSED), TEST.read(PROCESSED)
    result = evaluate(params, dataset, test, read_runs(params.optimizers))
    COMPARISON.write(EVALUATION, result.comparison)
    METRICS.write(Path(), result.metrics)
    PAIRS.write(EVALUATION, result.comparison.pairs)
    MISTAKES.write(EVALUATION, result.mistakes)
    CURVES.write(PLOTS, result.curves)
    SCORES.write(PLOTS, result.scores)
    CONFUSION.write(PLOTS, result.confusion)
    FITTED.write(PLOTS, result.fitted)
    TUNING.write(PLOTS, result.tuning)


run_stage(main)
