"""The same bytes each time, in any folder."""

import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import Workspace, lay_out, stages_that_ran

pytestmark = pytest.mark.xdist_group("pipeline")

ALL = ["download", "preprocess", "train@sgd", "train@adam", "evaluate", "report"]


def test_a_fresh_clone_reproduces_every_committed_byte(
    reproduced: Workspace, tmp_path: Path
) -> None:
    reproduced.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone")
    assert clone.reproduce("--force") == ALL
    assert clone.git("status", "--porcelain") == ""


def test_make_run_works_on_an_unpacked_archive_without_git(tmp_path: Path) -> None:
    folder = tmp_path / "an unpacked archive"
    folder.mkdir()
    archive = lay_out(folder)
    # The environment of these tests in the place of one that `make` would install.
    (folder / ".venv").symlink_to(sys.prefix)
    output = archive.run("make", "run")
    assert stages_that_ran(output) == ALL
    ending = output.rpartition("python -m stages.report")[2]
    for name in ("sgd", "adam", "report/summary.md"):
        assert name in ending


@pytest.mark.parametrize("stage", ["download", "preprocess", "report"])
def test_a_stage_without_networks_never_loads_tensorflow(workspace: Workspace, stage: str) -> None:
    program = (
        f"import runpy, sys; runpy.run_module('stages.{stage}', run_name='__main__'); "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert workspace.run(sys.executable, "-c", program).splitlines()[-1] == "[]"
