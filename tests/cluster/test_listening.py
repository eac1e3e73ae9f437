"""Who can connect to what `make scheduler` and `make worker` start."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client
from distributed.security import Security

from commands import cluster as starter
from stages.common.errors import InputError
from stages.engine import cluster as cluster_module
from stages.engine.cluster import open_cluster
from tests.cluster.conftest import PATIENCE_S, TIMEOUTS
from tests.conftest import PROJECT

ROLES = ("client", "scheduler", "worker")
TLS = "distributed.comm.tls"
ELSEWHERE = "192.0.2.77"  # nobody's, by RFC 5737
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `make` with these arguments, in a process group that ends with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.Popen(
            ["make", "--old-file=.venv/.installed-cluster", *arguments],
            cwd=PROJECT,
            env=os.environ | TIMEOUTS | {"PATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One certificate and key for all, as docs/cluster.md has it."""
    made = Security.temporary()
    files = {"cert": made.tls_ca_file, "key": made.tls_client_key}
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_text(content)
    cert, key = (str(tmp_path / f"{name}.pem") for name in files)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", cert)
    for role in ROLES:
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__CERT", cert)
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__KEY", key)
    with dask.config.set(configured(cert, key)):
        yield


def configured(cert: str | None, key: str | None) -> dict[str, str | None]:
    """Dask's configuration with these files."""
    files = {
        f"{TLS}.{role}.{kind}": file
        for role in ROLES
        for kind, file in (("cert", cert), ("key", key))
    }
    return {f"{TLS}.ca-file": cert, **files}


def listening(process: subprocess.Popen[str]) -> list[Any]:
    """Where a process and its children listen."""
    parent = psutil.Process(process.pid)
    return [
        connection.laddr
        for one in (parent, *parent.children(recursive=True))
        for connection in one.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]


def start_both(start: Start, folder: Path) -> tuple[str, list[subprocess.Popen[str]]]:
    """A scheduler's address, and the processes of it and of a worker that has joined."""
    file = folder / "scheduler.json"
    scheduler = start("scheduler", f"OPTIONS=--port 0 --scheduler-file {file}")
    with Client(scheduler_file=str(file), timeout=PATIENCE_S, set_as_default=False) as client:
        address: str = client.scheduler.address
        worker = start("worker", f"SCHEDULER={address}", "OPTIONS=--nworkers 1 --memory-limit 0")
        client.wait_for_workers(1, timeout=PATIENCE_S)
    return address, [scheduler, worker]


def answers(address: tuple[str, int], page: str) -> int | None:
    """The HTTP status of a page, or None where no HTTP server listens."""
    connection = HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.request("GET", page)
        return connection.getresponse().status
    except (HTTPException, OSError):
        return None
    finally:
        connection.close()


def test_scheduler_and_worker_listen_on_loopback_and_show_no_pages(
    start: Start, tmp_path: Path
) -> None:
    address, processes = start_both(start, tmp_path)
    assert address.startswith("tcp://127.0.0.1:")
    sockets = [listening(process) for process in processes]
    # Dask's port and an HTTP server's, of scheduler and of worker; and the nanny's.
    assert [len(found) for found in sockets] == [2, 3]
    assert {socket.ip for found in sockets for socket in found} == {"127.0.0.1"}
    pages = ("/", "/status", "/info/main/workers.html", "/json/counts.json", "/health", "/metrics")
    for found in sockets:
        told = [[answers(socket, page) for page in pages] for socket in found]
        assert told.count([404] * len(pages)) == 1
        assert told.count([None] * len(pages)) == len(found) - 1


@pytest.mark.usefixtures("key")
def test_with_a_key_only_those_who_have_it_are_let_in(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, processes = start_both(start, tmp_path)
    assert address.startswith("tls://127.0.0.1:")
    assert {socket.ip for process in processes for socket in listening(process)} == {"127.0.0.1"}
    with open_cluster(address) as workers:
        assert workers.environment
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 1)
    with dask.config.set(configured(None, None)):
        for stranger in (address, address.replace("tls", "tcp")):
            with pytest.raises(InputError, match=r"needs the client's key|no Dask scheduler"):
                open_cluster(stranger).__enter__()


@pytest.mark.parametrize(
    "arguments",
    [
        ("scheduler", "HOST=0.0.0.0"),
        ("scheduler", "OPTIONS=--host=0.0.0.0"),
        ("worker", "HOST=0.0.0.0"),
        ("worker", f"SCHEDULER=tcp://{ELSEWHERE}:8786"),
        ("worker", f"SCHEDULER=tcp://{ELSEWHERE}:8786", "HOST=127.0.0.1"),
    ],
    ids=" ".join,
)
def test_nothing_listens_further_without_a_key(start: Start, arguments: tuple[str, ...]) -> None:
    process = start(*arguments)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert "make a key for TLS (docs/cluster.md)" in told.splitlines()[0]


@pytest.mark.usefixtures("key")
def test_with_a_key_they_listen_where_others_reach_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starter, "get_ip", lambda _: "192.0.2.5")
    scheduler = starter.plan_scheduler("192.0.2.4", [])
    worker = starter.plan_worker("tls://192.0.2.4:8786", None, ["--nthreads", "4"])
    for command, host in ((scheduler, "192.0.2.4"), (worker, "192.0.2.5")):
        assert command[command.index("--host") + 1] == host
    assert scheduler[scheduler.index("--protocol") + 1] == "tls"
    assert "worker: listens on 192.0.2.5 only; whoever has the key" in capsys.readouterr().err
    with pytest.raises(InputError, match="make a key"):
        starter.plan_worker("tcp://192.0.2.4:8786", None, [])


def test_a_key_that_cannot_be_read_is_named() -> None:
    with (
        dask.config.set(configured("/none.pem", "/none.pem")),
        pytest.raises(InputError, match=r"comm\.tls: cannot read the scheduler's key \(.*No such"),
    ):
        starter.plan_scheduler("127.0.0.1", [])


def test_an_address_without_the_encryption_that_is_required_is_refused() -> None:
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(InputError, match="should be like tls://HOST:8786"),
    ):
        open_cluster("tcp://127.0.0.1:8786").__enter__()


def test_a_client_is_told_of_an_open_road_but_not_of_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 1)
    for host, is_told in ((ELSEWHERE, True), ("localhost", False)):
        with pytest.raises(InputError, match="no Dask scheduler answers"):
            open_cluster(f"tcp://{host}:9").__enter__()
        assert ("without TLS" in capsys.readouterr().err) == is_told
