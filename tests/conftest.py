"""What all tests share."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

# TensorFlow's own modules warn while they are imported, which is no fault of this project; the
# import stands here, once, so that everywhere else a warning is an error.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import stages.train.loop  # noqa: F401

PROJECT = Path(__file__).parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _spare_garbage_collection() -> Iterator[None]:
    """statsmodels collects garbage whenever it adjusts p-values: a tenth of a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; elsewhere the test says that it skips."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no {SHARED_DATA}: real data for trials, not part of the repository")
    return SHARED_DATA
