"""`python -m stages.evaluate`: statistics, verdict, the best model, and the data of the plots."""

from pathlib import Path

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TEST
from stages.common.files import read_checked, write_bytes, write_digests
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
from stages.common.runs import MODEL, RUNS
from stages.evaluate.comparison import evaluate
from stages.evaluate.scored import read_runs

BEST = Path("best")


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
    copy_best_model(result.comparison.best)


def copy_best_model(best: str | None) -> None:
    """Copies the best optimizer's model to a path that does not depend on which one that is.

    `artifacts` in `dvc.yaml` and model registries need such a path. There is no model if every
    trial failed.
    """
    (BEST / MODEL).unlink(missing_ok=True)
    written = []
    if best is not None and (RUNS / best / MODEL).exists():
        write_bytes(BEST / MODEL, read_checked(RUNS / best / MODEL))
        written.append(MODEL)
    # Also without a model, since DVC wants the folder to be there.
    write_digests(BEST, *written)


run_stage(main)
