"""The examples, and what reruns after an edit of one's own data and code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from commands.example import EXAMPLES, lay_out
from stages.common.params import load_params
from stages.common.results import METRICS
from stages.engine.optimizers import check_optimizers
from tests.conftest import mainly
from tests.parameters import COMMITTED, SMALL
from tests.pipeline.conftest import Workspace

NAMES = {path.parent.name for path in EXAMPLES.glob("*/params.yaml")}
AFTER_TRAINING = ["confirm", "evaluate", "report"]
TRAINED = {
    name: [
        f"train@{key}"
        for key in yaml.safe_load((EXAMPLES / name / "params.yaml").read_bytes())["optimizers"]
    ]
    for name in NAMES
}


def make_small(folder: Path) -> None:
    """Little work: one setting, the first look, two epochs."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_bytes())
    small: dict[str, dict[str, Any]] = {key: SMALL[key] for key in ("tuning", "confirmation")}
    small["train"] = {"epochs": 2, "jit_compile": False}
    for section, changes in small.items():
        params[section] |= changes
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    lay_out(EXAMPLES / request.param, tmp_path)
    make_small(tmp_path)
    return Workspace(tmp_path)


def add_a_picture(workspace: Workspace) -> list[str]:
    picture = Image.fromarray(np.full((8, 8), 100, np.uint8))
    picture.save(workspace.folder / "data/custom/digits/train/7/another.png")
    return workspace.reproduce("preprocess")


def add_a_row(workspace: Workspace) -> list[str]:
    with (workspace.folder / "data/custom/wine.csv").open("a", encoding="utf-8") as file:
        file.write("13,,2,17,100,2,2,0.3,1.5,5,1,3,700,light,class_1\n")
    return workspace.reproduce("preprocess")


def judge_by_another_score(workspace: Workspace) -> list[str]:
    workspace.edit("params.yaml", "score: auto", "score: mean_absolute_error")
    return workspace.reproduce("preprocess")


def edit_the_network(workspace: Workspace) -> list[str]:
    (workspace.folder / "models/unused.py").write_text("X = 1\n", encoding="utf-8")
    assert workspace.reproduce() == ["sources"]
    workspace.edit(
        "models/residual.py", 'layers.Dense(width, "relu")', 'layers.Dense(width, "elu")'
    )
    return workspace.reproduce("sources")


def edit_the_optimizer(workspace: Workspace) -> list[str]:
    old = "self.momentum * mean + (1 - self.momentum) * gradient"
    workspace.edit("optimizers/signsgd.py", old, f"0.5 * ({old})")
    return workspace.reproduce("sources")


# What reruns first, and what DVC then knows to be out of date.
EDITS: dict[str, tuple[Callable[[Workspace], list[str]], list[str], set[str]]] = {
    "own_network": (edit_the_network, ["sources"], set(TRAINED["own_network"])),
    "own_optimizer": (edit_the_optimizer, ["sources"], {"train@signsgd"}),
    "pictures": (add_a_picture, ["download", "preprocess"], set(TRAINED["pictures"])),
    "regression": (
        judge_by_another_score,
        [],
        {*TRAINED["regression"], "confirm", "evaluate", "report"},
    ),
    "table": (
        add_a_row,
        ["download", "preprocess"],
        {*TRAINED["table"], "confirm", "evaluate"},
    ),
}


@pytest.mark.parametrize("name", sorted(NAMES - EDITS.keys()))
def test_the_optimizers_of_an_example_that_takes_long_can_be_built(
    name: str, tmp_path: Path
) -> None:
    lay_out(EXAMPLES / name, tmp_path)
    params = load_params(tmp_path / "params.yaml")
    assert params.train.epochs == COMMITTED.train.epochs
    assert all(optimizer.search for optimizer in params.optimizers.values())
    check_optimizers(params.optimizers)


@pytest.mark.parametrize(
    ("example", "name"),
    mainly([("regression", "regression")], [(name, name) for name in sorted(EDITS)]),
    indirect=["example"],
)
def test_an_example_ends_in_an_answer_and_an_edit_reruns_what_it_must(
    example: Workspace, name: str
) -> None:
    ran = ["sources", "download", "preprocess", *TRAINED[name], *AFTER_TRAINING]
    assert sorted(example.reproduce()) == sorted(ran)
    metrics = METRICS.read(example.folder)
    assert [f"train@{key}" for key in metrics.optimizers] == sorted(TRAINED[name])
    assert metrics.best in metrics.optimizers
    assert example.reproduce() == []
    edit, expected, outdated = EDITS[name]
    assert edit(example) == expected
    assert set(example.reproduce("--dry")) >= outdated
    if name.startswith("own"):
        assert set(example.reproduce("--dry")) == outdated


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_example_says_in_few_lines_how_to_run_it(name: str) -> None:
    lines = (EXAMPLES / name / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 12
    assert any(f"`make example NAME={name}`" in line for line in lines)
