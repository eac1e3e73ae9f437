"""Hostile names, a damaged dvc.lock or cache, experiments beside the project, two runs at once."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.run import is_readable
from stages.common.files import DIGESTS
from tests.conftest import PROJECT, thorough
from tests.pipeline.conftest import Workspace, environment, stages_that_ran

MAKE_RUN = (sys.executable, "-m", "commands.run")
# What DVC itself removes, before a stage runs, and brings back.
OUTPUTS = {
    "best",
    "data",
    "runs",
    "weights",
    "confirmation",
    "metrics.json",
    "evaluation",
    "plots",
    "report",
}
ADDED = "another: {class_name: SGD, learning_rate: 0.07}"
REPRO = ("repro",)
IGNORING = ("repro", "--ignore-errors")
EXPERIMENT = ("exp", "run")
TEMPORARY = ("exp", "run", "--temp")


@pytest.fixture(scope="module")
def shared(reproduced: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One copy for all tests that change nothing there for good, beside it a folder to harm."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(reproduced.folder, folder / "a repository", symlinks=True)
    (folder / "victim").mkdir()
    (folder / "victim" / "weights.npz").write_text("precious")
    return Workspace(folder / "a repository")


@pytest.fixture(scope="module")
def whole(reproduced: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy that keeps every output."""
    folder = tmp_path_factory.mktemp("whole") / "a repository"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Workspace(folder)


def others(workspace: Workspace) -> dict[Path, bytes]:
    """What no stage may touch, in the repository and beside it."""
    hidden = {*OUTPUTS, ".dvc", ".git", ".cache"}
    return {
        path: path.read_bytes()
        for path in workspace.folder.parent.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (
            path.is_relative_to(workspace.folder)
            and path.relative_to(workspace.folder).parts[0] in hidden
        )
    }


def run_with_names(workspace: Workspace, names: list[str], *command: str) -> tuple[int, str]:
    """Runs DVC with optimizers of these names, as YAML, added; says how it ended."""
    entries = "".join(f"  {name}: {{class_name: SGD, learning_rate: 0.1}}\n" for name in names)
    workspace.edit("params.yaml", "optimizers:\n", f"optimizers:\n{entries}")
    before = others(workspace)
    try:
        result = subprocess.run(
            command,
            cwd=workspace.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert others(workspace) == before
    finally:
        workspace.git("checkout", "--quiet", "--force", "HEAD", ".")
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("command", [REPRO, *thorough((EXPERIMENT,))], ids=" ".join)
@pytest.mark.parametrize(
    "name",
    [
        "../../victim",
        "../stages",
        ".",
        *thorough("../optimizers", "..", "a/b", "a/../../../victim", "../../a repository/stages"),
    ],
)
def test_a_name_that_leads_elsewhere_makes_dvc_refuse_and_touches_nothing(
    shared: Workspace, name: str, command: tuple[str, ...]
) -> None:
    status, output = run_with_names(shared, [f"'{name}'"], sys.executable, "-m", "dvc", *command)
    assert status != 0
    assert stages_that_ran(output) == []
    assert re.search("overlap|is ignored by .dvcignore", output)


@pytest.mark.parametrize(
    "command",
    [IGNORING, TEMPORARY, ("repro", "--single-item", "train@../stages"), ("checkout", "--force")],
    ids=" ".join,
)
def test_nor_does_any_other_command_follow_such_a_name(
    shared: Workspace, command: tuple[str, ...]
) -> None:
    status, output = run_with_names(shared, ["'../stages'"], sys.executable, "-m", "dvc", *command)
    assert status != 0
    assert stages_that_ran(output) == []


# Inside of runs, all of them.
AWKWARD = [
    "'/etc'",
    "'a;touch PWN'",
    "'$(touch PWN)'",
    "'`touch PWN`'",
    "'a|touch PWN'",
    "'a b'",
    '"a\\nb"',
]


@pytest.mark.parametrize("command", [REPRO, *thorough((EXPERIMENT,), (TEMPORARY,))], ids=" ".join)
def test_a_name_is_no_command_and_the_first_stage_says_what_is_right(
    shared: Workspace, command: tuple[str, ...]
) -> None:
    status, output = run_with_names(shared, AWKWARD, sys.executable, "-m", "dvc", *command)
    assert status != 0
    assert stages_that_ran(output) == ["sources"]
    assert output.count("not a valid name; use letters, digits, _ and -") == len(AWKWARD)


def test_a_name_is_no_command_where_errors_are_ignored(shared: Workspace) -> None:
    # DVC then goes on, finds that all others depend on what failed, and ends well all the same.
    command = (sys.executable, "-m", "dvc", *IGNORING)
    _, output = run_with_names(shared, AWKWARD, *command)
    assert stages_that_ran(output) == ["sources"]


@pytest.mark.parametrize("name", ["''", "1", *thorough("true", "null", "a@b")])
def test_a_name_that_dvc_cannot_read_runs_nothing(shared: Workspace, name: str) -> None:
    status, output = run_with_names(shared, [name], sys.executable, "-m", "dvc", "repro")
    assert status != 0
    assert stages_that_ran(output) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("''", "params.yaml: optimizers.: not a valid name; use letters, digits, _ and -"),
        ("1", "params.yaml: not valid YAML: the key 1 is not text in YAML; put it in quotes"),
        *thorough(
            ("true", "the key true is not text in YAML; put it in quotes"),
            ("null", "the key null is not text in YAML; put it in quotes"),
            ("a@b", "params.yaml: optimizers.a@b: not a valid name"),
            ("'../../victim'", "params.yaml: optimizers.../../victim: not a valid name"),
        ),
    ],
)
def test_make_run_names_the_key_and_what_is_right(
    shared: Workspace, name: str, message: str
) -> None:
    status, output = run_with_names(shared, [name], *MAKE_RUN)
    assert status != 0
    assert message in output
    assert "Traceback" not in output


MERGED = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n"
# What DVC says of a dvc.lock that cannot be read.
CUT = "'./dvc.lock' validation failed."
CONFLICT = "'./dvc.lock' is invalid (possible merge conflicts)."
BUSY = "is busy, it is being blocked by"


@pytest.mark.parametrize(("damaged", "message"), [("", CUT), (MERGED, CONFLICT)])
def test_dvc_stops_at_a_damaged_lock_and_its_message_leads_to_the_way_out(
    shared: Workspace, damaged: str, message: str
) -> None:
    (shared.folder / "dvc.lock").write_text(damaged)
    try:
        assert message in shared.dvc("repro", check=False)
        assert not is_readable(damaged.encode())
    finally:
        shared.git("checkout", "--quiet", "dvc.lock")
    assert message in troubleshooting()


def troubleshooting() -> str:
    return (PROJECT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_what_is_left_of_a_cut_lock_is_readable_or_not_as_dvc_sees_it(
    reproduced: Workspace,
) -> None:
    whole = (reproduced.folder / "dvc.lock").read_bytes()
    assert is_readable(whole)
    assert not is_readable(whole[: whole.index(b"stages:") + 20])
    assert not is_readable(whole[: whole.index(b"- path") + 4])


def cut(lock: Path) -> None:
    lock.write_bytes(lock.read_bytes()[: lock.read_bytes().index(b"- path") + 4])


@pytest.mark.thorough
def test_make_run_makes_a_damaged_lock_again_and_trains_nothing(workspace: Workspace) -> None:
    lock = workspace.folder / "dvc.lock"
    workspace.edit("params.yaml", "optimizers:\n", f"optimizers:\n  {ADDED}\n")
    assert workspace.reproduce()[1] == "train@another"
    expected = lock.read_bytes()
    cut(lock)
    shutil.rmtree(workspace.folder / ".cache")
    output = workspace.run(*MAKE_RUN)
    assert "dvc.lock: DVC cannot read it; using the last commit's and bringing it up" in output
    assert not list(workspace.folder.glob(".cache/trials/*/*"))
    assert lock.read_bytes() == expected


@pytest.mark.thorough
def test_a_damaged_lock_that_was_never_committed_is_made_again(workspace: Workspace) -> None:
    lock = workspace.folder / "dvc.lock"
    expected = lock.read_bytes()
    workspace.git("rm", "--cached", "--quiet", "dvc.lock")
    workspace.git("commit", "--quiet", "--message", "Forget the lock")
    cut(lock)
    output = workspace.run(*MAKE_RUN)
    assert "dvc.lock: removed, since DVC cannot read it; DVC will write a new one" in output
    assert stages_that_ran(output) == ["evaluate", "report"]
    assert lock.read_bytes() == expected


def test_every_file_that_dvc_keeps_is_noted_by_its_stage(reproduced: Workspace) -> None:
    folders = ["data/raw", "data/processed", "confirmation"]
    folders += [f"{kind}/{name}" for kind in ("runs", "weights") for name in ("sgd", "gentle")]
    for folder in (reproduced.folder / name for name in folders):
        found = {path.name: md5(path) for path in folder.iterdir() if path.name != DIGESTS.name}
        assert DIGESTS.read(folder).md5 == found


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def flip(path: Path) -> None:
    """Changes a digit near the file's end, or a bit, as a fault of the disk does."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("preprocess", "data/raw/arrays.npz"),
        ("train", "data/processed/train.npz"),
        ("confirm", "data/processed/test.npz"),
        ("evaluate", "runs/gentle/curves.csv"),
        ("evaluate", "confirmation/predictions.npz"),
        ("report", "confirmation/trials.csv"),
        *thorough(
            ("preprocess", "data/raw/source.json"),
            ("confirm", "runs/gentle/trials.csv"),
            ("confirm", "weights/gentle/weights.npz"),
            ("evaluate", "data/processed/dataset.json"),
        ),
    ],
)
def test_a_stage_refuses_what_an_earlier_one_did_not_write(
    whole: Workspace, stage: str, file: str
) -> None:
    path = whole.folder / file
    good = path.read_bytes()
    cached = f".dvc/cache/files/md5/{md5(path)[:2]}/{md5(path)[2:]}"
    assert (whole.folder / cached).exists()
    flip(path)
    try:
        output = whole.run(sys.executable, "-m", f"stages.{stage}", "gentle", check=False)
    finally:
        path.write_bytes(good)
    assert f"{file}: not what its stage wrote" in output
    assert f"`rm -f {cached} {file}`" in output
    assert whole.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "reader", "writer"),
    [
        ("data/raw/arrays.npz", "  seed: 42", "  seed: 43", "preprocess", "download"),
        *thorough(
            ("runs/gentle/trials.csv", "at_most: 10", "at_most: 11", "confirm", "train@gentle")
        ),
    ],
)
def test_a_damaged_cache_is_found_before_a_number_changes_and_the_message_heals_it(
    workspace: Workspace, file: str, old: str, new: str, reader: str, writer: str
) -> None:
    path = workspace.folder / file
    good = path.read_bytes()
    cached = workspace.folder / ".dvc/cache/files/md5" / md5(path)[:2] / md5(path)[2:]
    cached.chmod(0o644)
    flip(cached)
    cached.chmod(0o444)  # else DVC would look
    shutil.rmtree(path.parent)
    workspace.dvc("checkout")
    assert path.read_bytes() != good

    workspace.edit("params.yaml", old, new)
    output = workspace.dvc("repro", check=False)
    assert stages_that_ran(output) == [reader]
    assert workspace.git("status", "--porcelain").split() == ["M", "params.yaml"]
    (remove,) = re.findall("`(rm -f .*?)`", output)
    workspace.run("sh", "-c", remove)
    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce() == [writer]
    assert path.read_bytes() == cached.read_bytes() == good
    assert workspace.git("status", "--porcelain") == ""


def test_the_documented_command_lists_what_is_damaged_in_the_cache(workspace: Workspace) -> None:
    damaged = next((workspace.folder / ".dvc/cache/files/md5").rglob("*.dir"))
    damaged.chmod(0o644)
    flip(damaged)
    (command,) = re.findall(r"^    (find .*)$", troubleshooting(), re.MULTILINE)
    listed = workspace.run("sh", "-c", command)
    assert listed.splitlines() == [str(damaged.relative_to(workspace.folder))]


@pytest.mark.thorough
def test_an_experiment_beside_the_project_finds_its_trials(workspace: Workspace) -> None:
    workspace.edit("stages/train/search.py", "N_FINALISTS = 3", "N_FINALISTS = 1 + 2")
    trials = workspace.trials()
    output = workspace.dvc(*TEMPORARY)
    assert stages_that_ran(output)[:3] == ["sources", "train@sgd", "train@gentle"]
    assert re.search("train sgd and 1 more: 42 of 42 trials, .* 42 kept", output)
    assert "train gentle: all 21 trials are finished" in output
    assert workspace.trials() == trials


def test_a_second_make_run_waits_for_the_first(workspace: Workspace) -> None:
    with (workspace.folder / ".cache" / "run.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen(
            MAKE_RUN,
            cwd=workspace.folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr
        assert second.stderr.readline() == (
            "another `make run` is active here; this one starts when that has finished\n"
        )
        assert second.poll() is None
    second.communicate()
    assert second.returncode == 0
    assert workspace.git("status", "--porcelain") == ""


def test_dvc_beside_another_dvc_says_who_is_in_its_way(workspace: Workspace) -> None:
    output = str(workspace.folder / "data" / "sources")
    owner = {"pid": os.getpid(), "cmd": "dvc repro"}
    busy = {"write": {output: owner}, "read": {}}
    (workspace.folder / ".dvc/tmp/rwlock").write_text(json.dumps(busy))
    told = workspace.dvc("repro", "--force", "sources", check=False)
    assert f"'{output}' {BUSY}" in told
    assert BUSY in troubleshooting()
