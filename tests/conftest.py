"""What all tests share."""

import warnings
from pathlib import Path

import pytest

from stages.engine.determinism import set_up_tensorflow

# TensorFlow's own modules warn while they are imported, which is no fault of this project; the
# import stands here, once, so that everywhere else a warning is an error.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    set_up_tensorflow()
    import keras  # noqa: F401

PROJECT = Path(__file__).parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; elsewhere the test says that it skips."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no {SHARED_DATA}: real data for trials, not part of the repository")
    return SHARED_DATA
