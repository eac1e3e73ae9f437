"""Where trials run: in threads of this process, or on a Dask cluster."""

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.pool import ThreadPool
from typing import Protocol

import joblib

from stages.common.console import InputError
from stages.train.environment import Environment, describe_environment
from stages.train.trial import Trial, TrialResult
from stages.train.work import Data, Work, train_trial

SCHEDULER = "DASK_SCHEDULER_ADDRESS"


class LostTrialError(Exception):
    """A trial was lost on its way and may be tried again."""


class Workers(Protocol):
    """Runs trials side by side."""

    @property
    def environment(self) -> Environment:
        """Of every worker."""

    def submit(self, work: Work, data: Data, trial: Trial) -> "Future[TrialResult]":
        """Has the trial run when its turn comes."""

    def collect(self, future: "Future[TrialResult]") -> TrialResult:
        """The result of a future that is done.

        Raises:
            LostTrialError: If the trial may be submitted again.
            InputError: If it may not.
        """


def open_workers() -> AbstractContextManager[Workers]:
    """A cluster where DASK_SCHEDULER_ADDRESS names one, else threads.

    Raises:
        InputError: If the cluster cannot be used, or TRAIN_WORKERS is wrong.
    """
    address = os.environ.get(SCHEDULER)
    if not address:
        return open_threads(count_workers())
    try:
        from stages.train.cluster import open_cluster
    except ModuleNotFoundError as error:
        raise InputError(
            f"{SCHEDULER}: needs the package {error.name}; pip install '.[cluster]'"
        ) from None
    return open_cluster(address)


def count_workers() -> int:
    """How many trials run side by side: TRAIN_WORKERS, or as many as there are cores.

    Raises:
        InputError: If TRAIN_WORKERS is no positive whole number.
    """
    text = os.environ.get("TRAIN_WORKERS", str(joblib.cpu_count()))
    if not text.isdecimal() or int(text) == 0:
        raise InputError(f"TRAIN_WORKERS: should be a positive whole number (is {text!r})")
    return int(text)


@contextmanager
def open_threads(n: int) -> Iterator[Workers]:
    # Its threads end with the program, however long their trials would still take.
    with ThreadPool(n) as pool:
        yield _Threads(pool)


class _Threads:
    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self.environment = describe_environment()

    def submit(self, work: Work, data: Data, trial: Trial) -> "Future[TrialResult]":
        future: Future[TrialResult] = Future()
        self._pool.apply_async(
            train_trial,
            (work, data, trial),
            callback=future.set_result,
            error_callback=future.set_exception,
        )
        return future

    def collect(self, future: "Future[TrialResult]") -> TrialResult:
        return future.result()
