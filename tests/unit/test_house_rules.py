"""The rules that keep DVC's caching right: what a stage imports, reads and depends on."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.params import Params
from tests.conftest import PROJECT

STAGES = ("download", "preprocess", "train", "evaluate", "report")
WITH_TENSORFLOW = {"train", "evaluate"}


def modules(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((PROJECT / "stages" / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imports(folder: str) -> set[str]:
    names = set()
    for _, module in modules(folder):
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "an import that is relative hides where it leads"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def declared(stage: str) -> dict[str, Any]:
    entry = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    return entry.get("do", entry)


@pytest.mark.parametrize("folder", ["common", *STAGES])
def test_a_stage_imports_its_own_folder_and_the_common_one_alone(folder: str) -> None:
    used = {name.split(".")[1] for name in imports(folder) if name.startswith("stages.")}
    assert used <= {"common", folder}


@pytest.mark.parametrize("folder", ["common", *STAGES])
def test_only_train_and_evaluate_import_tensorflow(folder: str) -> None:
    roots = {name.split(".")[0] for name in imports(folder)}
    assert bool(roots & {"tensorflow", "keras"}) == (folder in WITH_TENSORFLOW)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_folder_and_the_common_one(stage: str) -> None:
    code = [dep for dep in declared(stage)["deps"] if dep.startswith("stages/")]
    assert code == ["stages/common", f"stages/{stage}"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str) -> None:
    read = {
        node.attr
        for _, module in modules(stage)
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
        and node.attr in Params.model_fields
    }
    assert read == {name.split(".")[0] for name in declared(stage)["params"]}


def test_training_cannot_see_the_test_images() -> None:
    data = [dep for dep in declared("train")["deps"] if dep.startswith("data/")]
    assert sorted(data) == [
        "data/processed/dataset.json",
        "data/processed/train.npz",
        "data/processed/validation.npz",
    ]


def test_every_stage_of_the_pipeline_is_under_these_rules() -> None:
    pipeline = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    folders = {path.name for path in (PROJECT / "stages").iterdir() if path.name[0] != "_"}
    assert set(pipeline) == set(STAGES) == folders - {"common"}
