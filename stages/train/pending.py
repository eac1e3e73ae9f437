"""Which optimizers' stages DVC will run after the present one."""

import hashlib
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigError
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from stages.common.params import Params, read_yaml

LOCK = Path("dvc.lock")
PARAMS = "params.yaml"


def find_pending(name: str, params: Params) -> tuple[str, ...]:
    """The other optimizers that have changed since DVC last ran their stage, or lack its outputs.

    None if the user asked DVC for single optimizers, such as by `dvc repro train@adam`, and none
    whose other arguments are searched as well: each of their settings is compiled by itself.
    """
    if params.optimizers[name].search or _is_single():
        return ()
    try:
        stages = read_yaml(LOCK.read_bytes())["stages"]
        raw = read_yaml(Path(PARAMS).read_bytes())
        digest = cache(_digest)  # all depend on the same data
        others = [k for k, entry in params.optimizers.items() if k != name and not entry.search]
        return tuple(k for k in others if _has_changed(stages, f"train@{k}", raw, digest))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError):
        return ()  # dvc.lock is damaged, or of a form that a later DVC writes


def _is_single() -> bool:
    """Whether DVC's command names stages of single optimizers."""
    try:
        commands = [process.cmdline() for process in psutil.Process().parents()]
    except psutil.Error:
        return True
    return any(word.startswith("train@") for command in commands for word in command)


def _has_changed(
    stages: dict[str, Any], stage: str, raw: dict[str, Any], digest: Callable[[str], str]
) -> bool:
    if stage not in stages:
        return True
    locked = stages[stage]
    return (
        any(digest(dep["path"]) != dep["md5"] for dep in locked["deps"])
        or any(_value(raw, key) != value for key, value in locked["params"][PARAMS].items())
        or any(_is_lost(out["path"], out["md5"]) for out in locked["outs"])
    )


def _is_lost(path: str, md5: str) -> bool:
    """Whether an output is neither there nor in DVC's cache, as in a fresh clone."""
    if Path(path).exists():
        return False
    config = ConfigParser()
    config.read((".dvc/config", ".dvc/config.local"))
    cached = Path(".dvc", config.get("cache", "dir", fallback="cache"))
    return not (cached / "files" / "md5" / md5[:2] / md5[2:]).exists()


def _digest(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _value(raw: dict[str, Any], key: str) -> Any:
    found: Any = raw
    for part in key.split("."):
        found = found[part]
    return found
