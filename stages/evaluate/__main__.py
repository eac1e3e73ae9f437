"""`python -m stages.evaluate`: test scores, statistics and verdict, and the data of the plots."""

from stages.common.artifacts import (
    RUNS,
    TEST,
    read_dataset,
    read_examples,
    write_accuracy_points,
    write_budget_points,
    write_comparison,
    write_confusion,
    write_curve_points,
    write_metrics,
    write_mistakes,
    write_pairs,
    write_scores,
    write_tuning_points,
)
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.evaluate.comparison import evaluate, remove_stale_runs


def main() -> None:
    params = load_params()
    remove_stale_runs(RUNS, params.optimizers)
    result = evaluate(params, read_dataset(), read_examples(TEST), RUNS)
    write_comparison(result.comparison)
    write_metrics(result.comparison)
    write_pairs(result.comparison.pairs)
    write_scores(result.scores)
    write_curve_points(result.curves)
    write_accuracy_points(result.accuracies)
    write_confusion(result.confusion)
    write_tuning_points(result.tuning)
    write_budget_points(result.budget)
    write_mistakes(result.mistakes)


run_stage(main)
