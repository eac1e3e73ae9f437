"""Converts the user's own data to the form that `preprocess` reads."""

from pathlib import Path

from stages.common.data import PROCESSED, RAW, RAW_ARRAYS, SOURCES, RawFile, Source
from stages.common.errors import InputError, legible, quoted
from stages.common.params import DatasetParams
from stages.download.arrays import read_arrays
from stages.download.listing import list_files, list_folders, list_nested
from stages.download.pictures import PICTURES, read_pictures
from stages.download.raw import IDX_NAMES, write_raw
from stages.download.tables import TABLES, copy_tables

_KINDS = (
    "a folder of pictures by class, an .npz file of arrays, a .csv or .parquet table, or MNIST's "
    "four files"
)
_FOLDERS = ("runs", "weights", "confirmation", "evaluation", "plots", "report", ".dvc", ".cache")
_OUTPUTS = (RAW, PROCESSED, SOURCES, *map(Path, _FOLDERS))


def obtain_custom(dataset: DatasetParams, folder: Path) -> Source:
    """Reads the data at `dataset.path` and writes them into the folder.

    Args:
        dataset: Its `custom.format` says what the path holds; `auto` finds out: sub-folders with
            pictures (`train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`), an `.npz` file of
            `train_x`, `train_y` and, if there is a test part, `test_x`, `test_y`, a CSV or Parquet
            file or two named train and test, or the four IDX files under MNIST's names.
        folder: `data/raw`.

    Raises:
        InputError: If the path holds no such data, or data that cannot be trained on.
    """
    path = _locate(dataset.path)
    kind = _find_kind(path) if dataset.custom.format == "auto" else dataset.custom.format
    if kind in ("pictures", "idx") and not path.is_dir():
        raise InputError(
            f"params.yaml: dataset.path: {path} is a file; should be the folder that holds the "
            f"data, since dataset.custom.format is {kind}"
        )
    name = legible(path.name if path.is_dir() else path.stem)
    origin: tuple[str, ...] = (legible(dataset.path),)
    if kind == "idx":
        return Source(name, "idx", origin, (), _copy_idx(path, folder))
    if kind == "table":
        target = dataset.custom.target
        origin, files = copy_tables(path, target, folder)
        return Source(name, "table", origin, (), files, target)
    class_names: tuple[str, ...] = ()
    if kind == "arrays":
        arrays = read_arrays(path)
    else:
        arrays, class_names = read_pictures(path, dataset.custom.resize)
    file = write_raw(folder, RAW_ARRAYS.name, RAW_ARRAYS.encode(arrays))
    return Source(name, "npz", origin, class_names, (file,))


def _locate(given: str) -> Path:
    """Returns the path as given, after checking that it is not part of the pipeline."""
    path = Path(given)
    try:
        path.stat()
    except (OSError, ValueError):
        raise InputError(
            f"params.yaml: dataset.path: nothing found at {quoted(given)}; put your data there: "
            f"{_KINDS}"
        ) from None
    real = path.resolve()
    for output in _OUTPUTS:
        place = output.resolve()
        if place.is_relative_to(real) or real.is_relative_to(place):
            raise InputError(
                f"params.yaml: dataset.path: {quoted(given)} is, holds or lies in {output}, which "
                "the pipeline replaces; put your data into a folder of their own, such as "
                "data/custom"
            )
    hidden = [*path.rglob("weights.npz")] if path.is_dir() else []
    if hidden:
        raise InputError(
            f"{hidden[0]}: .dvcignore hides files of this name from DVC, so an edit would go "
            "unnoticed; rename it"
        )
    return path


def _find_kind(path: Path) -> str:
    folders = list_folders(path) if path.is_dir() else []
    has_pictures = any(
        file.suffix.lower() in PICTURES for folder in folders for file in list_nested(folder)
    )
    found = {
        "pictures": has_pictures,
        "arrays": bool(list_files(path, ".npz")),
        "table": bool(list_files(path, *TABLES)),
        "idx": any((path / name).is_file() for name in IDX_NAMES),
    }
    kinds = [kind for kind, is_there in found.items() if is_there]
    if not kinds:
        raise InputError(f"{path}: holds no data that can be read; should be {_KINDS}")
    if len(kinds) > 1:
        raise InputError(
            f"{path}: holds data of more than one kind; set dataset.custom.format in params.yaml "
            f"to {' or '.join(kinds)}"
        )
    return kinds[0]


def _copy_idx(path: Path, folder: Path) -> tuple[RawFile, ...]:
    missing = [name for name in IDX_NAMES if not (path / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: no {', no '.join(missing)}; should hold the four files {', '.join(IDX_NAMES)}"
        )
    return tuple(write_raw(folder, name, (path / name).read_bytes()) for name in IDX_NAMES)
