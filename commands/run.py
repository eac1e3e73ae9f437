"""`make run`: runs the pipeline with DVC, one run at a time, on a dvc.lock repaired if need be."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.cli import main as dvc
from dvc.config import Config
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.ui import ui
from voluptuous import Invalid

from stages.common.console import notice, run_stage
from stages.common.errors import InputError, quoted
from stages.common.files import locate_cache, write_bytes
from stages.common.params import load_params, read_yaml
from stages.common.results import COMPARISON, EVALUATION, REPORT
from stages.report.summary import describe

LOCK = Path("dvc.lock")
# Where DVC notes which paths its processes work on.
RWLOCK = Path(".dvc/tmp/rwlock")
PAGE = REPORT / "index.html"


def main() -> None:
    # Checked before DVC starts, because DVC makes stages and paths from the names.
    dataset = load_params().dataset
    if dataset.name == "custom" and not Path(dataset.path).exists():
        raise InputError(f"params.yaml: dataset.path: nothing found at {quoted(dataset.path)}")
    with _alone():
        if LOCK.exists() and not is_readable(LOCK.read_bytes()):
            _restore_lock()
        # A DVC that is killed while writing the file leaves it empty, which the next cannot read.
        if RWLOCK.exists() and not RWLOCK.stat().st_size:
            RWLOCK.unlink()
        before = _made_at(PAGE)
        _reproduce()
    if _made_at(PAGE) == before:  # otherwise the stage `report` has just printed it
        print(f"{describe(COMPARISON.read(EVALUATION))}\n\nThe results have not changed: {PAGE}")


def _restore_lock() -> None:
    """Replaces a dvc.lock that was cut short by a kill or has the marks of a merge conflict.

    DVC restores the rest from its run cache, so nothing is trained again.
    """
    command = ("git", "show", f"HEAD:./{LOCK}")
    committed = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    if committed.returncode == 0 and is_readable(committed.stdout):
        write_bytes(LOCK, committed.stdout)
        notice(f"{LOCK}: DVC cannot read it; using the last commit's and bringing it up to date")
    else:
        LOCK.unlink()
        notice(f"{LOCK}: removed, since DVC cannot read it; DVC will write a new one")


def is_readable(lock: bytes) -> bool:
    """Whether DVC would read a dvc.lock of this content."""
    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(lock))
    except (ValueError, Invalid):
        return False
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other `make run` is active in this folder."""
    path = locate_cache("run.lock")
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notice("another `make run` is active here; this one starts when that has finished")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _made_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _reproduce() -> None:
    """Runs `dvc repro` in this process, without its advice to push where there is no remote."""
    write = ui.write

    def write_unless_pointless(*objects: object, **options: Any) -> None:
        is_advice = " ".join(map(str, objects)).startswith("Use `dvc push`")
        if not is_advice or Config.from_cwd()["remote"]:
            write(*objects, **options)

    ui.write = write_unless_pointless
    # Without waiting, a short-lived DVC command elsewhere, such as `dvc status`, would end the run.
    status = dvc(["--wait-for-lock", "repro"])
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run_stage(main)
