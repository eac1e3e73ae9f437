"""Trials on a Dask cluster: the same bytes, whatever happens to workers and connections."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from distributed.comm import CommClosedError

from stages.common.confirmation import PREDICTIONS, ROWS
from stages.common.errors import InputError
from stages.common.params import OwnModel, Params
from stages.confirm.race import confirm, read_first_looks
from stages.engine import cluster as cluster_module
from stages.engine.cluster import open_cluster
from stages.engine.trial import Data, Trial, Work, Workers
from stages.engine.workers import open_threads, open_workers
from stages.train.finished import Trained
from stages.train.tuning import train
from tests.cluster.conftest import PATIENCE_S, Cluster, running_cluster
from tests.conftest import DIGEST, PROJECT
from tests.examples import DATA, DATASET, TEST, bits, write_trained
from tests.parameters import optimizer, small_params

SECTIONS: dict[str, dict[str, Any]] = {
    "train": {"epochs": 20},
    "tuning": {"learning_rate_factors": [0.3, 1.0, 3.0], "n_settings": 3, "seeds": [91, 92]},
    "comparison": {"margin": 1e-6},
    "confirmation": {"first_seed": 1, "at_most": 15},
}
PARAMS = small_params({"sgd": optimizer(class_name="SGD", learning_rate=0.01)}, **SECTIONS)
N_TUNING = 6
# Tuning, the first fresh seeds at the tuned and at the configured rate.
N_TRIALS = N_TUNING + 10 + 10
KILLER_SEED = 3
# A worker that counts its trials.
COUNTING = """
from stages.engine import cluster
if not hasattr(cluster, "n_trials"):  # a worker runs this twice
    cluster.n_trials, train = 0, cluster.train_on_cluster
    def counted(*arguments):
        cluster.n_trials += 1
        return train(*arguments)
    cluster.train_on_cluster = counted
"""
# A worker whose process ends when it is given a certain trial.
KILLER = f"""
import os
from stages.engine import cluster
def deadly(work, environment, data, trial):
    if (trial.learning_rate_factor, trial.seed) == (1.0, {KILLER_SEED}):
        os._exit(1)
    return train(work, environment, data, trial)
if cluster.train_on_cluster.__name__ != "deadly":  # a worker runs this twice
    train, cluster.train_on_cluster = cluster.train_on_cluster, deadly
"""
OLD_KERAS = """
from stages.engine.determinism import set_up_tensorflow
set_up_tensorflow()
import keras
keras.__version__ = "3.0.0"
"""


class Watched:
    """Workers, and what happens when so many trials have come back."""

    def __init__(self, workers: Workers, events: dict[int, Any]) -> None:
        self.environment = workers.environment
        self._workers, self._events = workers, events
        self._n_done = 0

    def submit(self, work: Work, data: Data, trial: Trial) -> Any:
        return self._workers.submit(work, data, trial)

    def collect(self, future: Any) -> Any:
        result = self._workers.collect(future)
        self._n_done += 1
        self._events.get(self._n_done, lambda: None)()
        return result


def run(workers: Workers, store: Path, params: Params = PARAMS) -> Trained:
    trained = train(["sgd"], params, DATASET, DATA, store_folder=store, workers=workers)
    return trained["sgd"]


def count_trials(cluster: Cluster) -> list[int]:
    """Of workers that count."""
    counted = cluster.client.run(
        eval, "__import__('stages.engine.cluster').engine.cluster.n_trials"
    )
    return list(counted.values())


def contents(trained: Trained) -> list[Any]:
    return [trained.run, trained.trials, trained.epochs, bits(trained.weights.arrays)]


@pytest.fixture
def pair(cluster: Cluster) -> Cluster:
    """Two workers that count."""
    for name in ("one", "two"):
        cluster.start_worker(name, preload=COUNTING)
    cluster.wait_for({"one", "two"})
    return cluster


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What threads of this process give."""
    with open_threads(1) as workers:
        return contents(run(workers, tmp_path_factory.mktemp("local")))


def test_a_cluster_gives_the_same_bytes_and_gets_the_data_once(
    pair: Cluster, local: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scattered, scatter = [], Client.scatter

    def counted(client: Client, data: Any, **options: Any) -> Any:
        scattered.append(data)
        return scatter(client, data, **options)

    monkeypatch.setattr(Client, "scatter", counted)
    with open_cluster(pair.address) as workers:
        assert contents(run(workers, tmp_path)) == local
    assert scattered == [DATA]
    n_trained = count_trials(pair)
    assert sum(n_trained) == N_TRIALS
    assert min(n_trained) > 0


@pytest.mark.thorough
def test_a_race_on_a_cluster_gives_the_same_bytes_with_one_worker_and_with_two(
    cluster: Cluster, tmp_path: Path
) -> None:
    params = small_params(
        {
            "sgd": optimizer(class_name="SGD", learning_rate=0.05),
            "momentum": optimizer(class_name="SGD", learning_rate=0.05, momentum=0.1),
        },
        comparison={"margin": 1e-6},
        confirmation={"first_seed": 100, "at_most": 15},
    )

    def race(workers: Workers, store: str) -> list[bytes]:
        confirmed = confirm(
            params,
            DATASET,
            DATA,
            TEST,
            read_first_looks(params, tmp_path / "runs", tmp_path / "runs"),
            store_folder=tmp_path / store,
            open_workers=lambda: nullcontext(workers),
        )
        assert len(list((tmp_path / store).glob(f"*/{DIGEST}.npz"))) == 10
        return [ROWS.encode(confirmed.rows), PREDICTIONS.encode(confirmed.predictions)]

    with open_threads(1) as workers:
        names = list(params.optimizers)
        store = tmp_path / "train"
        trained = train(names, params, DATASET, DATA, store_folder=store, workers=workers)
        for name in names:
            write_trained(tmp_path / "runs" / name, trained[name])
        in_threads = race(workers, "threads")
    cluster.start_worker("one", preload=COUNTING)
    cluster.wait_for({"one"})
    with open_cluster(cluster.address) as workers:
        assert race(workers, "one worker") == in_threads
    cluster.start_worker("two", preload=COUNTING)
    cluster.wait_for({"one", "two"})
    with open_cluster(cluster.address) as workers:
        assert race(workers, "two workers") == in_threads
    assert sum(count_trials(cluster)) == 20
    assert min(count_trials(cluster)) > 0


@pytest.mark.thorough
def test_what_the_store_has_is_not_sent(pair: Cluster, local: list[Any], tmp_path: Path) -> None:
    with open_threads(1) as workers:
        run(workers, tmp_path)
    with open_cluster(pair.address) as workers:
        assert contents(run(workers, tmp_path)) == local
    assert count_trials(pair) == [0, 0]


@pytest.mark.thorough
def test_a_network_of_another_kind_asks_for_fresh_workers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker("one")
    compiled = small_params(PARAMS.optimizers, train={"jit_compile": True})
    with open_cluster(cluster.address) as workers:
        run(workers, tmp_path)
        with pytest.raises(InputError, match="restart"):
            run(workers, tmp_path, compiled)


@pytest.mark.thorough
def test_workers_may_die_and_join_late(cluster: Cluster, local: list[Any], tmp_path: Path) -> None:
    first, _ = cluster.add_worker("first"), cluster.add_worker("second")
    events = {4: first.kill, 8: lambda: cluster.start_worker("late")}
    with open_cluster(cluster.address) as workers:
        assert contents(run(Watched(workers, events), tmp_path)) == local


@pytest.mark.thorough
def test_the_death_of_the_last_worker_loses_nothing(
    cluster: Cluster, local: list[Any], tmp_path: Path
) -> None:
    only = cluster.add_worker("only")

    def replace() -> None:
        only.kill()
        cluster.start_worker("next")

    with open_cluster(cluster.address) as workers:
        assert contents(run(Watched(workers, {5: replace}), tmp_path)) == local


@pytest.mark.thorough
def test_a_network_of_the_users_own_gives_the_same_bytes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(PROJECT / "examples/own_network/models/residual.py", code / "residual_of_mine.py")
    monkeypatch.syspath_prepend(code)
    for name in ("one", "two"):
        cluster.start_worker(name, preload=f"import sys\nsys.path.insert(0, {str(code)!r})\n")
    model = OwnModel.model_validate({"name": "residual_of_mine:build", "width": 8, "n_blocks": 2})
    params = PARAMS.model_copy(update={"model": model})
    with open_threads(1) as workers:
        expected = contents(run(workers, tmp_path / "threads", params))
    cluster.wait_for({"one", "two"})
    with open_cluster(cluster.address) as workers:
        assert contents(run(workers, tmp_path / "cluster", params)) == expected


@pytest.mark.thorough
def test_a_connection_may_be_cut_and_restored(
    cluster: Cluster, local: list[Any], tmp_path: Path
) -> None:
    cluster.add_worker("one")
    with proxy(cluster.address) as (address, cut), open_cluster(address) as workers:
        assert contents(run(Watched(workers, {5: cut}), tmp_path)) == local


@pytest.mark.thorough
def test_a_connection_may_be_cut_before_it_is_noticed(
    cluster: Cluster, local: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, n_asked = Client.nthreads, iter(range(100))

    def cut_once(client: Client) -> Any:
        if next(n_asked) == 0:
            raise CommClosedError("Stream is closed")
        return threads(client)

    cluster.add_worker("one")
    with open_cluster(cluster.address) as workers:
        monkeypatch.setattr(Client, "nthreads", cut_once)
        assert contents(run(workers, tmp_path)) == local


@pytest.mark.thorough
def test_the_death_of_the_scheduler_is_told_and_the_next_run_goes_on_from_there(
    cluster: Cluster, local: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 3)
    store = tmp_path / "store"
    cluster.add_worker("one")
    with (
        pytest.raises(InputError, match=r"scheduler is gone .*finished trials are kept"),
        open_cluster(cluster.address) as workers,
    ):
        run(Watched(workers, {5: cluster.kill_scheduler}), store)
    n_kept = len(list(store.glob("*/*.npz")))
    assert 5 <= n_kept < N_TRIALS
    with running_cluster(tmp_path / "next") as following:
        following.start_worker("two", preload=COUNTING)
        with open_cluster(following.address) as workers:
            assert contents(run(workers, store)) == local
        assert count_trials(following) == [N_TRIALS - n_kept]


@pytest.mark.thorough
def test_an_interrupt_takes_back_what_waits_and_keeps_what_is_done(
    cluster: Cluster, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.start_worker("one", preload=COUNTING)
    slow = small_params(
        PARAMS.optimizers, **SECTIONS | {"train": {"epochs": 200}}
    )  # the interrupt arrives before the next trial is done
    with pytest.raises(KeyboardInterrupt), open_cluster(cluster.address) as workers:
        run(Watched(workers, {3: interrupt}), tmp_path, slow)
    deadline_s = time.monotonic() + PATIENCE_S
    while cluster.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        assert time.monotonic() < deadline_s
    assert sum(count_trials(cluster)) < N_TUNING
    assert len(list(tmp_path.glob("*/*.npz"))) == 2


@pytest.mark.thorough
def test_a_trial_that_kills_its_workers_is_named_and_the_others_are_kept(
    cluster: Cluster, tmp_path: Path
) -> None:
    for name in ("a", "b", "c", "d"):
        cluster.start_worker(name, preload=KILLER)
    cluster.wait_for(set("abcd"))
    # A trial that its worker already had beside it may be counted and named first.
    named = r"sgd, confirmation, seed \d+: 3 workers died while running it"
    with open_cluster(cluster.address) as workers, pytest.raises(InputError, match=named):
        run(workers, tmp_path)
    assert list(tmp_path.glob("*/*.npz")) != []


def test_a_worker_with_other_packages_or_code_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker("good")
    with open_cluster(cluster.address) as workers:
        old = cluster.add_worker("old", preload=OLD_KERAS)
        with pytest.raises(
            InputError, match=r"other numbers: packages .*3\.0\.0.*requirements\.txt"
        ):
            run(workers, tmp_path)  # it joined late, and finds out when it gets a trial
    with (
        pytest.raises(InputError, match=r"other numbers: packages .*3\.0\.0.*requirements\.txt"),
        open_cluster(cluster.address),
    ):
        pass
    old.kill()
    project = tmp_path / "project"
    shutil.copytree(PROJECT / "stages", project / "stages")
    loop = project / "stages" / "engine" / "loop.py"
    loop.write_text(loop.read_text().replace("VALIDATION_CHUNK = 1000", "VALIDATION_CHUNK = 999"))
    cluster.add_worker("edited", project)
    with (
        pytest.raises(InputError, match=r"other numbers: code .*same commit"),
        open_cluster(cluster.address),
    ):
        pass


def test_a_worker_outside_the_project_is_told_where_to_start(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_worker("elsewhere", tmp_path)
    with (
        pytest.raises(InputError, match="start it in a clone of the repository"),
        open_cluster(cluster.address),
    ):
        pass


@pytest.mark.thorough
def test_one_that_joins_late_is_told_as_well(cluster: Cluster, tmp_path: Path) -> None:
    good = cluster.add_worker("good")
    with open_cluster(cluster.address) as workers:
        cluster.add_worker("elsewhere", tmp_path)
        good.kill()
        cluster.wait_for({"elsewhere"}, gone={"good"})
        with pytest.raises(InputError, match="start it in a clone of the repository"):
            run(workers, tmp_path)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 1)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        open_workers().__enter__()


@contextmanager
def proxy(address: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Another address of the scheduler, and what cuts every connection made there so far."""
    host, port = address.removeprefix("tcp://").split(":")
    connections: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(2**16):
                sink.sendall(chunk)
        for end in (source, sink):
            end.close()

    def cut() -> None:
        while connections:
            with suppress(OSError):
                connections.pop().shutdown(socket.SHUT_RDWR)

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection((host, int(port)))
                connections.extend((near, far))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", cut
        cut()


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:8786", "tcp://127.0.0.1:port"])
def test_an_address_of_another_form_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    with pytest.raises(InputError, match="should be like tcp://HOST:8786"):
        open_workers().__enter__()
