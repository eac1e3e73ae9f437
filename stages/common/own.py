"""The user's own code that `params.yaml` names.

It is named as `FOLDER/FILE.py:NAME`, in one of the folders for such code, or as
`package.module:NAME`.
"""

import importlib
import importlib.util
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from stages.common.errors import InputError, one_line, quoted
from stages.common.imports import PROJECT, imported_files
from stages.common.optimizer_params import Optimizer
from stages.common.params import Model

# DVC watches these folders.
FOLDERS = ("models", "optimizers")
_FILE = re.compile(r"(?P<path>[\w/]{1,80}\.py):(?P<name>\w{1,80})")
_MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.\w+){0,20}):(?P<name>\w{1,80})")


def is_own(reference: str) -> bool:
    """Whether the text names the user's own code rather than something built in."""
    return ":" in reference


def own_files(key: str, reference: str, root: Path = PROJECT) -> tuple[Path, ...]:
    """The files that the user's own code imports, including itself; none for a built-in name.

    Args:
        key: The key of `params.yaml`, for messages.
        reference: `FOLDER/FILE.py:NAME`, `package.module:NAME`, or a built-in name.
        root: The project's folder.

    Returns:
        Paths relative to `root` of everything that is imported from the project. For an installed
        package, only the absolute path of the module's own file.

    Raises:
        InputError: If there is no such file, it cannot be parsed, or DVC would not notice an edit.
    """
    if not is_own(reference):
        return ()
    path = _locate(key, reference, root)
    if path.is_absolute():
        return (path,)
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
                f"{' or '.join(FOLDERS)}"
            )
    return files


def trial_files(name: str, model: Model, optimizer: Optimizer) -> tuple[Path, ...]:
    """The files of the user's own code that this optimizer's trials run; errors as above."""
    files = own_files("model.name", model.name)
    others = own_files(f"optimizers.{name}.class_name", optimizer.class_name)
    return tuple(dict.fromkeys((*files, *others)))


def name_of(path: Path) -> str:
    """A name for the file that is the same on every machine."""
    return path.name if path.is_absolute() else str(path)


def load_own(key: str, reference: str) -> Any:
    """Imports the object that the reference names; arguments as above.

    Raises:
        InputError: If the file cannot be imported or has no such name.
    """
    path = _locate(key, reference, PROJECT)
    module, _, name = reference.partition(":")
    if not path.is_absolute():
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001, a person's own code may raise any
        raise InputError(f"{path}: cannot be imported: {describe(error)}{_where(error)}") from None
    if not hasattr(loaded, name):
        raise InputError(f"params.yaml: {key}: {path} has no {quoted(name)}")
    return getattr(loaded, name)


@contextmanager
def told_in_own_code(key: str, reference: str) -> Iterator[None]:
    """Turns an error of the user's own code into a line that says where it was raised.

    Raises:
        InputError: In place of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, a person's own code may raise any
        raise InputError(
            f"params.yaml: {key}: {reference}: {describe(error)}{_where(error)}"
        ) from None


def describe(error: BaseException) -> str:
    """An exception's kind and text on one line."""
    return one_line(f"{type(error).__name__}: {error}")


def place_in_own_code(error: BaseException) -> str:
    """` (FILE, line N)` for the last line of the user's own code in the traceback, if any."""
    translated = getattr(error, "ag_error_metadata", None)
    frames = [
        *_frames(error.__traceback__),
        # Frames of code that TensorFlow rewrote before running it.
        *((f.filename, f.lineno) for f in getattr(translated, "translated_stack", ())),
    ]
    own = [
        (Path(name).relative_to(PROJECT), line)
        for name, line in frames
        if Path(name).is_relative_to(PROJECT)
    ]
    own = [(path, line) for path, line in own if path.parts[0] in FOLDERS]
    if not own:
        return ""
    path, line = own[-1]
    return f" ({path}, line {line})"


def _where(error: BaseException) -> str:
    if place := place_in_own_code(error):
        return place
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    *_, (name, line) = _frames(error.__traceback__)
    if Path(name).is_relative_to(
        PROJECT / "stages"
    ):  # the call failed, such as by a wrong argument
        return ""
    return f" ({name}, line {line})"


def _frames(trace: TracebackType | None) -> list[tuple[str, int | None]]:
    return [(frame.filename, frame.lineno) for frame in traceback.extract_tb(trace)]


def _locate(key: str, reference: str, root: Path) -> Path:
    """The file: relative to `root` if it is in a folder for the user's code, else absolute."""
    if match := _FILE.fullmatch(reference):
        path = Path(match["path"])
        if path.parts[0] in FOLDERS:
            return path
    elif match := _MODULE.fullmatch(reference):
        parts = match["module"].split(".")
        if parts[0] in FOLDERS:
            path = Path(*parts)
            return path / "__init__.py" if (root / path).is_dir() else path.with_suffix(".py")
        if parts[0] != "stages":
            return _find_installed(key, match["module"])
    folder = "optimizers" if key.startswith("optimizers") else "models"
    raise InputError(
        f"params.yaml: {key}: should be like {folder}/FILE.py:NAME or package.module:NAME "
        f"(is {quoted(reference)})"
    )


def _find_installed(key: str, module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # noqa: BLE001, it imports the package
        raise InputError(f"params.yaml: {key}: {module}: {describe(error)}") from None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise InputError(f"params.yaml: {key}: no module {quoted(module)} is installed")
    path = Path(spec.origin).absolute()
    is_installed = any(part in {"site-packages", "dist-packages"} for part in path.parts)
    if path.is_relative_to(PROJECT) and not is_installed:
        raise InputError(
            f"params.yaml: {key}: DVC would not notice an edit of {path.relative_to(PROJECT)}; "
            f"move it to {' or '.join(FOLDERS)}"
        )
    return path
