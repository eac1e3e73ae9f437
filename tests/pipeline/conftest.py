"""The real pipeline on tiny data, in a repository of its own."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from tests.conftest import PROJECT
from tests.examples import optimizer, small_params

CONTENT = (
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
PARAMS = small_params(
    {
        "sgd": optimizer(class_name="SGD", learning_rate=0.1),
        "adam": optimizer(class_name="Adam", learning_rate=0.001),
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
    train={"jit_compile": "auto"},
    tuning={"learning_rate_factors": [3.16], "n_settings": 1, "seeds": [1], "final_seeds": []},
    comparison={"margin": MARGIN},
    confirmation={"first_seed": 42, "at_most": 10},
)


@dataclass(frozen=True)
class Workspace:
    """A checkout of the pipeline."""

    folder: Path

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command there; gives what it printed."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, result.stdout
        return result.stdout

    def dvc(self, *arguments: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def reproduce(self, *arguments: str) -> list[str]:
        """Runs `dvc repro`; gives the names of the stages that ran."""
        return stages_that_ran(self.dvc("repro", *arguments))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")


def stages_that_ran(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':$", output, re.MULTILINE)


def environment() -> dict[str, str]:
    """This one, with the interpreter's own programs first and a name for Git."""
    person = {"NAME": "A Person", "EMAIL": "person@example.org"}
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TRAIN_WORKERS": "1",
        **{f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in person.items()},
    }


def lay_out(folder: Path) -> Workspace:
    """Copies the pipeline, without results, and gives it tiny parameters."""
    for name in CONTENT:
        source = PROJECT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy2(source, folder / name)
    shutil.copytree(PROJECT / ".dvc" / "plots", folder / ".dvc" / "plots")
    for name in ("config", ".gitignore"):
        shutil.copy2(PROJECT / ".dvc" / name, folder / ".dvc" / name)
    # As DVC writes YAML, so that its own edits change no other line.
    text = yaml.safe_dump(PARAMS.model_dump(mode="json"), sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return Workspace(folder)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A repository whose pipeline ran once and was committed; to be copied, not changed."""
    # One for all of pytest-xdist's workers: the first that comes makes it.
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    workspace = Workspace(shared / "reproduced" / "a repository")
    with FileLock(shared / "reproduced.lock"):
        if not workspace.folder.exists():
            workspace.folder.mkdir(parents=True)
            lay_out(workspace.folder)
            workspace.git("init", "--quiet")
            workspace.reproduce()
            workspace.git("add", ".")
            workspace.git("commit", "--quiet", "--message", "Run the pipeline")
    return workspace


@pytest.fixture
def workspace(reproduced: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the repository whose pipeline ran, with DVC's cache."""
    folder = tmp_path / "a repository"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Workspace(folder)
