"""`python -m stages.confirm`: trains further fresh seeds until one optimizer can be taken."""

from stages.common.confirmation import CONFIRMATION, PREDICTIONS, ROWS
from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TEST, TRAIN, VALIDATION
from stages.common.params import load_params
from stages.common.runs import RUNS
from stages.engine.determinism import set_up_tensorflow
from stages.engine.store import locate_store
from stages.engine.trial import Data
from stages.engine.workers import open_workers


def main() -> None:
    params = load_params()
    dataset, test = DATASET.read(PROCESSED), TEST.read(PROCESSED)
    data = Data(TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED))
    set_up_tensorflow()
    # Only now, since this imports Keras.
    from stages.confirm.race import confirm, remove_stale_runs

    remove_stale_runs(RUNS, params.optimizers)
    with open_workers() as workers:
        confirmed = confirm(
            params, dataset, data, test, store_folder=locate_store(), workers=workers
        )
    ROWS.write(CONFIRMATION, confirmed.rows)
    PREDICTIONS.write(CONFIRMATION, confirmed.predictions)


run_stage(main)
