"""One trial: a value in, a value out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.common.artifacts import EpochRow, FloatArray, Phase, TrialRow
from stages.train.loop import Scores, Slot


@dataclass(frozen=True)
class Trial:
    """A training run to be made."""

    phase: Phase
    learning_rate_factor: float
    seed: int


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave.

    `weights` are those of a completed confirmation trial; nobody asks for the others.
    """

    row: TrialRow
    curve: tuple[EpochRow, ...]
    weights: tuple[FloatArray, ...] | None


def run_trial(slot: Slot, trial: Trial, *, epochs: int, configured_rate: float) -> TrialResult:
    """Trains and validates once.

    The trial's seed alone fixes the initial weights, the order of examples and dropout, so that
    trials of other optimizers with the same seed are paired with this one. A loss that is not
    finite ends the trial as diverged, which is a result and no error.

    Args:
        slot: Whatever it trained before leaves no trace.
        trial: Phase, factor and seed.
        epochs: Passes over the training examples.
        configured_rate: The rate that the factor multiplies, for the record.
    """
    slot.reset(trial.seed, trial.learning_rate_factor)
    generator = np.random.default_rng(np.random.SeedSequence(trial.seed, spawn_key=(1,)))
    training: list[Scores] = []
    validation: list[Scores] = []
    diverged = False
    while len(training) < epochs and not diverged:
        order = generator.permutation(slot.n_train).astype(np.int32)
        training.append(slot.train_epoch(order))
        if len(training) == epochs:
            slot.finish()
        validation.append(slot.validate())
        diverged = not math.isfinite(training[-1].loss + validation[-1].loss)
    curve = tuple(
        _epoch_row(trial, epoch, train_scores, validation_scores)
        for epoch, (train_scores, validation_scores) in enumerate(
            zip(training, validation, strict=True), start=1
        )
    )
    weights = slot.model.get_weights()
    # Max-pooling and a sigmoid can hide weights that are no numbers from the loss.
    diverged = diverged or not all(np.isfinite(array).all() for array in weights)
    learning_rate = trial.learning_rate_factor * configured_rate
    n_steps = len(curve) * slot.n_steps_per_epoch
    has_weights = trial.phase == "confirmation" and not diverged
    return TrialResult(
        row=_trial_row(trial, learning_rate, curve, n_steps, diverged),
        curve=curve,
        weights=tuple(weights) if has_weights else None,
    )


def _epoch_row(trial: Trial, epoch: int, training: Scores, validation: Scores) -> EpochRow:
    train_is_finite, validation_is_finite = map(math.isfinite, (training.loss, validation.loss))
    return EpochRow(
        phase=trial.phase,
        learning_rate_factor=trial.learning_rate_factor,
        seed=trial.seed,
        epoch=epoch,
        train_loss=training.loss if train_is_finite else None,
        train_accuracy=training.accuracy if train_is_finite else None,
        validation_loss=validation.loss if validation_is_finite else None,
        validation_accuracy=validation.accuracy if validation_is_finite else None,
    )


def _trial_row(
    trial: Trial, learning_rate: float, curve: Sequence[EpochRow], n_steps: int, diverged: bool
) -> TrialRow:
    last = curve[-1]
    best = max(curve, key=lambda row: row.validation_accuracy or 0.0)
    return TrialRow(
        phase=trial.phase,
        learning_rate_factor=trial.learning_rate_factor,
        learning_rate=learning_rate,
        seed=trial.seed,
        status="diverged" if diverged else "completed",
        n_epochs=len(curve),
        n_steps=n_steps,
        train_loss=None if diverged else last.train_loss,
        train_accuracy=None if diverged else last.train_accuracy,
        validation_loss=None if diverged else last.validation_loss,
        validation_accuracy=None if diverged else last.validation_accuracy,
        best_epoch=None if diverged else best.epoch,
        best_validation_accuracy=None if diverged else best.validation_accuracy,
    )
