"""Small data, parameters and runs for the tests of training, evaluation and report."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.common.artifacts import (
    Dataset,
    EpochRow,
    Examples,
    Phase,
    RawFile,
    Run,
    TrialRow,
    write_architecture,
    write_epochs,
    write_run,
    write_trials,
    write_weights,
)
from stages.common.params import Optimizer, Params, load_params
from stages.evaluate.outcomes import Group, Outcome
from stages.evaluate.scoring import TrialScore
from stages.train.sweep import Sweep, sweep
from stages.train.work import Data
from stages.train.workers import open_threads
from tests.conftest import PROJECT

CLASS_NAMES = ("circle", "square", "triangle", "star")
COMMITTED = load_params(PROJECT / "params.yaml")


def draw_examples(n: int, seed: int) -> Examples:
    """Images of 6 x 6 pixels: a prototype for each of four classes, and noise."""
    prototypes = np.random.default_rng(0).uniform(0, 200, (len(CLASS_NAMES), 6, 6, 1))
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % len(CLASS_NAMES)).astype(np.uint8)
    images = prototypes[labels] + generator.uniform(0, 50, (n, 6, 6, 1))
    return Examples(images.astype(np.uint8), labels)


def class_counts(examples: Examples) -> tuple[int, ...]:
    return tuple(np.bincount(examples.labels).tolist())


# Batches of 16 leave 11 images for the last minibatch.
TRAIN, VALIDATION, TEST = draw_examples(75, 1), draw_examples(40, 2), draw_examples(60, 3)
DATA = Data(TRAIN, VALIDATION)
DATASET = Dataset(
    name="shapes",
    class_names=CLASS_NAMES,
    height=6,
    width=6,
    channels=1,
    pixel_maximum=250,
    train_counts=class_counts(TRAIN),
    validation_counts=class_counts(VALIDATION),
    test_counts=class_counts(TEST),
    files=(RawFile("shapes.npz", 1234, "5" * 64),),
)
SMALL: dict[str, dict[str, Any]] = {
    "model": {"name": "mlp", "hidden_units": [8], "activation": "relu", "dropout": 0.0},
    "train": {"epochs": 2, "batch_size": 16, "jit_compile": False},
    "tuning": {"learning_rate_factors": [1.0], "seeds": [91]},
    "confirmation": {"seeds": [1, 2]},
}


def bits(arrays: Iterable[Any]) -> list[bytes]:
    """Equal for arrays that are equal to the last bit."""
    return [np.asarray(array).tobytes() for array in arrays]


def optimizer(**entry: Any) -> Optimizer:
    """An entry of `optimizers` as params.yaml would give it; its learning rate is 0.1."""
    return Optimizer.model_validate_json(json.dumps({"learning_rate": 0.1, **entry}))


def small_params(optimizers: Mapping[str, Optimizer], **sections: Mapping[str, Any]) -> Params:
    """The committed parameters with little work; `sections` hold what else differs."""
    content = COMMITTED.model_dump(mode="json")
    for section, values in SMALL.items():
        content[section] |= values | dict(sections.get(section, {}))
    content["optimizers"] = {name: entry.model_dump() for name, entry in optimizers.items()}
    return Params.model_validate_json(json.dumps(content))


def small_sweep(
    entry: Optimizer, store: Path | None = None, n_workers: int = 1, **sections: Mapping[str, Any]
) -> Sweep:
    """Trains one optimizer; without a store, as if nothing had ever been trained."""
    params = small_params({"it": entry}, **sections)
    with TemporaryDirectory() as nowhere:
        store_folder = store or Path(nowhere)
        with open_threads(n_workers) as workers:
            found = sweep(["it"], params, DATASET, DATA, store_folder=store_folder, workers=workers)
    return found["it"]


def write_sweep(folder: Path, result: Sweep) -> None:
    """What evaluate reads of `runs/NAME`."""
    write_trials(folder, result.trials)
    write_epochs(folder, result.epochs)
    write_weights(folder, result.weights)
    write_architecture(folder, result.architecture)
    write_run(folder, result.run)


N_STEPS_PER_EPOCH = 5


def trial_row(
    phase: Phase, factor: float, seed: int, accuracy: float | None, n_epochs: int = 5
) -> TrialRow:
    """A trial that ended with this validation accuracy; None for one that diverged."""
    return TrialRow(
        phase=phase,
        learning_rate_factor=factor,
        learning_rate=0.1 * factor,
        seed=seed,
        status="diverged" if accuracy is None else "completed",
        n_epochs=n_epochs,
        n_steps=n_epochs * N_STEPS_PER_EPOCH,
        train_loss=accuracy,
        train_accuracy=accuracy,
        validation_loss=accuracy,
        validation_accuracy=accuracy,
        best_epoch=None if accuracy is None else n_epochs,
        best_validation_accuracy=accuracy,
    )


def group(
    accuracies: Sequence[float],
    curves: Sequence[Sequence[float]] | None = None,
    *,
    factor: float = 1.0,
    n_diverged: int = 0,
) -> Group:
    """Confirmation trials: seeds 1, 2, ... completed, those after them diverged.

    Args:
        accuracies: On the test images, by seed.
        curves: Validation accuracies after each epoch, by seed; flat, at `accuracies`, if None.
        factor: Learning rate factor; the configured rate is 0.1.
        n_diverged: Trials without scores.
    """
    curves = curves or [[accuracy] * 5 for accuracy in accuracies]
    completed = tuple(
        trial_row("confirmation", factor, seed, curve[-1], len(curve))
        for seed, curve in enumerate(curves, start=1)
    )
    diverged = tuple(
        trial_row("confirmation", factor, len(curves) + i, None) for i in range(1, 1 + n_diverged)
    )
    images = np.arange(DATASET.n_test)
    return Group(
        rows=(*completed, *diverged),
        completed=completed,
        scores=tuple(
            TrialScore(images, images < accuracy * len(images), accuracy, 1 - accuracy)
            for accuracy in accuracies
        ),
        curves=tuple(
            tuple(
                EpochRow("confirmation", factor, row.seed, epoch, value, value, value, value)
                for epoch, value in enumerate(curve, start=1)
            )
            for row, curve in zip(completed, curves, strict=True)
        ),
    )


# The best in the middle.
TUNING: Mapping[float, Sequence[float | None]] = {
    0.1: [0.5, 0.5],
    1.0: [0.9, 0.9],
    10.0: [0.7, 0.7],
}


def outcome(
    tuned: Group,
    configured: Group | None = None,
    *,
    tuning: Mapping[float, Sequence[float | None]] = TUNING,
    class_name: str = "SGD",
    n_state: int = 0,
    **arguments: Any,
) -> Outcome:
    """An optimizer's run from plain numbers.

    Args:
        tuned: What tuning chose.
        configured: None where that is the same.
        tuning: Validation accuracies by factor; None for a diverged trial.
        class_name: Of Keras.
        n_state: For 100 parameters.
        arguments: What else Keras's configuration holds.
    """
    factor = tuned.rows[0].learning_rate_factor
    return Outcome(
        run=Run(class_name, arguments, factor, True, 100, n_state, {"keras": "3.12.4"}),
        tuning=tuple(
            trial_row("tuning", factor, seed, accuracy)
            for factor, accuracies in tuning.items()
            for seed, accuracy in enumerate(accuracies, start=91)
        ),
        tuned=tuned,
        configured=configured or tuned,
    )
