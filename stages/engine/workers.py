"""Where trials run: in processes of this machine, in threads, or on a Dask cluster."""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from stages.common.errors import InputError, quoted
from stages.common.memory import memory_bytes
from stages.engine.determinism import has_nvidia_gpu, set_up_tensorflow
from stages.engine.environment import SCHEDULER, Environment, describe_environment
from stages.engine.helper import Helper
from stages.engine.trial import N_SLOTS, Data, Trial, TrialResult, Work, Workers

Train = Callable[[Work, Data, Trial], TrialResult]
# About what TensorFlow and one small network take.
_BYTES_PER_PROCESS = 2**30
# How long a trial waits for a worker that has compiled its network; another would have to compile
# it first, which takes about as long.
PATIENCE_S = 3.0


def open_workers() -> AbstractContextManager[Workers]:
    """Sets up TensorFlow, and opens a cluster if DASK_SCHEDULER_ADDRESS names one.

    Otherwise, trials run in processes; or in threads where there is a GPU, which they share.

    Raises:
        InputError: If the cluster cannot be used, or TRAIN_WORKERS is wrong.
    """
    address = os.environ.get(SCHEDULER)
    if not address:
        n = count_workers()
        return open_threads(n) if has_nvidia_gpu() else open_processes(n)
    set_up_tensorflow()
    try:
        from stages.engine.cluster import open_cluster
    except ModuleNotFoundError as error:
        raise InputError(
            f"{SCHEDULER}: needs the package {error.name}; pip install -r requirements-cluster.txt"
        ) from None
    return open_cluster(address)


def count_workers() -> int:
    """How many trials run in parallel: TRAIN_WORKERS, or as many as cores and memory allow.

    Raises:
        InputError: If TRAIN_WORKERS is not a whole number from 1 to 9999.
    """
    text = os.environ.get("TRAIN_WORKERS")
    if text is None:
        import joblib  # takes a while, and often nothing is to be trained

        n_cores: int = joblib.cpu_count()
        return max(1, min(n_cores, memory_bytes() // _BYTES_PER_PROCESS))
    if not re.fullmatch("0*[1-9][0-9]{0,3}", text):
        raise InputError(
            f"TRAIN_WORKERS: should be a whole number from 1 to 9999 (is {quoted(text)})"
        )
    return int(text)


@contextmanager
def open_processes(n: int) -> Iterator[Workers]:
    """Workers in this process and n - 1 others, which import TensorFlow at the same time.

    Threads alone would wait for each other: XLA gives half of a program's operations to a pool that
    all threads share, and that pool has to have one thread for the bits to be equal.
    """
    with ExitStack() as opened:
        helpers = [opened.enter_context(Helper()) for _ in range(n - 1)]
        set_up_tensorflow()
        yield opened.enter_context(Pool([_train_here, *(helper.train for helper in helpers)]))


@contextmanager
def open_threads(n: int) -> Iterator[Workers]:
    """Workers in n threads, which end with the program even if their trials are unfinished."""
    set_up_tensorflow()
    with Pool([_train_here] * n) as workers:
        yield workers


def _train_here(work: Work, data: Data, trial: Trial) -> TrialResult:
    from stages.engine.training import train_trial

    return train_trial(work, data, trial)


@dataclass(frozen=True)
class _Waiting:
    since_s: float
    future: "Future[TrialResult]"
    work: Work
    data: Data
    trial: Trial


class Pool(AbstractContextManager[Workers]):
    """Workers that choose among the waiting trials, so that little is compiled twice.

    Each takes one that it has compiled, or that no other has; or else one that has waited for long.

    Args:
        trainers: What runs a trial, for each worker.
    """

    def __init__(self, trainers: Sequence[Train]) -> None:
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        # The keys of the latest works that each worker has trained.
        self._compiled: list[dict[str, None]] = [{} for _ in trainers]
        for place, train in enumerate(trainers):
            threading.Thread(target=self._serve, args=(place, train), daemon=True).start()

    @property
    def environment(self) -> Environment:
        return describe_environment()

    def submit(self, work: Work, data: Data, trial: Trial) -> "Future[TrialResult]":
        future: Future[TrialResult] = Future()
        with self._changed:
            queue = self._waiting.setdefault(work.key, deque())
            queue.append(_Waiting(time.monotonic(), future, work, data, trial))
            self._changed.notify_all()
        return future

    def collect(self, future: "Future[TrialResult]") -> TrialResult:
        return future.result()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _serve(self, place: int, train: Train) -> None:
        while True:
            with self._changed:
                while (key := self._choose(place)) is None and not self._is_closed:
                    self._changed.wait(PATIENCE_S if self._waiting else None)
                if key is None or self._is_closed:
                    return
                self._remember(place, key)
                asked = self._waiting[key].popleft()
                if not self._waiting[key]:
                    del self._waiting[key]
            try:
                asked.future.set_result(train(asked.work, asked.data, asked.trial))
            except Exception as error:  # noqa: BLE001, whoever collects it decides
                asked.future.set_exception(error)

    def _remember(self, place: int, key: str) -> None:
        """Notes what the worker compiles and what gives way to it, as `train_trial` does."""
        own = self._compiled[place]
        own.pop(key, None)
        own[key] = None
        if len(own) > N_SLOTS:
            del own[next(iter(own))]

    def _choose(self, place: int) -> str | None:
        """The key of the work to go on with; None to leave what waits to other workers."""
        own = self._compiled[place]
        known = [key for key in reversed(own) if key in self._waiting]
        new = [k for k in self._waiting if not any(k in keys for keys in self._compiled)]
        since_s = time.monotonic() - PATIENCE_S
        old = [k for k, queue in self._waiting.items() if queue[0].since_s <= since_s]
        old.sort(key=lambda k: -len(self._waiting[k]))
        # New ones first, since the time that is left can be told once all have compiled.
        first = (*new, *known) if len(own) < N_SLOTS else (*known, *new)
        return next(iter((*first, *old)), None)
