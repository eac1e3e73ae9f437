"""Runs one trial, in a slot that its thread keeps for the next one.

Everything that this module imports from the project is part of a stored trial's key.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import asdict, replace
from functools import lru_cache
from math import ceil
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from stages.common.data import Dataset, Scaling
from stages.common.errors import InputError, describe_refusal
from stages.common.optimizer_params import Optimizer, RateSchedule
from stages.common.own import describe, place_in_own_code
from stages.common.params import FIRST_LOOK, Params, Task
from stages.common.runs import Completed, Diverged, EpochRow, Failed
from stages.common.score import score_of
from stages.engine.environment import Environment, digest_own
from stages.engine.loop import Epoch, Program, Slot, Tensors, resolve_jit_compile, to_tensors
from stages.engine.models import build_network
from stages.engine.optimizers import (
    build_learning_rate,
    build_optimizer,
    leave_out_output_layer,
    peak_learning_rate,
    relative_rates,
)
from stages.engine.trial import N_SLOTS, Data, Trial, TrialResult, Work

# How many copies of the weights a stage holds at least: one per fresh seed, and again in one array.
N_COPIES = 2 * FIRST_LOOK
# The generator that Keras draws from if it is given no seed.
_GLOBAL_SEED = "global_seed_generator"
_thread = threading.local()
# TensorFlow reads its functions' source when it traces them, and Python 3.11 cannot parse in two
# threads at once (SystemError: AST constructor recursion depth mismatch).
_building = threading.Lock()
_programs: OrderedDict[str, Program] = OrderedDict()


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
        dataset: Describes the data.
        data_digest: Identifies the training and validation examples; see `digest_examples`.
        environment: The one that all workers share.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built.
    """
    settings = params.optimizers[name].with_arguments({})
    network = build_network(params.model, dataset, N_COPIES)
    jit_compile = resolve_jit_compile(network, params.train.jit_compile, environment.devices)
    n_steps = count_steps(params, dataset.n_train)
    schedule = _schedule(settings, params)
    own = digest_own(name, params)
    decides = {
        "optimizer": settings.model_dump(mode="json", exclude={"schedule"}),
        "schedule": None if schedule is None else schedule.model_dump(mode="json"),
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
    """Trains and validates once; neither the thread nor what it ran before affects the result.

    An exception ends the trial as failed, a loss or weight that is not finite as diverged; both are
    results.

    Raises:
        InputError: If the parameters are wrong, so that no trial could be trained, or the disk is
            full.
    """
    try:
        return run_trial(_take_slot(work, data), work, trial)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, an own network or optimizer may raise any
        _slots().pop(work.key, None)
        _programs.pop(work.key, None)
        cause: BaseException = error
        # TensorFlow wraps what is raised while it traces a function.
        while _is_tensorflow_s(cause) and cause.__context__ is not None:
            cause = cause.__context__
        # TensorFlow writes what it traces to a file; a full disk is not the optimizer's fault.
        if isinstance(cause, OSError) and (refusal := describe_refusal(cause)):
            raise InputError(refusal) from None
        reason = f"{describe(cause)}{place_in_own_code(error)}"
        row = Failed(**_about(work, trial, 0, 0), reason=reason)
        return TrialResult(row=row, curve=(), weights=())


def _is_tensorflow_s(error: BaseException) -> bool:
    return hasattr(error, "ag_error_metadata") or type(error).__module__.startswith("tensorflow")


def count_steps(params: Params, n_train: int) -> int:
    """Minibatches in a whole training; an epoch's last one may be smaller."""
    return ceil(n_train / params.train.batch_size) * params.train.epochs


def _schedule(settings: Optimizer, params: Params) -> RateSchedule | None:
    """The optimizer's schedule; None if the rate is constant or follows a Keras schedule."""
    if not isinstance(settings.learning_rate, float):
        return None
    schedule = settings.schedule or params.train.schedule
    return None if schedule.is_constant else schedule


def _slots() -> OrderedDict[str, Slot]:
    """This thread's slots by the key of their work; the most recently used comes last."""
    slots: OrderedDict[str, Slot] = _thread.__dict__.setdefault("slots", OrderedDict())
    return slots


def _take_slot(work: Work, data: Data) -> Slot:
    """This thread's slot for the work; the first thread that needs one compiles for all."""
    slots = _slots()
    if work.key not in slots:
        with _building:
            tensors = _make_tensors(data, work.params.task, work.dataset.scaling)
            slots[work.key] = build_slot(work, *tensors, _programs.get(work.key))
            _programs[work.key] = slots[work.key].program
            for kept in (slots, _programs):
                while len(kept) > N_SLOTS:
                    kept.popitem(last=False)
    slots.move_to_end(work.key)
    return slots[work.key]


def build_slot(
    work: Work, train: Tensors, validation: Tensors, program: Program | None = None
) -> Slot:
    """A slot for the optimizer's trials.

    Args:
        work: What the trials have in common.
        train: Training examples.
        validation: Validation examples.
        program: From another slot for the same work and examples; None compiles one.

    Raises:
        InputError: If the network draws random numbers that do not depend on the trial's seed, or
            keeps a variable that could not be reset for a trial.
    """
    factor = keras.Variable(1.0, trainable=False)
    settings = work.params.optimizers[work.name]
    schedule = _schedule(settings, work.params)
    n_steps = count_steps(work.params, len(train.targets))
    rates = None if schedule is None else relative_rates(schedule, n_steps)
    global_state.set_global_attribute(_GLOBAL_SEED, None)
    network = build_network(work.params.model, work.dataset)
    settings = leave_out_output_layer(settings, network.model)
    try:
        slot = Slot(
            network,
            build_optimizer(work.name, settings, factor, rates),
            factor,
            (train, validation),
            work.params.train,
            jit_compile=work.jit_compile,
            program=program,
        )
        slot.reset(0, 1.0)
    except InputError:
        _check_seeded(work)
        raise
    _check_seeded(work)
    return slot


def _check_seeded(work: Work) -> None:
    """Raises InputError if the network or the optimizer drew random numbers without a seed."""
    if global_state.get_global_attribute(_GLOBAL_SEED) is not None:
        raise InputError(
            f"params.yaml: model.name: {work.params.model.name} or the optimizer {work.name} draws "
            "random numbers without a seed; make a keras.random.SeedGenerator in the layer's "
            "__init__ and pass it as seed"
        )


@lru_cache(maxsize=1)
def _make_tensors(data: Data, task: Task, scaling: Scaling) -> tuple[Tensors, Tensors]:
    """The data as tensors, shared by all threads of a process."""
    return to_tensors(data.train, task, scaling), to_tensors(data.validation, task, scaling)


def run_trial(slot: Slot, work: Work, trial: Trial) -> TrialResult:
    """Trains and validates once.

    The trial's seed alone fixes the initial weights, the order of examples and dropout, so that
    trials of other optimizers with the same seed are paired with this one. What the slot trained
    before does not matter.
    """
    slot.reset(trial.seed, trial.learning_rate_factor)
    generator = np.random.default_rng(np.random.SeedSequence(trial.seed, spawn_key=(1,)))
    epochs: list[Epoch] = []
    while len(epochs) < work.params.train.epochs and all(epoch.is_finite for epoch in epochs[-1:]):
        n_epochs = min(slot.n_epochs_per_call, work.params.train.epochs - len(epochs))
        orders = [generator.permutation(slot.n_train) for _ in range(n_epochs)]
        epochs += slot.train(np.array(orders, np.int32))
    if epochs[-1].is_finite and (final := slot.finish()) is not None:
        epochs[-1] = replace(epochs[-1], validation=final)
    curve = [
        EpochRow(
            phase=trial.phase,
            setting=trial.setting,
            seed=trial.seed,
            epoch=number,
            train_loss=epoch.training.loss,
            train_score=epoch.training.score,
            validation_loss=epoch.validation.loss,
            validation_score=epoch.validation.score,
        )
        for number, epoch in enumerate(epochs, 1)
        if epoch.is_finite
    ]
    slot.take_evaluation_point()
    weights = tuple(slot.model.get_weights())
    about = _about(work, trial, len(epochs), len(epochs) * slot.n_steps_per_epoch)
    # Max-pooling and a sigmoid can hide weights that are not finite from the loss.
    if not epochs[-1].is_finite or not all(np.isfinite(array).all() for array in weights):
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
    """The fields that every trial's row has."""
    return {
        "phase": trial.phase,
        "setting": trial.setting,
        "learning_rate": trial.learning_rate_factor * work.configured_rate,
        "seed": trial.seed,
        "n_epochs": n_epochs,
        "n_steps": n_steps,
    }
