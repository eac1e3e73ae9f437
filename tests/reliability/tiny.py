"""The tiny pipeline that these scripts disturb: its results, and what no run may leave behind."""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.pipeline.conftest import Workspace, environment, lay_out

RESULTS = (
    "dvc.lock",
    "metrics.json",
    "data/processed",
    "data/raw",
    "data/sources",
    "runs",
    "weights",
    "confirmation",
    "evaluation",
    "plots",
    "report",
)
# Of `replacing`, of DVC, and of Git.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?|.*\.tmp|index\.lock")


@dataclass(frozen=True)
class Ran:
    """A command that ended."""

    status: int
    output: str


def found(folder: Path) -> Workspace:
    """A repository whose race is close, so that `confirm` trains; nothing ran there yet."""
    folder.mkdir(parents=True)
    workspace = lay_out(folder)
    workspace.edit("params.yaml", "at_most: 10", "at_most: 15")
    pretend_installed(workspace)
    workspace.git("init", "--quiet")
    return workspace


def pretend_installed(workspace: Workspace) -> None:
    """So that `make run` takes this environment."""
    (workspace.folder / ".venv").mkdir()
    (workspace.folder / ".venv" / ".installed").touch()


def copy(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.folder, folder, symlinks=True)
    return Workspace(folder)


def commit(workspace: Workspace, message: str) -> None:
    workspace.git("add", ".")
    workspace.git("commit", "--quiet", "--allow-empty", "--message", message)


def run(workspace: Workspace, command: Sequence[str]) -> Ran:
    done = subprocess.run(
        command,
        cwd=workspace.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def results(workspace: Workspace) -> dict[str, bytes]:
    """Every byte that a run is there for, by path."""
    return workspace.contents(*RESULTS)


def differences(found: dict[str, bytes], right: dict[str, bytes]) -> list[str]:
    """Paths that only one of them has, or whose bytes differ."""
    return sorted(path for path in found | right if found.get(path) != right.get(path))


def processes(workspace: Workspace) -> list[str]:
    """Those that still work in the folder, as `ps` shows them."""
    lines = subprocess.run(("ps", "-eo", "pid=,args="), capture_output=True, text=True, check=True)
    return [line for line in lines.stdout.splitlines() if _works_in(line.split()[0], workspace)]


def _works_in(process: str, workspace: Workspace) -> bool:
    try:
        return (Path("/proc") / process / "cwd").readlink() == workspace.folder.resolve()
    except OSError:  # ended, or somebody else's
        return False


def leftovers(workspace: Workspace) -> list[str]:
    """Temporary files, and locks that are held."""
    root = workspace.folder
    files = (path for path in root.rglob("*") if _TEMPORARY.fullmatch(path.name))
    held = root / ".dvc/tmp/rwlock"
    left = [str(path.relative_to(root)) for path in files]
    if held.exists() and held.read_text(encoding="utf-8").strip() not in {"", "{}"}:
        left.append(str(held.relative_to(root)))
    return left + [
        str(lock.relative_to(root)) for lock in root.glob(".dvc/tmp/*lock") if _is_locked(lock)
    ]


def _is_locked(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
