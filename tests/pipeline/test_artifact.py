"""The best model as an artifact of DVC's."""

import json

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
