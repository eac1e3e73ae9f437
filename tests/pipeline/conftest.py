"""The real pipeline on tiny data, in a repository of its own."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import DIGEST, PROJECT, contents, git_environment, lock_shared
from tests.parameters import optimizer, small_params

CONTENT = (
    "commands",
    "data/custom/README.md",
    "models",
    "optimizers",
    "stages",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    "Makefile",
    "requirements.txt",
)
# So small that a close race ends at `at_most` seeds and not before.
MARGIN = 0.0001
# One of tuning, and ten fresh seeds at each rate.
N_TRIALS = 21
# Two optimizers that hardly differ, so that the race goes on to `at_most`; dropout, since `auto`
# then does without XLA, which compiles for longer than these trials take.
PARAMS = small_params(
    {
        "sgd": optimizer(class_name="SGD", learning_rate=0.1),
        "gentle": optimizer(class_name="SGD", learning_rate=0.09),
    },
    dataset={
        "name": "simulated",
        "simulated": {
            "n_train": 100,
            "n_test": 30,
            "height": 4,
            "width": 4,
            "n_classes": 3,
            "noise": 0.5,
            "seed": 0,
        },
    },
    model={"dropout": 0.5},
    train={"jit_compile": "auto"},
    tuning={"learning_rate_factors": [3.16], "n_settings": 1, "seeds": [1], "final_seeds": []},
    comparison={"margin": MARGIN},
    confirmation={"first_seed": 42, "at_most": 10},
)


@dataclass(frozen=True)
class Workspace:
    """A checkout of the pipeline."""

    folder: Path

    def run(self, *command: str, check: bool = True, **variables: str) -> str:
        """Runs a command there, with these environment variables; gives what it printed."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, result.stdout
        return result.stdout

    def dvc(self, *arguments: str, check: bool = True, **variables: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check, **variables)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", message)

    def reproduce(self, *arguments: str, **variables: Any) -> list[str]:
        """Runs `dvc repro`; gives the names of the stages that ran."""
        return stages_that_ran(self.dvc("repro", *arguments, **variables))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), encoding="utf-8")

    def contents(self, *names: str) -> dict[str, bytes]:
        """Files, and what folders hold, by path."""
        return contents(self.folder, *names)

    def trials(self) -> dict[Path, int]:
        """The files of the trials that the store has, and which file each is."""
        files = self.folder.glob(f".cache/trials/*/{DIGEST}.npz")
        return {path: path.stat().st_ino for path in files}


def stages_that_ran(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':$", output, re.MULTILINE)


def environment() -> dict[str, str]:
    """The interpreter's own programs first, and a name for Git."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**git_environment(), "PATH": path}


def lay_out(folder: Path) -> Workspace:
    """Copies the pipeline, without results, and gives it tiny parameters."""
    for name in CONTENT:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    shutil.copytree(PROJECT / ".dvc" / "plots", folder / ".dvc" / "plots")
    for name in ("config", ".gitignore"):
        shutil.copy2(PROJECT / ".dvc" / name, folder / ".dvc" / name)
    # As DVC writes YAML, so that its own edits change no other line.
    text = yaml.safe_dump(PARAMS.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return Workspace(folder)


# Beside the repository: what `make run` printed there; written last.
MAKE_RUN = "make run.txt"


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A repository whose pipeline ran once and was committed; to be copied, not changed.

    It ran as in an unpacked archive, before there was a Git repository.
    """
    with lock_shared(tmp_path_factory, "reproduced") as folder:
        workspace = Workspace(folder / "a repository")
        if not (folder / MAKE_RUN).exists():
            shutil.rmtree(folder, ignore_errors=True)
            workspace.folder.mkdir(parents=True)
            lay_out(workspace.folder)
            # The environment of these tests in the place of one that `make` would install.
            installed = workspace.folder / ".venv"
            installed.symlink_to(sys.prefix)
            output = workspace.run("make", "--old-file=.venv/.installed", "run")
            installed.unlink()
            (workspace.folder / ".dvc" / "config.local").unlink()
            workspace.git("init", "--quiet")
            workspace.commit("Run the pipeline")
            (folder / MAKE_RUN).write_text(output, encoding="utf-8")
    return workspace


@pytest.fixture
def workspace(reproduced: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the repository whose pipeline ran, with DVC's cache."""
    folder = tmp_path / "a repository"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Workspace(folder)
