"""Code of the user's own that `params.yaml` names: `optimizers/signsgd.py:SignSGD`."""

import importlib
import re
import traceback
from pathlib import Path
from typing import Any

from stages.common.errors import InputError, one_line, quoted
from stages.common.imports import PROJECT, imported_files

# DVC watches these folders.
FOLDERS = ("optimizers",)
_REFERENCE = re.compile(r"(?P<path>[\w/]{1,80}\.py):(?P<name>\w{1,80})")


def is_own(reference: str) -> bool:
    """Whether the text names own code rather than a class of Keras's."""
    return ":" in reference


def own_files(key: str, reference: str, root: Path = PROJECT) -> tuple[Path, ...]:
    """The project's files that own code imports, its own file included; none for Keras's.

    Args:
        key: Of `params.yaml`, for messages.
        reference: `FOLDER/FILE.py:NAME`, or the name of a class of Keras's.
        root: The project's folder.

    Returns:
        Paths relative to `root`.

    Raises:
        InputError: If there is no such file, it cannot be parsed, or DVC would not notice an edit.
    """
    if not is_own(reference):
        return ()
    path, _ = _split(key, reference)
    if not (root / path).is_file():
        raise InputError(f"params.yaml: {key}: no file {quoted(str(path))}")
    try:
        files = imported_files([path], root)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    for file in files:
        if file.parts[0] not in FOLDERS:
            raise InputError(
                f"{path}: imports {file}, where DVC would not notice an edit; move it to "
                f"{FOLDERS[0]}"
            )
    return files


def load_own(key: str, reference: str) -> Any:
    """The object that the reference names; arguments as above.

    Raises:
        InputError: If the file cannot be imported or has no such name.
    """
    path, name = _split(key, reference)
    try:
        module = importlib.import_module(".".join(path.with_suffix("").parts))
    except Exception as error:  # noqa: BLE001, a person's own code may raise any
        *_, last = traceback.extract_tb(error.__traceback__)
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(
            f"{path}: cannot be imported: {reason} ({last.filename}, line {last.lineno})"
        ) from None
    if not hasattr(module, name):
        raise InputError(f"params.yaml: {key}: {path} has no {quoted(name)}")
    return getattr(module, name)


def _split(key: str, reference: str) -> tuple[Path, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None or Path(match["path"]).parts[0] not in FOLDERS:
        raise InputError(
            f"params.yaml: {key}: should be like {FOLDERS[0]}/FILE.py:NAME (is {quoted(reference)})"
        )
    return Path(match["path"]), match["name"]
