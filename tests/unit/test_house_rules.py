"""The rules that keep DVC's caching right: what a stage imports, reads and depends on."""

import ast
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.imports import imported_files
from stages.common.params import Params
from tests.conftest import PROJECT

STAGES = ("sources", "download", "preprocess", "train", "confirm", "evaluate", "report")
LIBRARIES = ("common", "engine", "inference")
WITH_TENSORFLOW = {"train", "confirm"}
FILES_WITH_TENSORFLOW = {
    "stages/confirm/network.py",
    "stages/engine/environment.py",
    "stages/engine/averaging.py",
    "stages/engine/loop.py",
    "stages/engine/models.py",
    "stages/engine/objective.py",
    "stages/engine/optimizers.py",
    "stages/engine/training.py",
}


def trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((PROJECT / "stages" / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def code_of(stage: str) -> list[str]:
    """The files of the project that a stage imports, and what else its folder holds."""
    main = Path("stages", stage, "__main__.py")
    folder = (PROJECT / "stages" / stage).rglob("*")
    others = [path for path in folder if path.suffix in {".css", ".j2", ".js"}]
    files = (*imported_files([main]), *(path.relative_to(PROJECT) for path in others))
    return sorted(map(str, files))


def declared(stage: str) -> dict[str, Any]:
    entry = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    found: dict[str, Any] = entry.get("do", entry)
    return found


@pytest.mark.parametrize("folder", [*LIBRARIES, *STAGES])
def test_a_stage_imports_its_own_folder_and_libraries_but_no_other_stage(folder: str) -> None:
    files = [path.relative_to(PROJECT) for path, _ in trees(folder)]
    used = {path.parts[1] for path in imported_files(files) if path.parts[0] == "stages"}
    allowed = {"common", folder} if folder in LIBRARIES else {*LIBRARIES, folder}
    assert used <= allowed


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_files_that_it_imports(stage: str) -> None:
    code = [dep for dep in declared(stage)["deps"] if "stages" in dep]
    assert code == ["stages" if stage == "sources" else f"data/sources/stages/{stage}.json"]


def test_the_record_of_a_stage_has_exactly_the_files_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    runpy.run_module("stages.sources", run_name="__main__", alter_sys=True)
    for stage in STAGES:
        record = json.loads((tmp_path / f"data/sources/stages/{stage}.json").read_bytes())
        assert list(record["sha256"]) == code_of(stage)


def test_every_file_of_the_stages_is_imported_by_one() -> None:
    used = {file for stage in STAGES for file in code_of(stage)}
    history = imported_files([Path("stages/report/history.py")])
    found = {str(path.relative_to(PROJECT)) for path in (PROJECT / "stages").rglob("*.py")}
    assert (
        found - used
        == set(map(str, history)) - used
        == {
            "stages/report/history.py",
            "stages/report/past.py",
        }
    )


def test_tensorflow_is_imported_by_these_files_alone() -> None:
    roots = {
        str(path.relative_to(PROJECT)): {
            (node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name).split(
                "."
            )[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        for path, tree in trees("")
    }
    assert {f for f in roots if roots[f] & {"keras", "tensorflow"}} == FILES_WITH_TENSORFLOW


@pytest.mark.parametrize("stage", STAGES)
def test_only_stages_that_need_tensorflow_can_reach_it(stage: str) -> None:
    assert bool(set(code_of(stage)) & FILES_WITH_TENSORFLOW) == (stage in WITH_TENSORFLOW)


def test_nothing_is_called_at_import_but_what_makes_a_value() -> None:
    statements = {
        str(path.relative_to(PROJECT)): ast.unparse(node)
        for path, tree in trees("")
        for node in tree.body
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    }
    assert statements == {
        str(path.relative_to(PROJECT)): "run_stage(main)"
        for path, _ in trees("")
        if path.name == "__main__.py"
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str) -> None:
    libraries = {"train": ["train", "engine"], "confirm": ["confirm", "engine"]}
    read = {
        node.attr
        for folder in libraries.get(stage, [stage])
        for _, tree in trees(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) == "params"
        and node.attr in Params.model_fields
    }
    assert read == {name.split(".")[0] for name in declared(stage)["params"]}


def test_training_cannot_see_the_test_images() -> None:
    data = [dep for dep in declared("train")["deps"] if dep.startswith("data/")]
    assert sorted(data) == [
        "data/processed/dataset.json",
        "data/processed/train.npz",
        "data/processed/validation.npz",
        "data/sources/optimizers/${key}.json",
        "data/sources/stages/train.json",
    ]


def test_every_stage_of_the_pipeline_is_under_these_rules() -> None:
    pipeline = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    folders = {path.name for path in (PROJECT / "stages").iterdir() if path.name[0] != "_"}
    assert set(pipeline) == set(STAGES) == folders - set(LIBRARIES)
