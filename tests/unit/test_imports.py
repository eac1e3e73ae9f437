"""Which files of a project an import runs, told without running any of them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.common import imports
from stages.common.imports import digest_code, imported_files
from tests.conftest import PROJECT


def closure(root: Path, files: Mapping[str, str], start: str = "start.py") -> list[str]:
    """What `imported_files` finds from one file of a project of these files, itself left out."""
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    found = imported_files([Path(start)], root)
    return [path.as_posix() for path in found if path != Path(start)]


@pytest.mark.parametrize(
    "line",
    [
        "import a.b",
        "import os, a.b as c",
        "from a import b",
        "from a import b as c",
        "from a import (\n    x,\n    b,\n)",
        "from a.b import f",
        "from a.b import *",
        "def late():\n    import a.b",
        "class Late:\n    def late(self):\n        from a.b import f",
        "try:\n    import a.b\nexcept ImportError:\n    pass",
        "if False:\n    from a import b",
        "from .a import b",
        "from . import a\nfrom .a.b import f",
    ],
)
def test_an_import_is_found_wherever_and_however_it_is_written(tmp_path: Path, line: str) -> None:
    files = {"start.py": line, "a/b.py": "def f(): ...", "a/c.py": "", "b.py": "", "f.py": ""}
    assert closure(tmp_path, files) == ["a/b.py"]


def test_imports_of_imports_are_found(tmp_path: Path) -> None:
    files = {
        "start.py": "import a",
        "a.py": "from b.c import d",
        "b/c.py": "def f():\n    import e",
        "e.py": "",
        "unused.py": "import a",
    }
    assert closure(tmp_path, files) == ["a.py", "b/c.py", "e.py"]


def test_what_is_imported_from_a_module_may_be_a_module_or_a_name(tmp_path: Path) -> None:
    files = {"start.py": "from a import b, c", "a/__init__.py": "c = 1", "a/b.py": "", "c.py": ""}
    assert closure(tmp_path, files) == ["a/__init__.py", "a/b.py"]


def test_importing_a_module_runs_the_packages_that_it_is_in(tmp_path: Path) -> None:
    files = {
        "start.py": "import a.b.c",
        "a/__init__.py": "import by_a",
        "a/b/__init__.py": "from .d import x",
        "a/b/c.py": "",
        "a/b/d.py": "",
        "a/e.py": "",
        "by_a.py": "",
    }
    expected = ["a/__init__.py", "a/b/__init__.py", "a/b/c.py", "a/b/d.py", "by_a.py"]
    assert closure(tmp_path, files) == expected


def test_running_a_module_runs_the_packages_that_it_is_in(tmp_path: Path) -> None:
    files = {"a/__init__.py": "import by_a", "a/start.py": "", "by_a.py": ""}
    assert closure(tmp_path, files, "a/start.py") == ["a/__init__.py", "by_a.py"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from . import near", "a/b/near.py"),
        ("from .near import x", "a/b/near.py"),
        ("from .c import deep", "a/b/c/deep.py"),
        ("from .. import far", "a/far.py"),
        ("from ..far import x", "a/far.py"),
        ("from ...top import x", "top.py"),
    ],
)
def test_a_relative_import_starts_at_its_own_package(
    tmp_path: Path, line: str, expected: str
) -> None:
    modules = ("near.py", "far.py", "top.py", "a/far.py", "a/b/near.py", "a/b/c/deep.py")
    files = {"a/b/start.py": line, **dict.fromkeys(modules, "")}
    assert closure(tmp_path, files, "a/b/start.py") == [expected]


def test_a_relative_import_of_a_package_starts_at_the_package(tmp_path: Path) -> None:
    files = {"start.py": "import a", "a/__init__.py": "from . import b", "a/b.py": "", "b.py": ""}
    assert closure(tmp_path, files) == ["a/__init__.py", "a/b.py"]


def test_modules_may_import_each_other(tmp_path: Path) -> None:
    files = {
        "start.py": "import a",
        "a.py": "import b\nimport a",
        "b.py": "import a\nimport start",
    }
    assert closure(tmp_path, files) == ["a.py", "b.py"]


def test_what_lies_outside_the_project_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("")
    source = "import os.path, numpy as np\nfrom pathlib import Path\nimport outside, nowhere.at_all"
    assert closure(tmp_path / "project", {"start.py": source}) == []


def test_neither_texts_nor_comments_import(tmp_path: Path) -> None:
    source = '"""import a"""\n# import a\nx = "from a import b"\n'
    assert closure(tmp_path, {"start.py": source, "a.py": ""}) == []


def test_several_modules_have_one_closure_in_order_themselves_included(tmp_path: Path) -> None:
    closure(tmp_path, {"start.py": "", "z.py": "import c", "b.py": "import c", "c.py": ""})
    found = imported_files([tmp_path / "z.py", Path("b.py")], tmp_path)
    assert found == (Path("b.py"), Path("c.py"), Path("z.py"))


@pytest.mark.parametrize("source", ["import", "x = (", "\0"])
def test_a_module_that_is_no_python_is_an_error(tmp_path: Path, source: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        closure(tmp_path, {"start.py": "import a", "a.py": source})


def test_a_module_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        imported_files([Path("missing.py")], tmp_path)


def test_nothing_of_a_module_is_run(tmp_path: Path) -> None:
    files = {"start.py": "import a\nraise SystemExit", "a.py": "raise SystemExit"}
    assert closure(tmp_path, files) == ["a.py"]


def test_a_stage_imports_what_it_is_known_to() -> None:
    found = {path.as_posix() for path in imported_files([PROJECT / "stages/train/__main__.py"])}
    assert "stages/train/tuning.py" in found  # within a function
    assert "stages/engine/cluster.py" in found  # in a function of another module
    assert "stages/common/files.py" in found
    assert not any(name.startswith(("stages/evaluate/", "stages/report/")) for name in found)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"imports": [], "sha256": 1}'])
def test_what_was_kept_about_a_file_is_used_unless_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "a.py"
    source.write_text("import b")
    imports._analyse.cache_clear()
    right = digest_code(source)
    (kept,) = tmp_path.glob(".cache/code/*")
    content = kept.read_bytes()
    imports._analyse.cache_clear()
    kept.write_bytes(content.replace(right.encode(), b"kept"))
    assert digest_code(source) == "kept"
    imports._analyse.cache_clear()
    kept.write_bytes(damage)
    assert digest_code(source) == right
    assert kept.read_bytes() == content
