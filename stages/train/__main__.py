"""`python -m stages.train NAME`: trains the optimizer of that name in params.yaml.

DVC passes the name in an environment variable, so that no text of params.yaml reaches a shell.
"""

import os
import sys
from collections.abc import Mapping

from stages.common.console import notice, run_stage
from stages.common.data import DATASET, PROCESSED, TRAIN, VALIDATION, Dataset
from stages.common.errors import InputError, quoted, shorten
from stages.common.files import write_bytes, write_digests
from stages.common.params import Params, load_params
from stages.common.runs import ALL_WEIGHTS, EPOCHS, MODEL, RUN, RUNS, TRIALS, WEIGHTS
from stages.engine.store import digest_examples, locate_store
from stages.engine.trial import Data
from stages.engine.workers import open_workers
from stages.train.finished import Trained, find, identify, keep
from stages.train.pending import find_pending


def main() -> None:
    params = load_params()
    is_told_by_dvc = len(sys.argv) == 1
    name = _name_from_dvc() if is_told_by_dvc else sys.argv[1]
    if name not in params.optimizers:
        known = shorten(", ".join(params.optimizers))
        raise InputError(
            f"python -m stages.train NAME: no optimizer {quoted(name)}; known: {known}"
        )
    dataset = DATASET.read(PROCESSED)
    data = Data(TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED))
    store, digest = locate_store(), digest_examples(data.train, data.validation)
    key = identify(name, params, dataset, digest)
    trained = find(store, key) if key else None
    if trained is None:
        others = find_pending(name, params) if is_told_by_dvc else ()
        keys = {other: identify(other, params, dataset, digest) for other in (name, *others)}
        trained = _train(keys, params, dataset, data)
    else:
        notice(f"train {name}: all {len(trained.trials)} trials are finished")
    _write(name, trained)


def _train(keys: Mapping[str, str | None], params: Params, dataset: Dataset, data: Data) -> Trained:
    """Trains the first of these optimizers, and others with it, for the stages that follow.

    Args:
        keys: By the names of the optimizers; see `identify`.
        params: All parameters.
        dataset: Describes the data.
        data: The examples that train and validate.
    """
    with open_workers() as workers:
        # Only after the setup, because these import Keras.
        from stages.engine.models import check_can_be_saved
        from stages.engine.objective import check_objective
        from stages.engine.optimizers import check_optimizers
        from stages.train.tuning import count_together, train

        check_optimizers(params.optimizers)
        check_objective(params.task, dataset.n_outputs)
        check_can_be_saved(params.model, dataset)
        names, store = list(keys)[: count_together(params, dataset)], locate_store()
        try:
            trained = train(names, params, dataset, data, store_folder=store, workers=workers)
        except InputError:
            if len(names) == 1:
                raise
            # It may be another optimizer's fault, which its own stage will tell.
            trained = train(names[:1], params, dataset, data, store_folder=store, workers=workers)
    for name, of_one in trained.items():
        if key := keys[name]:
            keep(store, key, of_one)
    return trained[names[0]]


def _write(name: str, trained: Trained) -> None:
    folder = RUNS / name
    TRIALS.write(folder, trained.trials)
    EPOCHS.write(folder, trained.epochs)
    RUN.write(folder, trained.run)
    written = [TRIALS.name, EPOCHS.name, RUN.name]
    if trained.model:
        write_bytes(folder / MODEL, trained.model)
        written.append(MODEL)
    write_digests(folder, *written)
    WEIGHTS.write(ALL_WEIGHTS / name, trained.weights)
    write_digests(ALL_WEIGHTS / name, WEIGHTS.name)


def _name_from_dvc() -> str:
    *_, name = os.environ.get("DVC_STAGE", "").split("@")
    return name


run_stage(main)
