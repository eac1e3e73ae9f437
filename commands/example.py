"""`make example NAME=table`: runs an example in a folder of its own, `.cache/examples/NAME`.

It is a copy of the pipeline with the example's parameters, data and code, so the project's own
results stay as they are.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from stages.common.console import notice, run_stage
from stages.common.errors import InputError, quoted
from stages.common.files import locate_cache
from stages.common.imports import PROJECT

EXAMPLES = PROJECT / "examples"
# The files that the pipeline consists of.
_CONTENT = (
    ".dvc/config",
    ".dvc/plots",
    ".dvcignore",
    "commands",
    "data/custom/README.md",
    "dvc.yaml",
    "models",
    "optimizers",
    "stages",
)
# Sections that an example replaces as a whole, rather than key by key.
_WHOLE = ("model", "optimizers")
_CODE = ("models", "optimizers")


def main() -> None:
    names = sorted(path.parent.name for path in EXAMPLES.glob("*/params.yaml"))
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in names:
        raise InputError(
            f"make example NAME=…: no example {quoted(name)}; there are {', '.join(names)}"
        )
    folder = locate_cache("examples") / name
    lay_out(EXAMPLES / name, folder)
    notice(f"{name}: runs in {folder}")
    status = subprocess.run((sys.executable, "-m", "commands.run"), cwd=folder, check=False)
    if status.returncode:
        sys.exit(status.returncode)
    print(f"\nThe example is in {folder}: its page is {folder}/report/index.html")


def lay_out(example: Path, folder: Path) -> None:
    """Sets up the example's pipeline in the folder; what an earlier run trained there is kept."""
    for name in _CONTENT:
        _copy(PROJECT / name, folder / name)
    for name in _CODE:
        if (example / name).exists():
            _copy(example / name, folder / name)
    local = folder / ".dvc" / "config.local"
    local.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    yaml = YAML()
    params = yaml.load((PROJECT / "params.yaml").read_bytes())
    for section, changes in YAML(typ="safe").load((example / "params.yaml").read_bytes()).items():
        params[section] = changes if section in _WHOLE else {**params[section], **changes}
    with (folder / "params.yaml").open("wb") as file:
        yaml.dump(params, file)
    if (example / "make_data.py").exists():
        script = (example / "make_data.py").absolute()
        subprocess.run((sys.executable, script), cwd=folder, check=True)  # noqa: S603


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


if __name__ == "__main__":
    run_stage(main)
