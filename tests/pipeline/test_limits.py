"""What the machine refuses is told in a line, and the next run with room completes."""

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import thorough
from tests.pipeline.conftest import Workspace, lay_out


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    return lay_out(tmp_path)


def run(workspace: Workspace, stage: str, n_kilobytes: str = "unlimited") -> list[str]:
    """Runs a stage whose files may grow so far; gives its lines, the last of them its status.

    Without Python's own files of bytecode, which it would cut, and believe afterwards.
    """
    script = f"ulimit -f {n_kilobytes}; {sys.executable} -B -m stages.{stage} 2>&1 | cat; "
    return workspace.run("bash", "-c", f"{script} echo ${{PIPESTATUS[0]}}").splitlines()


def files(workspace: Workspace) -> set[str]:
    found = workspace.folder.rglob("*")
    return {str(path.relative_to(workspace.folder)) for path in found if path.is_file()}


def test_a_file_that_finds_no_room_is_told_and_left_in_no_half(fresh: Workspace) -> None:
    for stage, file, limit in (
        ("sources", "data/sources/optimizers/sgd.json", "0"),
        ("download", "data/raw/arrays.npz", "1"),
        ("preprocess", "data/processed/train.npz", "1"),
    ):
        before = files(fresh)
        line, status = run(fresh, stage, limit)
        assert re.fullmatch(f"{file}: File too large; `dvc repro` goes on from there", line)
        assert status == "1"
        assert {path for path in files(fresh) - before if "__pycache__" not in path} == set()
        assert run(fresh, stage) == ["0"]
        assert file in files(fresh)


@pytest.mark.thorough
def test_training_without_room_is_told_and_goes_on_later(fresh: Workspace) -> None:
    for stage in ("download", "preprocess"):
        run(fresh, stage)
    *_, line, status = run(fresh, "train sgd", "0")
    assert line.startswith("No usable temporary directory found in ['/")
    assert status == "1"
    *_, line, status = run(fresh, "train sgd", "1")
    assert "File too large" in line
    assert "every trial failed" not in line
    assert status == "1"
    assert run(fresh, "train sgd")[-1] == "0"


@pytest.mark.parametrize(
    ("stage", "old", "new", "key"),
    [
        ("download", "n_train: 100", "n_train: 1000000000000", "dataset.simulated"),
        ("download", "height: 4", f"height: {10**40}", "dataset.simulated"),
        ("train sgd", "- 8\n", "- 1000000000\n", "model"),
        *thorough(("train sgd", "- 8\n", f"- 8\n  - {10**40}\n", "model")),
    ],
)
def test_a_size_that_no_machine_has_is_refused_with_its_key(
    fresh: Workspace, stage: str, old: str, new: str, key: str
) -> None:
    if stage != "download":
        for earlier in ("download", "preprocess"):
            run(fresh, earlier)
    fresh.edit("params.yaml", old, new)
    line, status = run(fresh, stage)
    assert re.fullmatch(
        rf"params\.yaml: {key}: .+ needs at least .+ GiB of memory; there is only .+ GiB", line
    )
    assert status == "1"
