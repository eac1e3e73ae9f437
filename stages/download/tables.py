"""Copies the user's data from one or two tables."""

from pathlib import Path

from stages.common.data import RawFile
from stages.common.errors import InputError, legible, shorten
from stages.common.memory import check_fits
from stages.common.tables import parse_table
from stages.download.listing import list_files
from stages.download.raw import write_raw

TABLES = (".csv", ".parquet")


def copy_tables(
    path: Path, target: str, folder: Path
) -> tuple[tuple[str, ...], tuple[RawFile, ...]]:
    """Copies the tables after checking that they can be read and have the target.

    Args:
        path: A CSV or Parquet file; or the folder of one, or of two named train and test.
        target: The column that is to be predicted.
        folder: `data/raw`, where they are called train and test.

    Returns:
        The paths of the tables, and the files written.

    Raises:
        InputError: If there are no such files, or one cannot be read or lacks the target.
    """
    tables, contents = _find(path), {}
    for part, file in zip(("train", "test"), tables, strict=False):
        check_fits(2 * file.stat().st_size, "dataset.path", f"reading {file}")
        content = file.read_bytes()
        parse_table(file, content, target)
        contents[f"{part}{file.suffix.lower()}"] = content
    files = tuple(write_raw(folder, name, content) for name, content in contents.items())
    return tuple(legible(str(file)) for file in tables), files


def _find(path: Path) -> list[Path]:
    files = list_files(path, *TABLES)
    by_stem = {file.stem.lower(): file for file in files}
    if len(files) == 1:
        return files
    if len(files) == 2 and by_stem.keys() == {"train", "test"}:
        return [by_stem["train"], by_stem["test"]]
    found = shorten(", ".join(file.name for file in files)) or "no .csv or .parquet file"
    raise InputError(
        f"{path}: {found}; should be one .csv or .parquet file, which dataset.path may name "
        "itself, or two named train and test"
    )
