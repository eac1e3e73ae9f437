"""All trials of one optimizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from stages.common.artifacts import Dataset, EpochRow, Examples, Run, TrialRow, Weights
from stages.common.console import Progress
from stages.common.params import Confirmation, Params
from stages.train.loop import Slot, resolve_jit_compile
from stages.train.models import architecture, build_model
from stages.train.optimizers import build_learning_rate, build_optimizer, peak_learning_rate
from stages.train.trial import Trial, TrialResult, run_trial

# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Sweep:
    """What the stage hands on.

    `model` holds the weights of the confirmation trial with the best final validation accuracy, or
    of none, if every trial diverged.
    """

    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    architecture: str
    model: keras.Model


def plan(confirmation: Confirmation) -> list[Trial]:
    """The trials that the protocol asks for: the configured rate with each confirmation seed."""
    return [Trial("confirmation", 1.0, seed) for seed in confirmation.seeds]


def sweep(
    name: str, params: Params, dataset: Dataset, train: Examples, validation: Examples
) -> Sweep:
    """Trains the optimizer `params.optimizers[name]`, a trial after the other.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built.
    """
    settings = params.optimizers[name]
    model = build_model(params.model, dataset)
    jit_compile = resolve_jit_compile(model, params.train.jit_compile)
    optimizer = build_optimizer(name, settings)
    slot = Slot(
        model,
        optimizer,
        train,
        validation,
        batch_size=params.train.batch_size,
        jit_compile=jit_compile,
    )
    rate = build_learning_rate(name, settings)
    learning_rate = peak_learning_rate(rate, slot.n_steps_per_epoch * params.train.epochs)
    results = []
    trials = plan(params.confirmation)
    with Progress(f"train {name}", len(trials), "trials") as progress:
        for trial in trials:
            result = run_trial(
                slot,
                trial,
                epochs=params.train.epochs,
                learning_rate=learning_rate,
            )
            results.append(result)
            progress.advance(note=_note(results))
    _take_best_weights(model, results)
    run = Run(
        class_name=settings.class_name,
        optimizer={k: v for k, v in optimizer.get_config().items() if k not in _NOT_IN_CONFIG},
        jit_compile=jit_compile,
        n_parameters=model.count_params(),
        n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
        versions={
            "keras": keras.__version__,
            "numpy": np.__version__,
            "tensorflow": tf.__version__,
        },
    )
    return Sweep(
        run=run,
        trials=tuple(result.row for result in results),
        epochs=tuple(row for result in results for row in result.curve),
        weights=_stack_weights(results),
        architecture=architecture(model),
        model=model,
    )


def _note(results: Sequence[TrialResult]) -> str:
    row = results[-1].row
    if row.validation_accuracy is None:
        return f"seed {row.seed}: diverged"
    return f"seed {row.seed}: validation accuracy {row.validation_accuracy:.4f}"


def _take_best_weights(model: keras.Model, results: Sequence[TrialResult]) -> None:
    completed = [result for result in results if result.weights is not None]
    if completed:
        best = max(completed, key=lambda result: result.row.validation_accuracy or 0.0)
        model.set_weights(best.weights)


def _stack_weights(results: Sequence[TrialResult]) -> Weights:
    kept = [result for result in results if result.weights is not None]
    return Weights(
        learning_rate_factors=np.array([result.trial.learning_rate_factor for result in kept]),
        seeds=np.array([result.trial.seed for result in kept], np.int64),
        arrays=tuple(map(np.stack, zip(*(result.weights or () for result in kept), strict=True))),
    )
