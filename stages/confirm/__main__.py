"""`python -m stages.confirm`: trains further fresh seeds until one optimizer can be chosen."""

from stages.common.confirmation import CONFIRMATION, PREDICTIONS, ROWS
from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TEST, TRAIN, VALIDATION
from stages.common.files import write_digests
from stages.common.params import load_params
from stages.confirm.race import confirm, read_first_looks, remove_stale_runs
from stages.engine.store import locate_store
from stages.engine.trial import Data
from stages.engine.workers import open_workers


def main() -> None:
    params = load_params()
    dataset, test = DATASET.read(PROCESSED), TEST.read(PROCESSED)
    data = Data(TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED))
    remove_stale_runs(params.optimizers)
    confirmed = confirm(
        params,
        dataset,
        data,
        test,
        read_first_looks(params),
        store_folder=locate_store(),
        open_workers=open_workers,
    )
    ROWS.write(CONFIRMATION, confirmed.rows)
    PREDICTIONS.write(CONFIRMATION, confirmed.predictions)
    write_digests(CONFIRMATION, ROWS.name, PREDICTIONS.name)


run_stage(main)
