"""What decides a trial's bits beside its settings."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from stages.common.imports import imported_files
from stages.engine.environment import Environment, describe_environment, digest_source
from tests.conftest import PROJECT

TRAINING = Path("stages/engine/training.py")
SOURCE = '''"""A module."""

RATE = 0.1


class Model:
    """A class."""

    name = "mlp"

    def fit(self, steps):
        """A function."""
        return self.name if steps else f"no {RATE}"
'''


def digest(folder: Path, source: str, name: str = "module.py") -> str:
    (folder / name).write_text(source)
    return digest_source((Path(name),), folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 0.1", "RATE  =  0.1  # a tenth"),
        ("RATE = 0.1", "# A tenth.\n\n\nRATE = 0.1\n# Of one."),
        ("RATE = 0.1", "RATE = \\\n    0.1"),
        ("RATE = 0.1\n\n\n", "RATE = 0.1\n"),
        ('    name = "mlp"\n\n', '    name = "mlp"\n        # Of the model.\n'),
        ("fit(self, steps)", "fit(\n        self,  # itself\n        steps\n    )"),
        ('"""A module."""', '"""Another.\n\nOf several lines.\n"""'),
        ('"""A class."""', '"""Another."""'),
        ('"""A class."""', "'Another.'"),
        ('"""A class."""', 'r"""Another\\."""'),
        ('"""A function."""', '"""Another."""'),
        ('"""A function."""', '# It fits.\n        """Another."""'),
        ('"""A module."""\n', ""),
        ('    """A class."""\n', ""),
        ('        """A function."""\n', ""),
    ],
)
def test_comments_spacing_and_docstrings_do_not_count(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    changed = SOURCE.replace(old, new)
    compile(changed, "module.py", "exec")
    assert digest(tmp_path, changed) == digest(tmp_path, SOURCE)


@pytest.mark.parametrize(
    "changed",
    [SOURCE.replace("\n", "\r\n"), SOURCE.replace("    ", "  "), SOURCE.rstrip()],
    ids=["ends of lines", "indentation", "end of the file"],
)
def test_layout_of_a_whole_file_does_not_count(tmp_path: Path, changed: str) -> None:
    (tmp_path / "module.py").write_bytes(changed.encode())
    found = digest_source((Path("module.py"),), tmp_path)
    assert found == digest(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("RATE =", "rate ="),
        ('"mlp"', '"cnn"'),
        ('"no {RATE}"', '"not {RATE}"'),
        ("else f", "else "),
        ("if steps", "if not steps"),
        ("        return", "        steps = 1\n        return"),
        ("        return", "        if steps:\n            steps = 1\n        return"),
        ('    name = "mlp"', '    name = ("mlp" "p")'),
        ('    name = "mlp"', '    name = "mlp"\n    "{}".format(print())'),
        ("class Model:", "@print\nclass Model:"),
    ],
)
def test_code_and_its_strings_count(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    changed = SOURCE.replace(old, new)
    compile(changed, "module.py", "exec")
    assert digest(tmp_path, changed) != digest(tmp_path, SOURCE)


def test_a_string_that_begins_a_statement_counts_where_the_statement_does_something(
    tmp_path: Path,
) -> None:
    def source(text: str) -> str:
        return f"found = []\n{text!r}.join(found)\n{text!r} in found or found.append(1)\n"

    assert digest(tmp_path, source("a")) != digest(tmp_path, source("b"))


def test_where_a_block_ends_counts(tmp_path: Path) -> None:
    inside = "for x in range(3):\n    y = x\n    z = y\n"
    outside = "for x in range(3):\n    y = x\nz = y\n"
    assert digest(tmp_path, inside) != digest(tmp_path, outside)


def test_the_names_of_files_count(tmp_path: Path) -> None:
    assert digest(tmp_path, SOURCE) != digest(tmp_path, SOURCE, "other.py")


def test_every_file_counts(tmp_path: Path) -> None:
    one = digest(tmp_path, "x = 1\n", "one.py"), digest(tmp_path, "x = 1\n", "two.py")
    both = digest_source((Path("one.py"), Path("two.py")), tmp_path)
    assert both not in one
    digest(tmp_path, "x = 2\n", "two.py")
    assert digest_source((Path("one.py"), Path("two.py")), tmp_path) != both


def test_the_digest_is_of_all_that_training_imports() -> None:
    files = imported_files([PROJECT / TRAINING])
    assert describe_environment().source == digest_source(files)
    engine = {path.name for path in files if path.parent == TRAINING.parent}
    assert engine == {
        "averaging.py",
        "determinism.py",
        "environment.py",
        "loop.py",
        "models.py",
        "objective.py",
        "optimizers.py",
        "training.py",
        "trial.py",
    }
    common = {path.name for path in files if path.parent.name == "common"}
    assert {"params.py", "runs.py", "data.py", "files.py"} <= common
    assert {path.parent.as_posix() for path in files} == {"stages/common", "stages/engine"}


def test_every_part_of_the_environment_decides_but_for_the_processor_under_xla() -> None:
    environment = describe_environment()
    others = {
        "python": "2.7",
        "versions": {"keras": "3.0.0"},
        "source": "another",
        "xla_flags": "--another",
        "devices": ("another",),
        "processor": ("ANOTHER",),
    }
    assert set(others) == {field.name for field in fields(Environment)}
    for name, value in others.items():
        changed = replace(environment, **{name: value})  # type: ignore[arg-type]
        for jit_compile in (True, False):
            is_same = changed.deciding(jit_compile=jit_compile) == environment.deciding(
                jit_compile=jit_compile
            )
            assert is_same == (name == "processor" and jit_compile)
