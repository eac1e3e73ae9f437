"""Where trials run: in threads of this process, or on a Dask cluster."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.pool import ThreadPool

import joblib

from stages.common.errors import InputError, quoted
from stages.engine.environment import SCHEDULER, describe_environment
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers


def open_workers() -> AbstractContextManager[Workers]:
    """Opens a cluster if DASK_SCHEDULER_ADDRESS names one, else threads.

    Raises:
        InputError: If the cluster cannot be used, or TRAIN_WORKERS is wrong.
    """
    address = os.environ.get(SCHEDULER)
    if not address:
        return open_threads(count_workers())
    try:
        from stages.engine.cluster import open_cluster
    except ModuleNotFoundError as error:
        raise InputError(
            f"{SCHEDULER}: needs the package {error.name}; pip install -r requirements-cluster.txt"
        ) from None
    return open_cluster(address)


def count_workers() -> int:
    """How many trials run in parallel: TRAIN_WORKERS, or as many as there are cores.

    Raises:
        InputError: If TRAIN_WORKERS is not a whole number from 1 to 9999.
    """
    text = os.environ.get("TRAIN_WORKERS", str(joblib.cpu_count()))
    if not re.fullmatch("0*[1-9][0-9]{0,3}", text):
        raise InputError(
            f"TRAIN_WORKERS: should be a whole number from 1 to 9999 (is {quoted(text)})"
        )
    return int(text)


@contextmanager
def open_threads(n: int) -> Iterator[Workers]:
    """Workers in n threads, which end with the program even if their trials are unfinished."""
    with ThreadPool(n) as pool:
        yield _Threads(pool)


class _Threads:
    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self.environment = describe_environment()

    def submit(self, work: Work, data: Data, trial: Trial) -> "Future[TrialResult]":
        from stages.engine.training import train_trial

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
