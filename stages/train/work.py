"""What a worker does: one trial, in a slot that its thread keeps for the next one."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import keras

from stages.common.artifacts import Dataset, Examples
from stages.common.params import Params
from stages.train.loop import Slot, Tensors, to_tensors
from stages.train.models import build_model
from stages.train.optimizers import build_optimizer
from stages.train.trial import Trial, TrialResult, run_trial

CONFIGURED = 1.0
# A thread of a cluster may be given several optimizers' trials in turn.
N_SLOTS = 8
_thread = threading.local()
_making_tensors = threading.Lock()


@dataclass(frozen=True, eq=False)
class Data:
    """The images that train and validate; sent to each worker once."""

    train: Examples
    validation: Examples


@dataclass(frozen=True)
class Work:
    """One optimizer's trials, but for the images.

    `configured_rate` is what a factor of 1 means; `key` identifies all that decides the results.
    """

    name: str
    params: Params
    dataset: Dataset
    jit_compile: bool
    configured_rate: float
    key: str


def train_trial(work: Work, data: Data, trial: Trial) -> TrialResult:
    """Trains and validates once; which thread does it, and what it did before, changes no bit."""
    return run_trial(
        _slot(work, data),
        trial,
        epochs=work.params.train.epochs,
        configured_rate=work.configured_rate,
    )


def _slot(work: Work, data: Data) -> Slot:
    slots: OrderedDict[str, Slot] = _thread.__dict__.setdefault("slots", OrderedDict())
    if work.key not in slots:
        while len(slots) >= N_SLOTS:
            slots.popitem(last=False)
        slots[work.key] = _make_slot(work, data)
    slots.move_to_end(work.key)
    return slots[work.key]


def _make_slot(work: Work, data: Data) -> Slot:
    factor = keras.Variable(CONFIGURED, trainable=False)
    with _making_tensors:
        splits = _to_tensors(data)
    return Slot(
        build_model(work.params.model, work.dataset),
        build_optimizer(work.name, work.params.optimizers[work.name], factor),
        factor,
        *splits,
        batch_size=work.params.train.batch_size,
        jit_compile=work.jit_compile,
    )


@lru_cache(maxsize=1)
def _to_tensors(data: Data) -> tuple[Tensors, Tensors]:
    """For all threads of a process."""
    return to_tensors(data.train), to_tensors(data.validation)
