"""Small data, parameters and runs for the tests of training, evaluation and report.

What needs TensorFlow imports it when it is called, so that the other tests can do without.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.confirmation import PREDICTIONS, ROWS, Scored, Unscored
from stages.common.data import Dataset, Examples, RawFile, Scaling
from stages.common.files import Array, UInt8Array
from stages.common.optimizer_params import Optimizer
from stages.common.params import BuiltInModel, Params
from stages.common.runs import (
    EPOCHS,
    RUN,
    TRIALS,
    WEIGHTS,
    Completed,
    Diverged,
    EpochRow,
    Phase,
    Run,
    Setting,
    TrialRow,
)
from stages.common.score import score_of
from stages.engine.environment import describe_environment
from stages.engine.trial import Data, Work
from stages.engine.workers import open_threads
from stages.evaluate.scored import Group, ScoredRun
from tests.parameters import COMMITTED, small_params

if TYPE_CHECKING:
    import keras

    from stages.engine.loop import Scores, Slot
    from stages.engine.models import Network
    from stages.train.finished import Trained

CLASS_NAMES = ("circle", "square", "triangle", "star")


def draw_examples(n: int, seed: int) -> Examples:
    """Images of 6 x 6 pixels: a prototype for each of four classes, and noise."""
    prototypes = np.random.default_rng(0).uniform(0, 200, (len(CLASS_NAMES), 6, 6, 1))
    generator = np.random.default_rng(seed)
    targets = generator.permutation(np.arange(n) % len(CLASS_NAMES)).astype(np.int32)
    inputs = prototypes[targets] + generator.uniform(0, 50, (n, 6, 6, 1))
    return Examples(inputs.astype(np.uint8), targets)


def class_counts(examples: Examples) -> tuple[int, ...]:
    return tuple(np.bincount(examples.targets).tolist())


# Batches of 16 leave 11 images for the last minibatch.
TRAIN, VALIDATION, TEST = draw_examples(75, 1), draw_examples(40, 2), draw_examples(60, 3)
DATA = Data(TRAIN, VALIDATION)
DATASET = Dataset(
    name="shapes",
    class_names=CLASS_NAMES,
    input_shape=(6, 6, 1),
    input_dtype="uint8",
    n_outputs=len(CLASS_NAMES),
    features=(),
    n_train=75,
    n_validation=40,
    n_test=60,
    train_counts=class_counts(TRAIN),
    validation_counts=class_counts(VALIDATION),
    test_counts=class_counts(TEST),
    files=(RawFile("shapes.npz", 1234, "5" * 64),),
    scaling=Scaling((1 / 250,), (0.0,), (), ()),
)
TASK = COMMITTED.task
SCORE = score_of(TASK)


def encode_idx(array: UInt8Array) -> bytes:
    """An array in the IDX format, not yet packed."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def bits(arrays: Iterable[Any]) -> list[bytes]:
    """Equal for arrays that are equal to the last bit."""
    return [np.asarray(array).tobytes() for array in arrays]


def small_network(**model: Any) -> "Network":
    """The network of the small parameters, but for what `model` says."""
    from stages.engine.models import build_network

    return build_network(small_params(COMMITTED.optimizers, model=model).model, DATASET)


def unnamed_network(pixels: "keras.KerasTensor", settings: BuiltInModel) -> "keras.KerasTensor":
    """A network to be added to MODELS: layers of many kinds, none of which has a name."""
    import keras

    class Stretch(keras.layers.Layer):  # type: ignore[misc]
        """A weight from an initializer by name, and one from Keras's default."""

        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")
            self.shift = self.add_weight(shape=(shape[-1],))

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale + self.shift

    hidden = keras.layers.Flatten()(pixels)
    nested = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    hidden = keras.Sequential(nested)(hidden)
    hidden = keras.layers.Dropout(settings.dropout)(hidden)
    hidden = Stretch()(keras.layers.Dense(8)(hidden))
    hidden = keras.layers.Dropout(settings.dropout)(hidden)
    return keras.layers.BatchNormalization()(keras.layers.Dense(8)(hidden))


def small_work(entry: Optimizer, **sections: Mapping[str, Any]) -> Work:
    """What the trials of one optimizer have in common, for `DATA`."""
    from stages.engine.training import plan_work

    params = small_params({"it": entry}, **sections)
    return plan_work("it", params, DATASET, "", describe_environment())


def small_slot(
    entry: Optimizer, validation: Examples | None = None, **sections: Mapping[str, Any]
) -> "Slot":
    """A slot that trains on `DATA`, or validates on other examples."""
    from stages.engine.loop import to_tensors
    from stages.engine.training import build_slot

    splits = (TRAIN, VALIDATION if validation is None else validation)
    train, validating = (to_tensors(split, TASK, DATASET.scaling) for split in splits)
    return build_slot(small_work(entry, **sections), train, validating)


def train_epochs(slot: "Slot", order: Array, n_epochs: int) -> "list[Scores]":
    """Training scores of epochs that all use the examples in this order, one epoch per call."""
    return [slot.train(order[np.newaxis].astype(np.int32))[0].training for _ in range(n_epochs)]


def small_training(
    entry: Optimizer, store: Path | None = None, n_workers: int = 1, **sections: Mapping[str, Any]
) -> "Trained":
    """Trains one optimizer; without a store, as if nothing had ever been trained."""
    from stages.train.tuning import train

    params = small_params({"it": entry}, **sections)
    with TemporaryDirectory() as nowhere, open_threads(n_workers) as workers:
        folder = store or Path(nowhere)
        return train(["it"], params, DATASET, DATA, store_folder=folder, workers=workers)["it"]


def write_trained(folder: Path, trained: "Trained") -> None:
    """What confirm and evaluate read of `runs/NAME` and `weights/NAME`, in one folder."""
    TRIALS.write(folder, trained.trials)
    EPOCHS.write(folder, trained.epochs)
    WEIGHTS.write(folder, trained.weights)
    RUN.write(folder, trained.run)


def write_confirmed(folder: Path, runs: Path, params: Params) -> None:
    """What evaluate reads of `confirmation`, once the runs are written."""
    from stages.confirm.race import confirm, read_first_looks

    with TemporaryDirectory() as store:
        confirmed = confirm(
            params,
            DATASET,
            DATA,
            TEST,
            read_first_looks(params, runs, runs),
            store_folder=Path(store),
            open_workers=lambda: open_threads(1),
        )
    ROWS.write(folder, confirmed.rows)
    PREDICTIONS.write(folder, confirmed.predictions)


N_STEPS_PER_EPOCH = 5


def trial_row(
    phase: Phase, setting: int, seed: int, accuracy: float | None, n_epochs: int = 5
) -> TrialRow:
    """A trial that ended with this validation accuracy; None for one that diverged."""
    diverged = Diverged(
        phase=phase,
        setting=setting,
        learning_rate=0.1,
        seed=seed,
        n_epochs=n_epochs,
        n_steps=n_epochs * N_STEPS_PER_EPOCH,
    )
    if accuracy is None:
        return diverged
    return Completed(
        **{key: value for key, value in vars(diverged).items() if key != "outcome"},
        train_loss=accuracy,
        train_score=accuracy,
        validation_loss=accuracy,
        validation_score=accuracy,
        best_epoch=n_epochs,
        best_validation_score=accuracy,
    )


@dataclass(frozen=True)
class Trials:
    """What `group` makes: trials with fresh seeds at one setting, and their learning curves."""

    group: Group
    curves: tuple[tuple[EpochRow, ...], ...]
    setting: int


def group(
    accuracies: Sequence[float],
    curves: Sequence[Sequence[float]] | None = None,
    *,
    setting: int = 1,
    n_failed: int = 0,
) -> Trials:
    """Trials with fresh seeds: 1, 2, ... completed, those after them diverged.

    Args:
        accuracies: On the test images, by seed.
        curves: Validation accuracies after each epoch, by seed; flat, at `accuracies`, if None.
        setting: Place in the grid.
        n_failed: Trials without scores.
    """
    curves = curves or [[accuracy] * 5 for accuracy in accuracies]
    completed = [
        Scored(
            optimizer="it",
            rate="tuned",
            seed=seed,
            n_steps=len(curve) * N_STEPS_PER_EPOCH,
            validation_score=curve[-1],
            best_validation_score=max(curve),
            test_score=accuracy,
            test_loss=1 - accuracy,
        )
        for seed, (accuracy, curve) in enumerate(zip(accuracies, curves, strict=True), start=1)
    ]
    failed = [
        Unscored(
            optimizer="it",
            rate="tuned",
            seed=len(curves) + i,
            n_steps=5 * N_STEPS_PER_EPOCH,
            outcome="diverged",
        )
        for i in range(1, 1 + n_failed)
    ]
    epochs = tuple(
        tuple(
            EpochRow("confirmation", setting, seed, epoch, value, value, value, value)
            for epoch, value in enumerate(curve, start=1)
        )
        for seed, curve in enumerate(curves, start=1)
    )
    rows: tuple[Scored | Unscored, ...] = (*completed, *failed)
    return Trials(Group(0.1, rows), epochs, setting)


# The best in the middle, at the configured rate.
TUNING: Mapping[float, Sequence[float | None]] = {
    0.1: [0.5, 0.5],
    1.0: [0.9, 0.9],
    10.0: [0.7, 0.7],
}


def scored_run(
    tuned: Trials,
    configured: Trials | None = None,
    *,
    tuning: Mapping[float, Sequence[float | None]] = TUNING,
    class_name: str = "SGD",
    n_state: int = 0,
    **arguments: Any,
) -> ScoredRun:
    """An optimizer's trials from plain numbers.

    A completed trial predicts the first of the test images rightly, as many as its accuracy says,
    and for each of the others the class after the right one.

    Args:
        tuned: What tuning chose; its setting is a place in `tuning`.
        configured: None where that is the same.
        tuning: Validation accuracies by factor; None for a diverged trial. The rate is a tenth of
            the factor.
        class_name: Of Keras.
        n_state: For 100 parameters.
        arguments: What else Keras's configuration holds.
    """
    n_test = DATASET.n_test
    is_wrong = [np.arange(n_test) >= row.test_score * n_test for row in tuned.group.completed]
    wrong = np.array(is_wrong, np.uint8).reshape(-1, n_test)

    def at_its_rate(trials: Trials) -> Group:
        return replace(trials.group, learning_rate=0.1 * list(tuning)[trials.setting])

    return ScoredRun(
        run=Run(
            class_name=class_name,
            optimizer=arguments,
            settings=tuple(Setting(factor, 0.1 * factor) for factor in tuning),
            tuned=tuned.setting,
            configured=(configured or tuned).setting,
            jit_compile=True,
            n_parameters=100,
            n_state=n_state,
            versions={"keras": "3.15.1"},
        ),
        tuning=tuple(
            replace(trial_row("tuning", setting, seed, accuracy), learning_rate=0.1 * factor)
            for setting, (factor, accuracies) in enumerate(tuning.items())
            for seed, accuracy in enumerate(accuracies, start=91)
        ),
        curves=tuned.curves,
        n_curves=len(tuned.group.rows),
        n_steps_per_epoch=N_STEPS_PER_EPOCH,
        tuned=at_its_rate(tuned),
        configured=at_its_rate(configured or tuned),
        predictions=((TEST.targets + wrong) % len(CLASS_NAMES)).astype(np.uint8),
        example_scores=1.0 - wrong.mean(axis=0) if len(wrong) else np.zeros(0),
    )
