"""Dask clusters of this machine's own processes, on loopback."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed import Client

from commands.cluster import LOOPBACK, NO_PAGES, SETTINGS
from stages.engine import cluster as cluster_module
from tests.conftest import PROJECT

# Dask's own 30 s are short where many tests share the cores.
PATIENCE_S = 90
TIMEOUTS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{PATIENCE_S}s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{PATIENCE_S}s",
}


class Cluster:
    """A scheduler and the workers that were added to it, ended with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._processes = [self._start("scheduler", "--port", "0")]
        self.client = Client(
            scheduler_file=str(self._file), timeout=PATIENCE_S, set_as_default=False
        )
        self.address = self.client.scheduler.address

    def kill_scheduler(self) -> None:
        self._processes[0].kill()
        self._processes[0].wait()

    def add_worker(
        self, name: str, project: Path = PROJECT, preload: str = ""
    ) -> subprocess.Popen[bytes]:
        """Starts a worker of one thread and waits until it has joined."""
        process = self.start_worker(name, project, preload)
        self.wait_for({name})
        return process

    def wait_for(self, names: set[str], gone: Collection[str] = ()) -> None:
        """Waits until workers of these names have joined, and others are known to be gone."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            workers = self.client.scheduler_info(-1)["workers"].values()
            present = {worker["name"] for worker in workers}
            if names <= present and present.isdisjoint(gone):
                return
            assert time.monotonic() < deadline_s, f"{present} should be {names}"
            time.sleep(0.1)

    def start_worker(
        self, name: str, project: Path = PROJECT, preload: str = ""
    ) -> subprocess.Popen[bytes]:
        """Starts a worker; `preload` is Python that it runs first."""
        options = ["--nthreads", "1", "--no-nanny", "--name", name, "--memory-limit", "0"]
        if preload:
            file = self._folder / f"{name}.py"
            file.write_text(preload, encoding="utf-8")
            options += ["--preload", str(file)]
        process = self._start("worker", *options, project=project)
        self._processes.append(process)
        return process

    def close(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _start(
        self, program: str, *options: str, project: Path = PROJECT
    ) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", f"distributed.cli.dask_{program}", "--host", LOOPBACK)
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *NO_PAGES, "--scheduler-file", str(self._file), *options],
                cwd=project,
                env=os.environ | SETTINGS | TIMEOUTS,
                stdout=log,
                stderr=log,
            )


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", PATIENCE_S)
    timeouts = ("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp")
    with dask.config.set(dict.fromkeys(timeouts, f"{PATIENCE_S}s")):
        yield


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as cluster:
        yield cluster
