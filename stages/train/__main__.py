"""`python -m stages.train NAME`: trains the optimizer of that name in params.yaml."""

import argparse

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, TRAIN, VALIDATION
from stages.common.params import load_params
from stages.common.runs import EPOCHS, RUN, RUNS, TRIALS, WEIGHTS
from stages.engine.determinism import set_up_tensorflow
from stages.engine.store import locate_store
from stages.engine.trial import Data
from stages.engine.workers import open_workers


def main() -> None:
    params = load_params()
    parser = argparse.ArgumentParser(prog="python -m stages.train")
    parser.add_argument("name", choices=list(params.optimizers), help="a key of `optimizers`")
    name = parser.parse_args().name
    dataset = DATASET.read(PROCESSED)
    data = Data(TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED))
    set_up_tensorflow()
    # Only now, since these import Keras.
    from stages.engine.models import save_model
    from stages.engine.optimizers import check_optimizers
    from stages.train.tuning import train

    check_optimizers(params.optimizers)
    with open_workers() as workers:
        trained = train(name, params, dataset, data, store_folder=locate_store(), workers=workers)
    folder = RUNS / name
    TRIALS.write(folder, trained.trials)
    EPOCHS.write(folder, trained.epochs)
    WEIGHTS.write(folder, trained.weights)
    RUN.write(folder, trained.run)
    if trained.model:
        save_model(trained.model, folder / "model.keras")


run_stage(main)
