"""What `make run` prints besides what DVC does."""

import re
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import MAKE_RUN, Workspace, stages_that_ran

RUN = (sys.executable, "-m", "commands.run")
ADVICE = "dvc push"


def answer(output: str) -> str:
    """From the table to the line that names the files."""
    return re.split(r"\n\n(?:Results:|The results)", output[output.index("\noptimizer ") :])[0]


def test_it_ends_in_the_answer_whether_or_not_a_stage_ran(
    reproduced: Workspace, workspace: Workspace
) -> None:
    first = (reproduced.folder.parent / MAKE_RUN).read_text(encoding="utf-8")
    again = workspace.run(*RUN)
    assert stages_that_ran(again) == []
    assert answer(again) == answer(first)
    assert "ahead" in answer(again)
    assert first.count("\noptimizer ") == again.count("\noptimizer ") == 1
    assert "report/index.html" in again.splitlines()[-1]


@pytest.mark.thorough
def test_it_advises_to_push_where_there_is_a_remote(workspace: Workspace, tmp_path: Path) -> None:
    style = workspace.folder / "stages" / "report" / "style.css"
    style.write_text(style.read_text() + "/* Edited. */\n")
    output = workspace.run(*RUN)
    assert stages_that_ran(output) == ["sources", "report"]
    assert ADVICE not in output
    workspace.dvc("remote", "add", "--default", "ours", str(tmp_path))
    style.write_text(style.read_text() + "/* Edited again. */\n")
    output = workspace.run(*RUN)
    assert stages_that_ran(output) == ["sources", "report"]
    assert ADVICE in output
