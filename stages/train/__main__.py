"""`python -m stages.train NAME`: trains the optimizer of that name in params.yaml."""

import argparse

from stages.common.artifacts import (
    RUNS,
    TRAIN,
    VALIDATION,
    read_dataset,
    read_examples,
    write_architecture,
    write_epochs,
    write_run,
    write_trials,
    write_weights,
)
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.train.models import save_model
from stages.train.optimizers import check_optimizers
from stages.train.store import locate_store
from stages.train.sweep import sweep
from stages.train.work import Data
from stages.train.workers import open_workers


def main() -> None:
    params = load_params()
    parser = argparse.ArgumentParser(prog="python -m stages.train")
    parser.add_argument("name", choices=list(params.optimizers), help="a key of `optimizers`")
    name = parser.parse_args().name
    check_optimizers(params.optimizers)
    data = Data(read_examples(TRAIN), read_examples(VALIDATION))
    with open_workers() as workers:
        results = sweep(
            [name], params, read_dataset(), data, store_folder=locate_store(), workers=workers
        )
    result = results[name]
    folder = RUNS / name
    write_trials(folder, result.trials)
    write_epochs(folder, result.epochs)
    write_weights(folder, result.weights)
    write_architecture(folder, result.architecture)
    write_run(folder, result.run)
    if result.model:
        save_model(result.model, folder / "model.keras")


run_stage(main)
