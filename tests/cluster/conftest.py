"""Dask clusters of this machine's own processes, on loopback."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from distributed import Client

from tests.conftest import PROJECT

PATIENCE_S = 90
# As `make scheduler` has it.
SCHEDULER = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}


class Cluster:
    """A scheduler and the workers that were added to it, ended with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._processes = [self._start("scheduler", "--port", "0", "--host", "127.0.0.1")]
        self.client = Client(
            scheduler_file=str(self._file), timeout=PATIENCE_S, set_as_default=False
        )
        self.address = self.client.scheduler.address

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
        command = (sys.executable, "-m", f"distributed.cli.dask_{program}")
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(self._file), "--no-dashboard", *options],
                cwd=project,
                env=os.environ | SCHEDULER,
                stdout=log,
                stderr=log,
            )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()
