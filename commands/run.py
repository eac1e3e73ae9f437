"""`make run`: the whole pipeline by DVC, on a dvc.lock that DVC can read, one run at a time."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from stages.common.console import notice, run_stage
from stages.common.errors import InputError, quoted
from stages.common.files import locate_cache, write_bytes
from stages.common.params import load_params, read_yaml

LOCK = Path("dvc.lock")
# Says which paths DVC's processes work on.
RWLOCK = Path(".dvc/tmp/rwlock")


def main() -> None:
    # Before DVC, which makes stages and paths of the names.
    dataset = load_params().dataset
    if dataset.name == "custom" and not Path(dataset.path).exists():
        raise InputError(f"params.yaml: dataset.path: nothing lies at {quoted(dataset.path)}")
    with _alone():
        if LOCK.exists() and not is_readable(LOCK.read_bytes()):
            _restore_lock()
        # Of a DVC that was killed while it wrote it; the next cannot read it empty.
        if RWLOCK.exists() and not RWLOCK.stat().st_size:
            RWLOCK.unlink()
        _dvc("repro", "evaluate")
        # Its table ends the run, new or not.
        _dvc("repro", "--single-item", "--force", "report")


def _restore_lock() -> None:
    """Replaces what may be half a file of a kill, or hold the marks of a merge.

    DVC makes the rest again from its run cache, so nothing is trained.
    """
    command = ("git", "show", f"HEAD:./{LOCK}")
    committed = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    if committed.returncode == 0 and is_readable(committed.stdout):
        write_bytes(LOCK, committed.stdout)
        notice(f"{LOCK}: DVC cannot read it; the last commit's is taken, and made up to date")
    else:
        LOCK.unlink()
        notice(f"{LOCK}: removed, since DVC cannot read it; it is made again")


def is_readable(lock: bytes) -> bool:
    """Whether DVC would read a dvc.lock of this content."""
    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(lock))
    except (ValueError, Invalid):
        return False
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other `make run` works in this folder."""
    path = locate_cache("run.lock")
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notice("another `make run` works here; this one goes on when that has ended")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _dvc(*arguments: str) -> None:
    # Else a moment's work of another DVC, such as `dvc status`, ends the run.
    command = (sys.executable, "-m", "dvc", "--wait-for-lock", *arguments)
    status = subprocess.run(command, check=False).returncode  # noqa: S603
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run_stage(main)
