"""`.venv/bin/dvc repro`, as an editor calls it: without having activated the environment."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import PROJECT, git_environment

HOOK = PROJECT / "commands" / "venv.pth"
PIPELINE = "stages: {report: {cmd: python -c 'import sys; print(sys.prefix)'}}\n"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as `make` installs it, which takes its packages from the one of the tests."""
    folder = tmp_path_factory.mktemp("project") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    shutil.copy(HOOK, packages)
    (packages / "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


def run(venv: Path, *arguments: str, path: str) -> str:
    result = subprocess.run(
        [venv / "bin" / "python", *arguments],
        cwd=venv.parent,
        env=git_environment() | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_stage_runs_in_the_environment_of_its_dvc(venv: Path, tmp_path: Path) -> None:
    others = tmp_path / "python"
    others.write_text("#!/bin/sh\necho another Python\n")
    others.chmod(0o755)
    (venv.parent / "dvc.yaml").write_text(PIPELINE)
    run(venv, "-m", "dvc", "init", "--quiet", "--no-scm", path="/usr/bin:/bin")
    output = run(venv, "-m", "dvc", "repro", path=f"{tmp_path}:/usr/bin:/bin")
    assert str(venv) in output.splitlines()
    assert "another Python" not in output


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "{venv}/bin:/usr/bin:/bin"])
def test_its_programs_come_first_and_once(venv: Path, path: str) -> None:
    show = "import os; print(os.environ['PATH'])"
    found = run(venv, "-c", show, path=path.format(venv=venv)).strip()
    assert found == f"{venv}/bin:/usr/bin:/bin"


def test_make_installs_the_hook() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    assert f"cp {HOOK.relative_to(PROJECT)} " in makefile
