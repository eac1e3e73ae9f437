"""What stands beside the results: the best model as an artifact of DVC's, and measured costs."""

import json
import sys

import pytest
import yaml

from tests.pipeline.conftest import Workspace


def test_the_artifact_is_the_model_of_the_best_optimizer(workspace: Workspace) -> None:
    declared = yaml.safe_load((workspace.folder / "dvc.yaml").read_text(encoding="utf-8"))
    path = declared["artifacts"]["best-model"]["path"]
    best = json.loads((workspace.folder / "metrics.json").read_text(encoding="utf-8"))["best"]
    expected = workspace.contents(f"runs/{best}/model.keras").values()
    assert list(workspace.contents(path).values()) == list(expected)

    # As somebody who has the repository and the cache, but not this working tree.
    workspace.dvc("get", ".", path, "--out", "model.keras")
    assert list(workspace.contents("model.keras").values()) == list(expected)


@pytest.mark.thorough
def test_costs_are_on_a_page_beside_the_results(workspace: Workspace) -> None:
    before = workspace.contents("report", "evaluation", "dvc.lock")
    told = workspace.run(sys.executable, "-m", "commands.cost")
    rows = dict(line.split() for line in told.splitlines() if line.startswith(("sgd", "gentle")))
    assert all(float(rows[name]) > 0 for name in ("sgd", "gentle"))
    after = workspace.contents("report", "evaluation", "dvc.lock")
    page = after.pop("report/cost.html").decode()
    assert after == before
    assert "time per step" in page
    assert "time per step" not in before["report/index.html"].decode()
    assert "up to date" in workspace.dvc("status")
