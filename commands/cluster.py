"""Starts a Dask scheduler or worker: `make scheduler`, `make worker`.

Whoever can connect to a scheduler or a worker can run any program as the user who started it. So
both listen on loopback only, unless they use TLS, where everyone needs a key.
"""

import os
import sys
from argparse import ArgumentParser

from distributed.utils import get_ip

from stages.common.errors import InputError
from stages.engine.cluster import has_key, is_loopback, parse_address
from stages.engine.determinism import has_nvidia_gpu
from stages.engine.environment import SCHEDULER
from stages.engine.workers import count_workers

LOOPBACK = "127.0.0.1"
SETTINGS = {
    # Dask gives a trial up after three workers have died while running it.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
    # A worker holds no more trials than it can run at once.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    # The HTTP servers cannot be switched off. On loopback and without pages they reveal nothing.
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
}
NO_PAGES = ("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0")
CURE = "make a key for TLS (docs/cluster.md), or stay on loopback and connect through SSH"


def main() -> None:
    parser = ArgumentParser(
        allow_abbrev=False, description="All other options are passed on to Dask's own program."
    )
    parser.add_argument("program", choices=("scheduler", "worker"))
    parser.add_argument("--host", help="address of this machine to listen on")
    parser.add_argument(
        "--scheduler",
        default=os.environ.get(SCHEDULER, f"tcp://{LOOPBACK}:8786"),
        help="address of the scheduler that a worker connects to; default: %(default)s",
    )
    given, options = parser.parse_known_args()
    try:
        if given.program == "scheduler":
            command = plan_scheduler(given.host or LOOPBACK, options)
        else:
            command = plan_worker(given.scheduler, given.host, options)
    except InputError as error:
        sys.exit(f"make: {error}")
    os.execve(sys.executable, command, os.environ | SETTINGS)  # noqa: S606


def plan_scheduler(host: str, options: list[str]) -> list[str]:
    """The command that starts a scheduler, with TLS if Dask's configuration has a key for it.

    Raises:
        InputError: If strangers could reach it.
    """
    is_encrypted = has_key("scheduler")
    if not is_encrypted and not is_loopback(host):
        raise InputError(f"HOST={host}: whoever reaches it could run programs as you; {CURE}")
    _say_who_can_connect("scheduler", host, is_encrypted=is_encrypted)
    protocol = "tls" if is_encrypted else "tcp"
    return _command("scheduler", *options, "--host", host, "--protocol", protocol, *NO_PAGES)


def plan_worker(scheduler: str, host: str | None, options: list[str]) -> list[str]:
    """The command that starts a worker, which listens where its scheduler can reach it.

    Raises:
        InputError: If strangers could reach it.
    """
    is_encrypted, scheduler_host = parse_address(scheduler, "worker")
    host = host or get_ip(scheduler_host)
    if not is_encrypted and not (is_loopback(scheduler_host) and is_loopback(host)):
        raise InputError(
            f"SCHEDULER={scheduler}, HOST={host}: whoever reaches the worker could run programs as "
            f"you; {CURE}"
        )
    _say_who_can_connect("worker", host, is_encrypted=is_encrypted)
    # Threads of a process share a GPU; on a processor they would wait for each other.
    n_processes, n_threads = (1, count_workers()) if has_nvidia_gpu() else (count_workers(), 1)
    numbers = ("--nworkers", str(n_processes), "--nthreads", str(n_threads))
    return _command("worker", scheduler, *numbers, *options, "--host", host, *NO_PAGES)


def _command(program: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{program}", *options]


def _say_who_can_connect(program: str, host: str, *, is_encrypted: bool) -> None:
    who = "has the key" if is_encrypted else "is logged in to this machine"
    print(f"{program}: listens on {host} only; whoever {who} can use it", file=sys.stderr)


if __name__ == "__main__":
    main()
