"""Compares what a trial costs here, with Optuna and with KerasTuner: `python -m benchmarks.tuners`.

All three try learning rates of Adam for the textbook's network, 784-100-10, on simulated images in
batches of 32. Optuna and KerasTuner train with `keras.Model.fit`, as their documentation shows.
The time is from the first trial to the last, with what is compiled for it. Both are installed by
`pip install optuna keras-tuner tensorboard`.
"""

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
from tabulate import tabulate

from benchmarks.noise import describe_noise, draw_noise
from benchmarks.textbook import (
    BATCH_SIZE,
    build_in_keras,
    draw_arrays,
    measure,
    textbook_params,
)
from stages.common.files import Array
from stages.engine.trial import Data, Trial
from stages.engine.workers import open_processes

N_ROUNDS = 3
RATES = (1e-4, 1e-1)


@dataclass(frozen=True)
class Size:
    """How much is trained: examples, epochs, and trials of each program."""

    n_train: int
    n_epochs: int
    n_trials: int

    @property
    def n_validation(self) -> int:
        """A fifth of all examples."""
        return self.n_train // 4


SIZES = {"small": Size(1_200, 50, 12), "large": Size(48_000, 5, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuners", description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "SIZE"))
    arguments = parser.parse_args()
    if arguments.measure:
        what, size = arguments.measure
        print(PROGRAMS[what](SIZES[size]))
        return
    rows = []
    for name, size in SIZES.items():
        rounds = [{what: _measure(what, name) for what in PROGRAMS} for _ in range(N_ROUNDS)]
        medians = [statistics.median(times[what] for times in rounds) for what in PROGRAMS]
        rows.append((f"{size.n_train:,}", size.n_epochs, size.n_trials, *medians))
        print(*rows[-1], file=sys.stderr)
    print(f"Seconds per trial, {joblib.cpu_count()} cores, medians of {N_ROUNDS} rounds")
    print(tabulate(rows, ("examples", "epochs", "trials", *PROGRAMS), floatfmt=".3g"))


def here_s(size: Size) -> float:
    """Seconds per trial of this project's engine."""
    params = textbook_params("mlp", size.n_epochs)
    data = Data(draw_noise(size.n_train), draw_noise(size.n_validation))
    dataset = describe_noise(size.n_train, size.n_validation)
    with open_processes(joblib.cpu_count()) as workers:
        from stages.engine.training import plan_work

        work = plan_work("adam", params, dataset, "", workers.environment)
        factors = np.geomspace(*RATES, size.n_trials) / work.configured_rate

        def search() -> None:
            trials = [Trial("tuning", float(factor), 1, setting=0) for factor in factors]
            for future in [workers.submit(work, data, trial) for trial in trials]:
                workers.collect(future)

        return _per_trial_s(search, size)


def optuna_s(size: Size) -> float:
    """Seconds per trial of Optuna's default sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    train, options = _fitting(size)

    def objective(trial: Any) -> float:
        model = _build(trial.suggest_float("learning_rate", *RATES, log=True))
        return float(model.fit(*train, **options).history["val_accuracy"][-1])

    study = optuna.create_study(direction="maximize")
    return _per_trial_s(lambda: study.optimize(objective, n_trials=size.n_trials), size)


def keras_tuner_s(size: Size) -> float:
    """Seconds per trial of KerasTuner's random search."""
    import keras_tuner

    train, options = _fitting(size)

    def build(choices: Any) -> Any:
        return _build(choices.Float("learning_rate", *RATES, sampling="log"))

    with TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(
            build, objective="val_accuracy", max_trials=size.n_trials, directory=folder
        )
        return _per_trial_s(lambda: tuner.search(*train, **options), size)


PROGRAMS: dict[str, Callable[[Size], float]] = {
    "here": here_s,
    "Optuna": optuna_s,
    "KerasTuner": keras_tuner_s,
}


def _build(learning_rate: float) -> Any:
    import keras

    return build_in_keras(keras.optimizers.Adam(learning_rate))


def _fitting(size: Size) -> tuple[tuple[Array, Array], dict[str, Any]]:
    """Training examples and options of `fit`."""
    return draw_arrays(size.n_train), {
        "validation_data": draw_arrays(size.n_validation),
        "batch_size": BATCH_SIZE,
        "epochs": size.n_epochs,
        "verbose": 0,
    }


def _per_trial_s(search: Callable[[], object], size: Size) -> float:
    logging.disable(logging.WARNING)
    started_s = time.perf_counter()
    search()
    return (time.perf_counter() - started_s) / size.n_trials


def _measure(what: str, size: str) -> float:
    return measure((sys.executable, "-m", "benchmarks.tuners", "--measure", what, size))


if __name__ == "__main__":
    main()
