"""All trials of one optimizer: which, where, and what becomes of them."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import mean

import joblib
import keras
import numpy as np
import tensorflow as tf

from stages.common.artifacts import Dataset, EpochRow, Examples, Run, TrialRow, Weights
from stages.common.console import InputError, Progress
from stages.common.params import Params, Tuning
from stages.train.loop import Slot, resolve_jit_compile, to_tensors
from stages.train.models import architecture, build_model
from stages.train.optimizers import build_learning_rate, build_optimizer, peak_learning_rate
from stages.train.store import (
    TrialStore,
    describe_processor,
    digest_examples,
    digest_source,
    prune,
)
from stages.train.trial import Trial, TrialResult, run_trial

CONFIGURED = 1.0
VERSIONS = {"keras": keras.__version__, "numpy": np.__version__, "tensorflow": tf.__version__}
# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Sweep:
    """What the stage hands on.

    `model` holds the weights of the confirmation trial at the tuned rate with the best final
    validation accuracy; None if every one diverged.
    """

    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    architecture: str
    model: keras.Model | None


def plan_tuning(tuning: Tuning) -> list[Trial]:
    """Every learning rate of the grid with every tuning seed."""
    return [
        Trial("tuning", factor, seed)
        for factor in tuning.learning_rate_factors
        for seed in tuning.seeds
    ]


def plan_confirmation(factor: float, seeds: Iterable[int]) -> list[Trial]:
    """One learning rate with every fresh seed."""
    return [Trial("confirmation", factor, seed) for seed in seeds]


def choose_factor(rows: Iterable[TrialRow]) -> float:
    """The learning-rate factor that tuning decides for.

    The one with the fewest diverged trials, then the highest mean final validation accuracy over
    the tuning seeds, then the lowest mean validation loss; the first of the grid between equals.
    """
    by_factor: dict[float, list[TrialRow]] = {}
    for row in rows:
        by_factor.setdefault(row.learning_rate_factor, []).append(row)

    def merit(factor: float) -> tuple[float, float, float]:
        completed = [row for row in by_factor[factor] if row.status == "completed"]
        if not completed:
            return -len(by_factor[factor]), 0.0, 0.0
        return (
            len(completed) - len(by_factor[factor]),
            mean(row.validation_accuracy or 0.0 for row in completed),
            -mean(row.validation_loss or 0.0 for row in completed),
        )

    return max(by_factor, key=merit)


def count_workers() -> int:
    """How many trials run side by side: TRAIN_WORKERS, or as many as there are cores.

    Raises:
        InputError: If TRAIN_WORKERS is no positive whole number.
    """
    text = os.environ.get("TRAIN_WORKERS", str(joblib.cpu_count()))
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"TRAIN_WORKERS: should be a positive whole number (is {text!r})")
    return int(text)


def sweep(
    name: str,
    params: Params,
    dataset: Dataset,
    train: Examples,
    validation: Examples,
    *,
    store_folder: Path,
    n_workers: int,
) -> Sweep:
    """Tunes the optimizer `params.optimizers[name]` and confirms what tuning chose.

    How many workers there are, and which trials come from the store, changes no result.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built.
    """
    model = build_model(params.model, dataset)
    optimizer = build_optimizer(name, params.optimizers[name])
    optimizer.build(model.trainable_variables)
    jit_compile = resolve_jit_compile(model, params.train.jit_compile)
    trainer = _Trainer(name, params, dataset, (train, validation), jit_compile, store_folder)
    seeds = params.confirmation.seeds
    tuning, configured = plan_tuning(params.tuning), plan_confirmation(CONFIGURED, seeds)
    n_trials = len(tuning) + 2 * len(seeds)
    with (
        Progress(f"train {name}", n_trials, "trials") as progress,
        joblib.Parallel(n_workers, "threading", return_as="generator_unordered") as pool,
    ):
        # The configured rate is confirmed whatever tuning says, so its trials fill the workers.
        results = trainer.run([*tuning, *configured], pool, progress)
        factor = choose_factor(results[trial].row for trial in tuning)
        tuned = plan_confirmation(factor, seeds)
        results |= trainer.run([trial for trial in tuned if trial not in results], pool, progress)
        progress.skip(n_trials - len(results))
    prune(store_folder)
    return Sweep(
        run=Run(
            class_name=params.optimizers[name].class_name,
            optimizer={k: v for k, v in optimizer.get_config().items() if k not in _NOT_IN_CONFIG},
            tuned_learning_rate_factor=factor,
            jit_compile=jit_compile,
            n_parameters=model.count_params(),
            n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
            versions=VERSIONS,
        ),
        trials=tuple(result.row for result in results.values()),
        epochs=tuple(row for result in results.values() for row in result.curve),
        weights=_stack_weights(results.values()),
        architecture=architecture(model),
        model=_with_best_weights(model, [results[trial] for trial in tuned]),
    )


class _Trainer:
    """Runs one optimizer's trials, in a slot for each worker thread, or finds them in the store."""

    def __init__(
        self,
        name: str,
        params: Params,
        dataset: Dataset,
        splits: tuple[Examples, Examples],
        jit_compile: bool,
        store_folder: Path,
    ) -> None:
        self._name, self._params, self._dataset = name, params, dataset
        self._jit_compile = jit_compile
        self._splits = tuple(map(to_tensors, splits))
        self._slots = threading.local()
        self._n_found = 0
        settings = params.optimizers[name]
        n_steps = ceil(dataset.n_train / params.train.batch_size) * params.train.epochs
        self._configured_rate = peak_learning_rate(build_learning_rate(name, settings), n_steps)
        self._store = TrialStore(
            store_folder,
            {
                "optimizer": settings.model_dump(mode="json"),
                "model": params.model.model_dump(mode="json"),
                "epochs": params.train.epochs,
                "batch_size": params.train.batch_size,
                "jit_compile": jit_compile,
                # XLA's results are the same on all.
                "processor": [] if jit_compile else describe_processor(),
                "xla_flags": os.environ["XLA_FLAGS"],
                "devices": [device.device_type for device in tf.config.list_physical_devices()],
                "pixel_maximum": dataset.pixel_maximum,
                "n_classes": len(dataset.class_names),
                "data": digest_examples(*splits),
                "source": digest_source(),
                "versions": VERSIONS,
            },
        )

    def run(
        self, trials: Sequence[Trial], pool: joblib.Parallel, progress: Progress
    ) -> dict[Trial, TrialResult]:
        """The trials' results, in the order of the trials."""
        results = {trial: self._store.get(trial) for trial in trials}
        missing = [trial for trial, result in results.items() if result is None]
        self._n_found += len(trials) - len(missing)
        progress.advance(len(trials) - len(missing), self._note(results.values()))
        for trial, result in pool(joblib.delayed(self._train)(trial) for trial in missing):
            results[trial] = result
            progress.advance(1, self._note(results.values()))
        return {trial: result for trial, result in results.items() if result is not None}

    def _note(self, results: Iterable[TrialResult | None]) -> str:
        rows = [result.row for result in results if result is not None]
        best = max((row.validation_accuracy or 0.0 for row in rows), default=0.0)
        return f"best {best:.4f}" + f", {self._n_found} kept" * bool(self._n_found)

    def _train(self, trial: Trial) -> tuple[Trial, TrialResult]:
        if not hasattr(self._slots, "slot"):
            self._slots.slot = self._make_slot()
        result = run_trial(
            self._slots.slot,
            trial,
            epochs=self._params.train.epochs,
            configured_rate=self._configured_rate,
        )
        self._store.put(trial, result)
        return trial, result

    def _make_slot(self) -> Slot:
        factor = keras.Variable(CONFIGURED, trainable=False)
        return Slot(
            build_model(self._params.model, self._dataset),
            build_optimizer(self._name, self._params.optimizers[self._name], factor),
            factor,
            *self._splits,
            batch_size=self._params.train.batch_size,
            jit_compile=self._jit_compile,
        )


def _with_best_weights(model: keras.Model, results: Iterable[TrialResult]) -> keras.Model | None:
    completed = [result for result in results if result.weights is not None]
    if not completed:
        return None
    best = max(completed, key=lambda result: result.row.validation_accuracy or 0.0)
    model.set_weights(best.weights)
    return model


def _stack_weights(results: Iterable[TrialResult]) -> Weights:
    kept = [result for result in results if result.weights is not None]
    return Weights(
        learning_rate_factors=np.array([result.row.learning_rate_factor for result in kept]),
        seeds=np.array([result.row.seed for result in kept], np.int64),
        arrays=tuple(map(np.stack, zip(*(result.weights or () for result in kept), strict=True))),
    )
