"""`python -m stages.train NAME`: trains the optimizer of that name in params.yaml.

DVC passes the name in an environment variable, so that no text of params.yaml reaches a shell.
"""

import os
import sys

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TRAIN, VALIDATION
from stages.common.errors import InputError, quoted, shorten
from stages.common.files import write_digests
from stages.common.params import load_params
from stages.common.runs import ALL_WEIGHTS, EPOCHS, MODEL, RUN, RUNS, TRIALS, WEIGHTS
from stages.engine.determinism import set_up_tensorflow
from stages.engine.store import locate_store
from stages.engine.trial import Data
from stages.engine.workers import open_workers


def main() -> None:
    params = load_params()
    name = _name()
    if name not in params.optimizers:
        known = shorten(", ".join(params.optimizers))
        raise InputError(
            f"python -m stages.train NAME: no optimizer {quoted(name)}; known: {known}"
        )
    dataset = DATASET.read(PROCESSED)
    data = Data(TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED))
    set_up_tensorflow()
    # Only after the setup, because these import Keras.
    from stages.engine.models import check_can_be_saved, save_model
    from stages.engine.objective import check_objective
    from stages.engine.optimizers import check_optimizers
    from stages.train.tuning import train

    check_optimizers(params.optimizers)
    check_objective(params.task, dataset.n_outputs)
    check_can_be_saved(params.model, dataset)
    with open_workers() as workers:
        trained = train(name, params, dataset, data, store_folder=locate_store(), workers=workers)
    folder = RUNS / name
    TRIALS.write(folder, trained.trials)
    EPOCHS.write(folder, trained.epochs)
    RUN.write(folder, trained.run)
    written = [TRIALS.name, EPOCHS.name, RUN.name]
    if trained.model:
        save_model(trained.model, folder / MODEL, dataset)
        written.append(MODEL)
    write_digests(folder, *written)
    WEIGHTS.write(ALL_WEIGHTS / name, trained.weights)
    write_digests(ALL_WEIGHTS / name, WEIGHTS.name)


def _name() -> str:
    if len(sys.argv) > 1:
        return sys.argv[1]
    *_, name = os.environ.get("DVC_STAGE", "").split("@")
    return name


run_stage(main)
