"""Tables: the columns of CSV and Parquet files."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.errors import InputError, one_line, quoted, shorten
from stages.common.memory import check_fits

if TYPE_CHECKING:
    import pyarrow as pa

# What UCI's data sets and others write for a missing value, besides what Arrow knows.
_MISSING = ("?", " ?", " ")
# What pandas calls an index that has no name, in CSV and in Parquet.
_INDEX_NAMES = ("", "__index_level_0__")
_LARGEST_BLOCK = 2**31 - 1


def parse_table(path: Path, content: bytes, target: str, texts: Collection[str] = ()) -> "pa.Table":
    """Reads a table and checks its columns.

    Args:
        path: Its suffix tells the format. CSV is in UTF-8, with commas and a header line.
        content: The file's bytes.
        target: A column that has to be there.
        texts: Columns of a CSV file that are text, even where they look like numbers.

    Raises:
        InputError: If it cannot be read, has fewer than two rows, no target, no other column, or a
            column without a unique name.
    """
    try:
        table = (_parse_csv if path.suffix.lower() == ".csv" else _parse_parquet)(
            path, content, texts
        )
        table.validate(full=True)
        columns = table.schema.names
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, damaged bytes make Arrow raise many kinds
        fault = one_line(error) or type(error).__name__
        raise InputError(f"{path}: not a readable table ({fault}); save it again") from None
    _check_columns(path, columns, target)
    if table.num_rows < 2:
        raise InputError(f"{path}: {table.num_rows} rows below the names; needs two or more")
    return table


def _parse_csv(path: Path, content: bytes, texts: Collection[str]) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv

    table = csv.read_csv(
        pa.BufferReader(content),
        # One block, because Arrow infers the columns' types from the first.
        csv.ReadOptions(use_threads=False, block_size=min(len(content) + 1, _LARGEST_BLOCK)),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=dict.fromkeys(texts, pa.string()),
            null_values=[*csv.ConvertOptions().null_values, *_MISSING],
            strings_can_be_null=True,
        ),
    )
    for field in table.schema:
        if pa.types.is_binary(field.type):
            raise InputError(
                f"{path}: column {quoted(field.name)} is not in UTF-8; save the file as UTF-8"
            )
    return table


def _parse_parquet(path: Path, content: bytes, _: Collection[str]) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    file = parquet.ParquetFile(pa.BufferReader(content))
    n_values = file.metadata.num_rows * file.metadata.num_columns
    check_fits(4 * n_values, "dataset.path", f"reading {path}")
    return file.read()


def _check_columns(path: Path, columns: list[str], target: str) -> None:
    repeated = [name for name, n in Counter(columns).items() if n > 1]
    if repeated:
        raise InputError(
            f"{path}: more than one column {quoted(repeated[0])}; rename or remove one"
        )
    unnamed = [place for place, name in enumerate(columns, start=1) if name in _INDEX_NAMES]
    if unnamed:
        raise InputError(
            f"{path}: column {unnamed[0]} has no name; name it, or remove it: pandas leaves its "
            "index out with index=False"
        )
    if target not in columns:
        found = shorten(", ".join(columns))
        raise InputError(
            f"{path}: no column {quoted(target)}; set dataset.custom.target in params.yaml to the "
            f"one that is to be predicted. There are: {found}"
            + (" (columns are separated by commas)" if len(columns) == 1 else "")
        )
    if len(columns) == 1:
        raise InputError(f"{path}: no column but {quoted(target)}; needs some to predict it from")
