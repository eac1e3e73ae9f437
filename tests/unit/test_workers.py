"""Workers of this machine: who takes which trial, and processes that train."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import joblib
import psutil
import pytest

from stages.common.errors import InputError
from stages.engine import workers
from stages.engine.helper import Helper
from stages.engine.trial import N_SLOTS, Data, Trial, TrialResult, Work, Workers
from stages.engine.workers import Pool, count_workers, open_processes, open_threads
from tests.examples import DATA, bits, small_work, trial_row
from tests.parameters import optimizer

SOON_S, NEVER_S = 0.02, 3600.0
PATIENT_S = 20
SGD = small_work(optimizer(class_name="SGD", learning_rate=0.1))
A, B = replace(SGD, key="a"), replace(SGD, key="b")


def trial(seed: int) -> Trial:
    return Trial("confirmation", 1.0, seed, 0)


class Log:
    """Trainers that write down what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def trainer(self, name: str, before: Callable[[], object] = lambda: None) -> workers.Train:
        def train(work: Work, data: Data, trial: Trial) -> TrialResult:
            assert data is DATA
            self.asked.append((name, work.key, trial.seed))
            before()
            return TrialResult(trial_row("tuning", 0, trial.seed, 0.5), (), ())

        return train

    def keys_of(self, name: str) -> list[str]:
        return [key for who, key, _ in self.asked if who == name]


def collect(pool: Workers, futures: list["Future[TrialResult]"]) -> list[int]:
    return [pool.collect(future).row.seed for future in futures]


def test_each_keeps_to_what_it_has_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", NEVER_S)
    log, both = Log(), threading.Barrier(2)
    trainers = [log.trainer(name, lambda: both.wait(PATIENT_S)) for name in ("one", "two")]
    with Pool(trainers) as pool:
        futures = [pool.submit(work, DATA, trial(seed)) for seed in range(5) for work in (A, B)]
        assert collect(pool, futures) == [seed for seed in range(5) for _ in (A, B)]
    assert sorted((log.keys_of("one"), log.keys_of("two"))) == [["a"] * 5, ["b"] * 5]


@pytest.mark.parametrize(("patience_s", "n_begun"), [(SOON_S, 2), (NEVER_S, 1)])
def test_one_that_waits_for_long_goes_to_another(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, n_begun: int
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", patience_s)
    log, is_over, begun = Log(), threading.Event(), threading.Semaphore(0)

    def block() -> None:
        begun.release()
        is_over.wait(PATIENT_S)

    with Pool([log.trainer(name, block) for name in ("one", "two")]) as pool:
        futures = [pool.submit(A, DATA, trial(1))]
        assert begun.acquire(timeout=PATIENT_S)
        futures.append(pool.submit(A, DATA, trial(2)))
        assert begun.acquire(timeout=PATIENT_S if n_begun == 2 else 10 * SOON_S) is (n_begun == 2)
        assert len(log.asked) == n_begun
        is_over.set()
        assert collect(pool, futures) == [1, 2]


def test_all_are_begun_before_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", NEVER_S)
    log, is_over = Log(), threading.Event()
    with Pool([log.trainer("one", lambda: is_over.wait(PATIENT_S))]) as pool:
        futures = [pool.submit(work, DATA, trial(seed)) for work in (A, B) for seed in (1, 2)]
        is_over.set()
        collect(pool, futures)
    assert sorted(log.keys_of("one")[:2]) == ["a", "b"]


def test_a_network_that_gave_way_to_others_counts_as_not_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", NEVER_S)
    log = Log()
    works = [replace(SGD, key=str(place)) for place in range(N_SLOTS + 1)]
    with Pool([log.trainer("one")]) as pool:
        for work in (*works, works[0]):
            collect(pool, [pool.submit(work, DATA, trial(1))])
    assert log.keys_of("one") == [*map(str, range(N_SLOTS + 1)), "0"]


def test_what_a_trainer_raises_reaches_who_collects_it() -> None:
    def fail() -> None:
        raise InputError("no room")

    log = Log()
    with Pool([log.trainer("one", fail)]) as pool:
        futures = [pool.submit(A, DATA, trial(seed)) for seed in (1, 2)]
        for future in futures:
            with pytest.raises(InputError, match="no room"):
                pool.collect(future)


def test_a_closed_pool_begins_nothing_more() -> None:
    log, begun, is_over = Log(), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        is_over.wait(PATIENT_S)

    with Pool([log.trainer("one", block)]) as pool:
        first = pool.submit(A, DATA, trial(1))
        assert begun.wait(PATIENT_S)
        second = pool.submit(A, DATA, trial(2))
    is_over.set()
    assert first.result(PATIENT_S).row.seed == 1
    assert not second.done()


def test_a_helper_gives_the_bits_of_a_thread_and_its_death_is_told() -> None:
    ours = {process.pid for process in psutil.Process().children()}
    with Helper() as helper, open_threads(1) as pool:
        for seed in range(3):
            there = helper.train(SGD, DATA, trial(seed))
            here = pool.collect(pool.submit(SGD, DATA, trial(seed)))
            assert (there.row, there.curve) == (here.row, here.curve)
            assert bits(there.weights) == bits(here.weights) != []
        without = SGD.params.model_copy(update={"optimizers": {}})
        failed = helper.train(replace(SGD, key="bad", params=without), DATA, trial(0))
        assert failed.row.outcome == "failed"
        wrong = SGD.params.model_copy(update={"optimizers": {"it": optimizer(class_name="SDG")}})
        with pytest.raises(InputError, match="did you mean SGD"):
            helper.train(replace(SGD, key="wrong", params=wrong), DATA, trial(0))
        (process,) = (
            process
            for process in psutil.Process().children()
            if process.pid not in ours and "spawn_main" in " ".join(process.cmdline())
        )
        process.send_signal(signal.SIGINT)  # Ctrl-C is the parent's business
        assert helper.train(SGD, DATA, trial(3)).row.outcome == "completed"
        process.kill()
        with pytest.raises(InputError, match="ended with exit code -9; if memory ran out"):
            helper.train(SGD, DATA, trial(3))


def test_processes_share_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", 0.0)
    with open_processes(2) as pool:
        futures = [pool.submit(SGD, DATA, trial(seed)) for seed in range(20)]
        assert collect(pool, futures) == list(range(20))


@pytest.mark.parametrize(("n_bytes", "n"), [(2**29, 1), (2**30, 1), (2**34, 16), (2**40, 20)])
def test_there_are_no_more_workers_than_memory_allows(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, n: int
) -> None:
    monkeypatch.delenv("TRAIN_WORKERS", raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 20)
    monkeypatch.setattr(workers, "memory_bytes", lambda: n_bytes)
    assert count_workers() == n
