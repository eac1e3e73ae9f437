"""A folder that a team shares through DVC, as docs/shared-cache.md describes it."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.conftest import N_TRIALS, Workspace, environment

ANOTHER_RATE = ("params.yaml", "learning_rate: 0.001", "learning_rate: 0.002")
ANOTHER_SPLIT = ("params.yaml", "seed: 42", "seed: 43")
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


def n_trials(workspace: Workspace) -> int:
    """How many trials were trained there: a clone starts with none."""
    return len(list(workspace.folder.glob(".cache/trials/*/*.npz")))


def contents(workspace: Workspace, *names: str) -> dict[str, bytes]:
    """Files, and what folders hold, by path."""
    root = workspace.folder
    files = (file for name in names for file in (root / name, *(root / name).rglob("*")))
    return {str(file.relative_to(root)): file.read_bytes() for file in files if file.is_file()}


def hashes(workspace: Workspace, *names: str) -> set[str]:
    return {md5(content) for content in contents(workspace, *names).values()}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_at_the_same_commit_a_colleague_runs_nothing_and_has_every_byte(team: Team) -> None:
    assert team.colleague.reproduce("--pull") == []
    assert n_trials(team.colleague) == 0
    folders = ("runs", "data", "confirmation", "evaluation", "plots", "report")
    results = ("metrics.json", "dvc.lock", *folders)
    assert contents(team.colleague, *results) == contents(team.owner, *results)
    assert team.colleague.git("status", "--porcelain") == ""


def test_what_anyone_trained_and_pushed_nobody_trains_again(team: Team) -> None:
    first = team.owner.git("rev-parse", "HEAD").strip()
    team.owner.edit(*ANOTHER_RATE)
    assert team.owner.reproduce("train") == ["sources", "train@adam"]
    team.owner.dvc(*PUSH)

    # Not committed yet, and the colleague has heard of the rate.
    team.colleague.edit(*ANOTHER_RATE)
    assert team.colleague.reproduce("--pull", "train") == []
    assert n_trials(team.colleague) == 0
    assert contents(team.colleague, "runs") == contents(team.owner, "runs")

    # Committed; a later clone goes back to the settings from before.
    team.owner.git("commit", "--quiet", "--all", "--message", "Try another rate")
    path, old, new = ANOTHER_RATE
    later = team.clone("later clone")
    later.edit(path, new, old)
    assert later.reproduce("--pull") == []
    assert n_trials(later) == 0
    assert later.git("diff", "--stat", first) == ""


def test_an_added_optimizer_is_the_only_one_that_a_colleague_trains(team: Team) -> None:
    lion = "optimizers:\n  lion: {class_name: Lion, learning_rate: 0.001}\n"
    team.colleague.edit("params.yaml", "optimizers:\n", lion)
    assert team.colleague.reproduce("--pull", "train") == ["sources", "train@lion"]
    assert n_trials(team.colleague) == N_TRIALS


def test_the_remote_holds_data_and_runs_and_nothing_that_git_tracks(team: Team) -> None:
    tracked = team.owner.git("ls-files", "-z").split("\0")[:-1]
    assert {"metrics.json", "report/index.html", "evaluation/pairs.csv"} <= set(tracked)
    assert team.objects().keys() == hashes(team.owner, "data", "runs", "confirmation")
    assert team.objects().keys().isdisjoint(hashes(team.owner, *tracked))


def test_results_of_earlier_commits_are_pushed_where_they_are_asked_for(team: Team) -> None:
    earlier = hashes(team.owner, "data/processed")
    team.owner.edit(*ANOTHER_SPLIT)
    assert team.owner.reproduce("preprocess") == ["preprocess"]
    team.owner.git("commit", "--quiet", "--all", "--message", "Split otherwise")
    earlier -= hashes(team.owner, "data/processed")

    shutil.rmtree(team.remote)
    team.owner.dvc(*PUSH)
    assert not earlier & team.objects().keys()
    team.owner.dvc(*PUSH, "--all-commits")
    assert earlier <= team.objects().keys()


def test_two_clones_may_push_at_once(team: Team) -> None:
    team.colleague.dvc("pull", "--run-cache")
    team.colleague.edit(*ANOTHER_SPLIT)
    assert team.colleague.reproduce("preprocess") == ["preprocess"]
    shutil.rmtree(team.remote)
    clones = (team.owner, team.colleague)
    pushes = [
        subprocess.Popen((sys.executable, "-m", "dvc", *PUSH), cwd=clone.folder, env=environment())
        for clone in clones
    ]
    assert [push.wait() for push in pushes] == [0, 0]
    pushed = {name: md5(path.read_bytes()) for name, path in team.objects().items()}
    assert list(pushed) == list(pushed.values())
    assert (
        set().union(*(hashes(clone, "data", "runs", "confirmation") for clone in clones))
        == pushed.keys()
    )


def test_a_damaged_file_is_made_again_and_not_believed(team: Team) -> None:
    damaged = team.objects()[md5((team.owner.folder / "data/raw/arrays.npz").read_bytes())]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert team.colleague.reproduce("--pull", "download") == ["download"]
    assert contents(team.colleague, "data/raw") == contents(team.owner, "data/raw")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("nowhere", "ERROR: failed to pull data from the cloud", id="missing"),
        pytest.param("params.yaml/x", "Not a directory", id="not a folder"),
    ],
)
def test_an_unreachable_remote_stops_a_pull_and_nothing_is_lost(
    team: Team, place: str, message: str
) -> None:
    team.colleague.edit(".dvc/config.local", f"../../{team.remote.name}", f"../{place}")
    assert message in team.colleague.dvc("pull", "--run-cache", check=False)
    team.colleague.edit(".dvc/config.local", f"../{place}", f"../../{team.remote.name}")
    assert team.colleague.reproduce("--pull") == []
    assert team.colleague.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("params.yaml/x", "Not a directory", id="not a folder"),
        pytest.param(None, "no remote specified", id="no remote"),
    ],
)
def test_an_unreachable_remote_stops_a_push_and_nothing_is_lost(
    team: Team, place: str | None, message: str
) -> None:
    before = contents(team.owner, ".dvc/cache", "data", "runs", "confirmation")
    if place:
        team.owner.edit(".dvc/config.local", f"../../{team.remote.name}", f"../{place}")
    else:
        (team.owner.folder / ".dvc/config.local").unlink()
    output = team.owner.dvc(*PUSH, check=False)
    assert "ERROR" in output
    assert message in output
    assert contents(team.owner, ".dvc/cache", "data", "runs", "confirmation") == before
    assert team.owner.git("status", "--porcelain") == ""
