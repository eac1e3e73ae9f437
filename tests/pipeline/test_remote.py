"""A folder that a team shares through DVC, as docs/shared-cache.md describes it."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.conftest import N_TRIALS, Workspace

ANOTHER_RATE = ("params.yaml", "learning_rate: 0.09", "learning_rate: 0.08")
PUSH = ("push", "--run-cache")


@dataclass(frozen=True)
class Team:
    """Two clones of one commit, and the folder that both push to and pull from."""

    folder: Path

    @property
    def owner(self) -> Workspace:
        """Where the pipeline ran; its results were committed and pushed."""
        return Workspace(self.folder / "owner's clone")

    @property
    def colleague(self) -> Workspace:
        """Where nothing ran yet."""
        return Workspace(self.folder / "colleague's clone")

    @property
    def remote(self) -> Path:
        return self.folder / "shared folder"

    def clone(self, name: str) -> Workspace:
        workspace = Workspace(self.folder / name)
        self.owner.git("clone", "--quiet", ".", str(workspace.folder))
        shutil.copy2(self.owner.folder / ".dvc/config.local", workspace.folder / ".dvc")
        return workspace

    def objects(self) -> dict[str, Path]:
        """The remote's files by the MD5 that names them, without the listings of folders."""
        paths = (path for path in (self.remote / "files/md5").glob("*/*") if not path.suffix)
        return {path.parent.name + path.name: path for path in paths}


@pytest.fixture(scope="module")
def founded(reproduced: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """To be copied, not changed."""
    team = Team(tmp_path_factory.mktemp("founded"))
    team.remote.mkdir()
    shutil.copytree(reproduced.folder, team.owner.folder, symlinks=True)
    # DVC keeps the path relative to the clone, so that copies of a team have folders of their own.
    team.owner.dvc("remote", "add", "--local", "--default", "team", f"../{team.remote.name}")
    team.owner.dvc("remote", "modify", "--local", "team", "verify", "true")
    team.owner.dvc(*PUSH)
    team.clone(team.colleague.folder.name)
    return team


@pytest.fixture
def team(founded: Team, tmp_path: Path) -> Team:
    folder = tmp_path / "team"
    shutil.copytree(founded.folder, folder, symlinks=True)
    return Team(folder)


def hashes(workspace: Workspace, *names: str) -> set[str]:
    return {md5(content) for content in workspace.contents(*names).values()}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.thorough
def test_a_colleague_has_every_byte_untrained_and_trains_an_added_optimizer_alone(
    team: Team,
) -> None:
    assert team.colleague.reproduce("--pull") == []
    assert team.colleague.trials() == {}
    folders = ("runs", "weights", "data", "confirmation", "evaluation", "plots", "report", "best")
    results = ("metrics.json", "dvc.lock", *folders)
    assert team.colleague.contents(*results) == team.owner.contents(*results)
    assert team.colleague.git("status", "--porcelain") == ""

    lion = "optimizers:\n  lion: {class_name: Lion, learning_rate: 0.001}\n"
    team.colleague.edit("params.yaml", "optimizers:\n", lion)
    assert team.colleague.reproduce("--pull", "train") == ["sources", "train@lion"]
    assert len(team.colleague.trials()) == N_TRIALS


@pytest.mark.thorough
def test_what_anyone_trained_and_pushed_nobody_trains_again(team: Team) -> None:
    first = team.owner.git("rev-parse", "HEAD").strip()
    team.owner.edit(*ANOTHER_RATE)
    assert team.owner.reproduce("train") == ["sources", "train@gentle"]
    team.owner.dvc(*PUSH)

    # Not committed yet, and the colleague has heard of the rate.
    team.colleague.edit(*ANOTHER_RATE)
    assert team.colleague.reproduce("--pull", "train") == []
    assert team.colleague.trials() == {}
    assert team.colleague.contents("runs") == team.owner.contents("runs")

    # Committed; a later clone goes back to the settings from before.
    team.owner.git("commit", "--quiet", "--all", "--message", "Try another rate")
    path, old, new = ANOTHER_RATE
    later = team.clone("later clone")
    later.edit(path, new, old)
    assert later.reproduce("--pull") == []
    assert later.trials() == {}
    assert later.git("diff", "--stat", first) == ""


def test_the_remote_holds_data_and_runs_and_nothing_that_git_tracks(team: Team) -> None:
    tracked = team.owner.git("ls-files", "-z").split("\0")[:-1]
    assert {"metrics.json", "report/index.html", "evaluation/pairs.csv"} <= set(tracked)
    made = ("data/raw", "data/processed", "data/sources", "runs", "weights", "confirmation", "best")
    assert team.objects().keys() == hashes(team.owner, *made)
    assert team.objects().keys().isdisjoint(hashes(team.owner, *tracked))


def test_a_damaged_file_is_made_again_and_not_believed(team: Team) -> None:
    damaged = team.objects()[md5((team.owner.folder / "data/raw/arrays.npz").read_bytes())]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert team.colleague.reproduce("--pull", "download") == ["download"]
    assert team.colleague.contents("data/raw") == team.owner.contents("data/raw")
