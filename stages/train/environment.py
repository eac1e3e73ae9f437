"""What decides a trial's bits beside its settings: code, versions, kind of machine."""

import hashlib
import os
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

VERSIONS = {"keras": keras.__version__, "numpy": np.__version__, "tensorflow": tf.__version__}
# Whose source decides the numbers.
_FOLDER = Path(__file__).parent
_FILES = (
    _FOLDER.parent / "common" / "determinism.py",
    *(_FOLDER / f"{name}.py" for name in ("loop", "models", "optimizers", "trial", "work")),
)


@dataclass(frozen=True)
class Environment:
    """Where a trial runs.

    `processor` names the instructions beyond NumPy's baseline, such as `AVX512_SKX`; `python`
    decides no bit, but how `source` is read.
    """

    python: str
    versions: Mapping[str, str]
    source: str
    xla_flags: str
    devices: tuple[str, ...]
    processor: tuple[str, ...]

    def deciding(self, *, jit_compile: bool) -> dict[str, Any]:
        """What the bits depend on; what XLA compiles is the same on every processor."""
        return {
            "python": self.python,
            "versions": dict(self.versions),
            "source": self.source,
            "xla_flags": self.xla_flags,
            "devices": list(self.devices),
            "processor": [] if jit_compile else list(self.processor),
        }


@cache
def describe_environment() -> Environment:
    """This process's environment."""
    devices = tf.config.list_physical_devices()
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    names = {
        d.get("device_name", device.device_type) for d, device in zip(details, devices, strict=True)
    }
    return Environment(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        versions=VERSIONS,
        source=digest_source(_FILES),
        xla_flags=os.environ["XLA_FLAGS"],
        devices=tuple(sorted(names)),
        processor=tuple(np.show_config(mode="dicts")["SIMD Extensions"].get("found", ())),
    )


def digest_source(files: tuple[Path, ...]) -> str:
    """SHA-256 of code; comments and spacing do not count."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as source:
            for token in tokenize.tokenize(source.readline):
                if token.type not in (tokenize.COMMENT, tokenize.NL):
                    digest.update(f"{token.type} {token.string}\n".encode())
    return digest.hexdigest()
