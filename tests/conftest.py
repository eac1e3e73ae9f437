"""What all tests share."""

import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

from stages.engine.determinism import set_up_tensorflow

# A machine that others use as well may be slow.
SUITE = hypothesis.settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("suite", SUITE)
hypothesis.settings.load_profile("suite")

PROJECT = Path(__file__).parent.parent
# The name of a trial's file in the store, as a pattern.
DIGEST = 64 * "[0-9a-f]"
SHARED_DATA = PROJECT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="skip what imports TensorFlow")


class _NoTensorFlow:
    """Skips a test, or a module of tests, in the moment in which it imports TensorFlow."""

    def find_spec(self, name: str, *_: object) -> None:
        if name in {"keras", "tensorflow"}:
            pytest.skip("needs TensorFlow", allow_module_level=True)


def pytest_configure(config: pytest.Config) -> None:
    """Imports TensorFlow where tests run: not in the process that only starts those that do."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    # Stages that a test starts train by themselves, since tests fill the cores.
    os.environ.setdefault("TRAIN_WORKERS", "1")
    if config.getoption("quick"):
        hypothesis.settings.register_profile("quick", parent=SUITE, max_examples=10)
        hypothesis.settings.load_profile("quick")
        sys.meta_path.insert(0, _NoTensorFlow())
        return
    # TensorFlow's own modules warn while they are imported, which is no fault of this project; the
    # import stands here, once, so that everywhere else a warning is an error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_up_tensorflow()
        import keras  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest test, lest it run alone at the end."""
    items.sort(key=lambda item: item.name != "test_a_fresh_clone_ends_in_the_committed_bytes")


def thorough(*cases: Any) -> list[Any]:
    """Cases of a test that only `make test-all` tries; a tuple is the values of one case."""
    tuples = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*values, marks=pytest.mark.thorough) for values in tuples]


def mainly(usual: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """All the cases; `make test` tries the usual ones alone."""
    return [*usual, *thorough(*(case for case in cases if case not in usual))]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; elsewhere the test says that it skips."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no {SHARED_DATA}: real data for trials, not part of the repository")
    return SHARED_DATA


@contextmanager
def lock_shared(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A path that all of pytest-xdist's workers share, for one of them at a time."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / f"{name}.lock"):
        yield folder / name


def git_environment() -> dict[str, str]:
    """This one, with nobody's settings for Git and somebody's name."""
    nobodys = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "somebody", "EMAIL": "somebody@example.org"}
    names = {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in person.items()}
    return nobodys | names | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    """Files of the folder, and what its folders hold, by their paths in it."""
    files = (file for name in names for file in (folder / name, *(folder / name).rglob("*")))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}
