"""What a trial's result depends on besides its settings: code, versions, kind of machine."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.imports import PROJECT, digest_code, imported_files
from stages.common.own import name_of, trial_files
from stages.common.params import Params
from stages.engine.determinism import has_nvidia_gpu

# The environment variable that sends trials to a Dask cluster.
SCHEDULER = "DASK_SCHEDULER_ADDRESS"


@dataclass(frozen=True)
class Environment:
    """The software and the kind of machine that a trial runs on.

    `processor` names the instructions beyond NumPy's baseline, such as `AVX512_SKX`. `python` does
    not affect results; it is kept because `source` is computed from this version's syntax tree.
    """

    python: str
    versions: Mapping[str, str]
    source: str
    xla_flags: str
    devices: tuple[str, ...]
    processor: tuple[str, ...]

    def deciding(self, *, jit_compile: bool) -> dict[str, Any]:
        """The part that results depend on; with XLA, that leaves out the processor."""
        return asdict(replace(self, processor=()) if jit_compile else self)


def describe_machine() -> dict[str, Any] | None:
    """What results depend on of this machine, told without TensorFlow.

    Returns:
        None where TensorFlow has to be asked: on a machine with other devices than the processor,
        or with other builds of the packages; and where trials run on a cluster.
    """
    tensorflow = find_spec("tensorflow")
    if tensorflow is None or tensorflow.origin is None:
        return None
    plugins = Path(tensorflow.origin).parents[1] / "tensorflow-plugins"
    if plugins.exists() or has_nvidia_gpu() or os.environ.get(SCHEDULER):
        return None
    builds = {name for name in ("tensorflow", "tensorflow-cpu") if _is_installed(name)}
    if len(builds) != 1:
        return None
    return {
        "python": _python(),
        "versions": {name: version(name) for name in (*builds, "keras", "numpy")},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "processor": _processor(),
    }


@cache
def describe_environment() -> Environment:
    """This process's environment, once TensorFlow is set up."""
    import keras
    import tensorflow as tf

    devices = tf.config.list_physical_devices()
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    names = {
        d.get("device_name", device.device_type) for d, device in zip(details, devices, strict=True)
    }
    return Environment(
        python=_python(),
        versions={
            "keras": keras.__version__,
            "numpy": np.__version__,
            "tensorflow": tf.__version__,
        },
        source=digest_source(imported_files([Path(__file__).with_name("training.py")])),
        xla_flags=os.environ["XLA_FLAGS"],
        devices=tuple(sorted(names)),
        processor=_processor(),
    )


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _processor() -> tuple[str, ...]:
    return tuple(np.show_config(mode="dicts")["SIMD Extensions"].get("found", ()))


def digest_own(name: str, params: Params) -> str:
    """SHA-256 of the user's own code that this optimizer's trials run; empty if there is none."""
    files = trial_files(name, params.model, params.optimizers[name])
    return digest_source(files) if files else ""


def digest_source(files: Iterable[Path], root: Path = PROJECT) -> str:
    """SHA-256 of code, leaving out comments, layout and docstrings.

    Args:
        files: Relative to `root`, or absolute; their names are part of the digest.
        root: The folder that they are in.
    """
    lines = (f"{name_of(path)} {digest_code(root / path)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
