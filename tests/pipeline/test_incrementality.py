"""Which stages run after which change."""

import json

import pytest

from tests.pipeline.conftest import Workspace

pytestmark = pytest.mark.xdist_group("pipeline")

TRAIN = ["train@sgd", "train@adam"]
CONCLUDE = ["evaluate", "report"]


@pytest.mark.parametrize(
    ("path", "old", "new", "ran"),
    [
        pytest.param("params.yaml", "split:", "# a comment\nsplit:", [], id="comment"),
        pytest.param(
            "params.yaml",
            "learning_rate: 0.001",
            "learning_rate: 0.002",
            ["train@adam", *CONCLUDE],
            id="one optimizer's rate",
        ),
        pytest.param(
            "params.yaml",
            "optimizers:\n",
            "optimizers:\n  lion: {class_name: Lion, learning_rate: 0.001}\n",
            ["train@lion", *CONCLUDE],
            id="new optimizer",
        ),
        pytest.param(
            "params.yaml",
            "seed: 42",
            "seed: 43",
            ["preprocess", *TRAIN, *CONCLUDE],
            id="the split's seed",
        ),
        pytest.param(
            "stages/report/summary.py",
            "# Which optimizer?",
            "# Which one?",
            ["report"],
            id="a line in a report module",
        ),
        # Equal results, so nothing after it runs.
        pytest.param(
            "stages/train/trial.py", '"""One trial', '"""A trial', TRAIN, id="line in train"
        ),
    ],
)
def test_an_edit_runs_the_stages_that_it_touches(
    workspace: Workspace, path: str, old: str, new: str, ran: list[str]
) -> None:
    workspace.edit(path, old, new)
    assert workspace.reproduce() == ran


def test_nothing_runs_where_nothing_changed(workspace: Workspace) -> None:
    assert workspace.reproduce() == []
    assert workspace.git("status", "--porcelain") == ""


def test_a_removed_optimizer_is_gone_from_every_result_and_comes_back_untrained(
    workspace: Workspace,
) -> None:
    params = (workspace.folder / "params.yaml").read_text(encoding="utf-8")
    before, _, _ = params.partition("  adam:")
    (workspace.folder / "params.yaml").write_text(before, encoding="utf-8")
    assert workspace.reproduce() == CONCLUDE
    metrics = json.loads((workspace.folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["optimizers"]) == ["sgd"]
    results = ["metrics.json", "evaluation", "plots", "report", "runs"]
    found = workspace.run(
        "grep", "--recursive", "--files-with-matches", "adam", *results, check=False
    )
    assert found == ""

    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce() == CONCLUDE
    assert workspace.git("status", "--porcelain") == ""


def test_more_epochs_train_all_and_going_back_to_an_earlier_setting_trains_nothing(
    workspace: Workspace,
) -> None:
    workspace.edit("params.yaml", "epochs: 2", "epochs: 3")
    assert workspace.reproduce() == [*TRAIN, *CONCLUDE]
    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce() == CONCLUDE
    assert workspace.git("status", "--porcelain") == ""
