"""`python -m stages.sources`: records the code that each stage, and each optimizer's trials, run.

Stages depend on these records and not on the files themselves, so that comments and docstrings are
no change, and `dvc.lock` stays short. Each train stage depends on its own optimizer's record: an
edit of a custom optimizer trains that one again and no other, one of a custom network trains all.
"""

from collections.abc import Iterable
from pathlib import Path

from stages.common.console import run_stage
from stages.common.data import SOURCES
from stages.common.files import Json
from stages.common.imports import PROJECT, digest_code, imported_files
from stages.common.own import name_of, trial_files
from stages.common.params import load_params

_STAGES = PROJECT / "stages"
# What the page is made of besides code.
_MATERIAL = {".css", ".j2", ".js"}


def main() -> None:
    params = load_params()
    for name, optimizer in params.optimizers.items():
        _record("optimizers", name, trial_files(name, params.model, optimizer))
    for program in sorted(_STAGES.glob("*/__main__.py")):
        folder = program.parent
        material = (path for path in folder.rglob("*") if path.suffix in _MATERIAL)
        files = (*imported_files([program]), *(path.relative_to(PROJECT) for path in material))
        _record("stages", folder.name, files)


def _record(kind: str, name: str, files: Iterable[Path]) -> None:
    digests = {name_of(path): digest_code(PROJECT / path) for path in sorted(files)}
    record = Json(f"{name}.json", dict[str, dict[str, str]])
    record.write(SOURCES / kind, {"sha256": digests})


run_stage(main)
