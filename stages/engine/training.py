"""One trial: a value in, a value out, in a slot that its thread keeps for the next one.

All that this module imports from the project is part of the key of a stored trial.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import asdict
from functools import lru_cache
from math import ceil, isfinite
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from stages.common.data import Dataset, Scaling
from stages.common.errors import InputError, describe_refusal
from stages.common.own import describe, place_in_own_code
from stages.common.params import FIRST_LOOK, Params, Task
from stages.common.runs import Completed, Diverged, EpochRow, Failed
from stages.common.score import score_of
from stages.engine.environment import Environment, digest_own
from stages.engine.loop import Slot, Tensors, resolve_jit_compile, to_tensors
from stages.engine.models import build_network
from stages.engine.optimizers import build_learning_rate, build_optimizer, peak_learning_rate
from stages.engine.trial import Data, Trial, TrialResult, Work

# A thread of a cluster may be given several optimizers' trials in turn.
N_SLOTS = 8
# What a stage holds of the weights at least: those of its fresh seeds, and them again in one array.
N_COPIES = 2 * FIRST_LOOK
# What Keras draws from where it is given no seed.
_GLOBAL_SEED = "global_seed_generator"
_thread = threading.local()
_making_tensors = threading.Lock()


def plan_work(
    name: str,
    params: Params,
    dataset: Dataset,
    data_digest: str,
    environment: Environment,
) -> Work:
    """What the trials of one optimizer have in common.

    Args:
        name: A key of `params.optimizers`.
        params: All parameters.
        dataset: What is known of the data.
        data_digest: Of the examples that train and validate; see `digest_examples`.
        environment: Of the workers.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built.
    """
    settings = params.optimizers[name]
    network = build_network(params.model, dataset, N_COPIES)
    jit_compile = resolve_jit_compile(network, params.train.jit_compile, environment.devices)
    n_steps = ceil(dataset.n_train / params.train.batch_size) * params.train.epochs
    own = digest_own(name, params)
    decides = {
        "optimizer": settings.model_dump(mode="json"),
        "model": params.model.model_dump(mode="json"),
        "epochs": params.train.epochs,
        "batch_size": params.train.batch_size,
        "jit_compile": jit_compile,
        "task": params.task.model_dump(mode="json"),
        "scaling": asdict(dataset.scaling),
        "n_outputs": dataset.n_outputs,
        "data": data_digest,
        "own": own,
        **environment.deciding(jit_compile=jit_compile),
    }
    return Work(
        name=name,
        params=params.model_copy(update={"optimizers": {name: settings}}),
        dataset=dataset,
        jit_compile=jit_compile,
        configured_rate=peak_learning_rate(build_learning_rate(name, settings), n_steps),
        own=own,
        key=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
    )


def train_trial(work: Work, data: Data, trial: Trial) -> TrialResult:
    """Trains and validates once; which thread does it, and what it did before, changes no bit.

    An exception ends the trial as failed, a loss or weight that is not finite as diverged; both are
    results.

    Raises:
        InputError: If the parameters are wrong, so that no trial could be trained, or the disk is
            full.
    """
    slots: OrderedDict[str, Slot] = _thread.__dict__.setdefault("slots", OrderedDict())
    try:
        if work.key not in slots:
            while len(slots) >= N_SLOTS:
                slots.popitem(last=False)
            with _making_tensors:
                tensors = _make_tensors(data, work.params.task, work.dataset.scaling)
            slots[work.key] = build_slot(work, *tensors)
        slots.move_to_end(work.key)
        return run_trial(slots[work.key], work, trial)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, an own network or optimizer may raise any
        slots.pop(work.key, None)
        cause: BaseException = error
        # What was raised while TensorFlow traced a function comes wrapped.
        while hasattr(cause, "ag_error_metadata") and cause.__context__ is not None:
            cause = cause.__context__
        # TensorFlow writes what it traces to a file; a full disk says nothing of the optimizer.
        if isinstance(cause, OSError) and (refusal := describe_refusal(cause)):
            raise InputError(refusal) from None
        reason = f"{describe(cause)}{place_in_own_code(error)}"
        row = Failed(**_about(work, trial, 0, 0), reason=reason)
        return TrialResult(row=row, curve=(), weights=())


def build_slot(work: Work, train: Tensors, validation: Tensors) -> Slot:
    """A slot for the optimizer's trials, compiled.

    Raises:
        InputError: If the network draws random numbers that no trial's seed decides.
    """
    factor = keras.Variable(1.0, trainable=False)
    global_state.set_global_attribute(_GLOBAL_SEED, None)
    slot = Slot(
        build_network(work.params.model, work.dataset),
        build_optimizer(work.name, work.params.optimizers[work.name], factor),
        factor,
        train,
        validation,
        batch_size=work.params.train.batch_size,
        jit_compile=work.jit_compile,
    )
    slot.reset(0, 1.0)
    if global_state.get_global_attribute(_GLOBAL_SEED) is not None:
        raise InputError(
            f"params.yaml: model.name: {work.params.model.name} or the optimizer {work.name} draws "
            "random numbers without a seed; make a keras.random.SeedGenerator in the layer's "
            "__init__ and pass it as seed"
        )
    return slot


@lru_cache(maxsize=1)
def _make_tensors(data: Data, task: Task, scaling: Scaling) -> tuple[Tensors, Tensors]:
    """For all threads of a process."""
    return to_tensors(data.train, task, scaling), to_tensors(data.validation, task, scaling)


def run_trial(slot: Slot, work: Work, trial: Trial) -> TrialResult:
    """Trains and validates once.

    The trial's seed alone fixes the initial weights, the order of examples and dropout, so that
    trials of other optimizers with the same seed are paired with this one; what the slot trained
    before leaves no trace.
    """
    slot.reset(trial.seed, trial.learning_rate_factor)
    generator = np.random.default_rng(np.random.SeedSequence(trial.seed, spawn_key=(1,)))
    curve: list[EpochRow] = []
    n_epochs, is_finite = 0, True
    while n_epochs < work.params.train.epochs and is_finite:
        n_epochs += 1
        training = slot.train_epoch(generator.permutation(slot.n_train).astype(np.int32))
        if n_epochs == work.params.train.epochs:
            slot.finish()
        validation = slot.validate()
        is_finite = all(
            isfinite(value) for value in (*vars(training).values(), *vars(validation).values())
        )
        if is_finite:
            curve.append(
                EpochRow(
                    phase=trial.phase,
                    setting=trial.setting,
                    seed=trial.seed,
                    epoch=n_epochs,
                    train_loss=training.loss,
                    train_score=training.score,
                    validation_loss=validation.loss,
                    validation_score=validation.score,
                )
            )
    weights = tuple(slot.model.get_weights())
    about = _about(work, trial, n_epochs, n_epochs * slot.n_steps_per_epoch)
    # Max-pooling and a sigmoid can hide weights that are not finite from the loss.
    if not is_finite or not all(np.isfinite(array).all() for array in weights):
        return TrialResult(row=Diverged(**about), curve=tuple(curve), weights=())
    score = score_of(work.params.task)
    last, best = curve[-1], max(curve, key=lambda row: score.merit(row.validation_score))
    row = Completed(
        **about,
        train_loss=last.train_loss,
        train_score=last.train_score,
        validation_loss=last.validation_loss,
        validation_score=last.validation_score,
        best_epoch=best.epoch,
        best_validation_score=best.validation_score,
    )
    kept = weights if trial.phase == "confirmation" else ()
    return TrialResult(row=row, curve=tuple(curve), weights=kept)


def _about(work: Work, trial: Trial, n_epochs: int, n_steps: int) -> dict[str, Any]:
    """What every trial's row says."""
    return {
        "phase": trial.phase,
        "setting": trial.setting,
        "learning_rate": trial.learning_rate_factor * work.configured_rate,
        "seed": trial.seed,
        "n_epochs": n_epochs,
        "n_steps": n_steps,
    }
