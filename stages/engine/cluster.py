"""Runs trials on a Dask cluster, each exactly as a thread of this process would run it."""

import re
import socket
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from distributed import Client, KilledWorker
from distributed.client import ClosedClientError
from distributed.security import Security

from stages.common.console import notice
from stages.common.errors import InputError, one_line, quoted, shorten
from stages.engine.determinism import set_up_tensorflow
from stages.engine.environment import SCHEDULER, Environment, describe_environment, digest_own
from stages.engine.trial import Data, LostTrialError, Trial, TrialResult, Work

_kind: dict[str, bool] = {}
# How long a scheduler may take to answer, or be out of reach.
PATIENCE_S = 30
_ADDRESS = re.compile(r"(?:(tcp|tls|ws|wss|ucx)://)?([^/:]+):\d+")


@contextmanager
def open_cluster(address: str) -> Iterator["Cluster"]:
    """Connects to a scheduler and checks that its workers run the same code and versions.

    Raises:
        InputError: If there is no scheduler, or a worker would compute other numbers.
    """
    is_encrypted, host = parse_address(address, "client")
    notice(f"trials go to the Dask scheduler at {address}")
    if not is_encrypted and not is_loopback(host):
        notice(
            "without TLS, anyone on the network between can read the examples and run programs "
            "here (docs/cluster.md)"
        )
    try:
        client = Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{SCHEDULER}: no Dask scheduler answers at {shorten(address)} ({one_line(error)})"
        ) from None
    with client:
        with _naming_the_scheduler():
            _await_worker(client)
            environment = _agree(client)
        yield Cluster(client, environment)


def parse_address(address: str, role: str) -> tuple[bool, str]:
    """Whether the connection to a scheduler is encrypted, and the scheduler's host.

    Dask would find the same errors, but leave a thread behind that keeps the program from ending.

    Args:
        address: The scheduler's.
        role: Who wants to connect: `client` or `worker`.

    Raises:
        InputError: If the address is malformed, or does not fit the role's TLS configuration.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(f"{SCHEDULER}: should be like tcp://HOST:8786 (is {quoted(address)})")
    protocol, host = match.groups()
    is_encrypted = protocol in {"tls", "wss"}
    if is_encrypted and not has_key(role):
        raise InputError(f"{SCHEDULER}: {address} needs the {role}'s key (docs/cluster.md, TLS)")
    if not is_encrypted and Security().require_encryption:
        raise InputError(
            f"{SCHEDULER}: should be like tls://HOST:8786, since Dask's configuration requires "
            f"encryption (is {quoted(address)})"
        )
    return is_encrypted, host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host.

    Raises:
        InputError: If the host's name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None)
    except OSError as error:
        raise InputError(f"{host}: no such host ({error.strerror})") from None
    return all(ip_address(address[0]).is_loopback for *_, address in found)


def has_key(role: str) -> bool:
    """Whether Dask's configuration names a certificate and a key for the role.

    Args:
        role: `client`, `scheduler` or `worker`.

    Raises:
        InputError: If they cannot be read.
    """
    try:
        return Security().get_listen_args(role)["ssl_context"] is not None
    except OSError as error:
        raise InputError(f"distributed.comm.tls: cannot read the {role}'s key ({error})") from None


@contextmanager
def _naming_the_scheduler() -> Iterator[None]:
    try:
        yield
    except (ClosedClientError, OSError, RuntimeError) as error:
        raise InputError(
            f"{SCHEDULER}: the scheduler is gone ({one_line(error)}); finished trials are kept, "
            "and `dvc repro` goes on from there"
        ) from None


class Cluster:
    """Workers on a Dask cluster; `environment` is the one that they share."""

    def __init__(self, client: Client, environment: Environment) -> None:
        self.environment = environment
        self._client = client
        self._shared: Any = None

    def submit(self, work: Work, data: Data, trial: Trial) -> Any:
        with _naming_the_scheduler():
            return self._client.submit(
                train_on_cluster, work, self.environment, self._share(data), trial, pure=False
            )

    def collect(self, future: Any) -> TrialResult:
        try:
            result: TrialResult | str = future.result()
        # The connection, the last copy of the data, or the result on its way was lost.
        except (CancelledError, OSError):
            raise LostTrialError from None
        except KilledWorker as error:
            raise InputError(
                f"{error.allowed_failures + 1} workers died while running it, the last at "
                f"{error.last_worker.address}; its log may say why (memory?)"
            ) from None
        except Exception as error:  # noqa: BLE001, from a worker that could not even start
            raise _misplaced(error) from None
        if isinstance(result, str):
            raise InputError(result)
        return result

    def _share(self, data: Data) -> Any:
        """Sends the data to every worker: once, and again if the last one that had them died."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._shared is None or self._shared.status != "finished":
            while self._client.status == "connecting" and time.monotonic() < deadline_s:
                time.sleep(0.1)
            try:
                _await_worker(self._client)
                self._shared = self._client.scatter(data, broadcast=True, hash=False)
            except OSError:
                # A worker died, or the connection was cut: the client restores it if it can.
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
            except Exception as error:  # noqa: BLE001, from a worker that does not know the data's type
                raise _misplaced(error) from None
        return self._shared


def train_on_cluster(
    work: Work, environment: Environment, data: Data, trial: Trial
) -> TrialResult | str:
    """Trains a trial on a worker, which may have joined after the others were checked.

    Returns:
        The result, or a message that says what went wrong: Dask's client would wait forever for an
        exception that cannot be sent.
    """
    try:
        jit_compile = work.jit_compile
        wanted = environment.deciding(jit_compile=jit_compile) | {"own": work.own}
        found = describe_worker().deciding(jit_compile=jit_compile)
        _compare(wanted, found | {"own": digest_own(work.name, work.params)}, "a worker")
        _settle_instructions(jit_compile=work.jit_compile)
        from stages.engine.training import train_trial

        return train_trial(work, data, trial)
    except InputError as error:
        return str(error)
    except Exception:  # noqa: BLE001, every error must be reported
        return traceback.format_exc()


def describe_worker() -> Environment:
    """The environment of a worker; runs there before anything else of the project does."""
    set_up_tensorflow()
    return describe_environment()


def _settle_instructions(*, jit_compile: bool) -> None:
    """Keeps a process to one kind of network, because oneDNN chooses its instructions once."""
    if _kind.setdefault("jit_compile", jit_compile) != jit_compile:
        raise InputError(
            "a worker has trained networks with the other setting of XLA (on or off), and would "
            "compute other numbers for this one; restart the workers"
        )


def _await_worker(client: Client) -> None:
    if not client.nthreads():
        address = client.scheduler.address
        notice(f"waiting for a worker: make worker SCHEDULER={address}")
        client.wait_for_workers(1)


def _agree(client: Client) -> Environment:
    """The environment that all workers share, with the code and versions of this process."""
    here = describe_environment()
    found: dict[str, Environment | Exception] = client.run(describe_worker, on_error="return")
    first: Environment | None = None
    for address, there in sorted(found.items()):
        if not isinstance(there, Environment):
            raise _misplaced(f"{address}, {there}")
        first = first or there
        ours = {"python": here.python, "versions": here.versions, "source": here.source}
        wanted = {**first.deciding(jit_compile=True), **ours}
        _compare(wanted, there.deciding(jit_compile=True), f"worker {address}")
    if first is None:
        raise InputError(f"{SCHEDULER}: every worker has left; start one: make worker")
    return first


def _misplaced(reason: object) -> InputError:
    return InputError(
        f"a worker cannot load this project ({one_line(reason)}); start it in a clone of the "
        "repository: make worker"
    )


def _compare(wanted: dict[str, Any], found: dict[str, Any], who: str) -> None:
    for key, value in wanted.items():
        if found[key] != value:
            raise InputError(
                f"{who} would compute other numbers: {_LABELS[key]} {found[key]}, should be "
                f"{value}; {_ADVICE.get(key, _SAME_CLONE)}"
            )


_LABELS = {
    "python": "Python",
    "versions": "packages",
    "source": "code",
    "own": "own code",
    "xla_flags": "XLA flags",
    "devices": "devices",
    "processor": "processor's instructions",
}
_SAME_CLONE = "check out the same commit there, install requirements.txt, and restart the worker"
_ADVICE = {
    "python": "use the same Python everywhere",
    "devices": "use workers of one kind",
    "processor": "use workers of one kind, or train.jit_compile: true",
}
