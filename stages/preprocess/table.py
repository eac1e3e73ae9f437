"""Turns the tables of data/raw into numbers.

The training file decides which columns are numeric. The medians that fill gaps, and the text values
that get a column, are learned only from the examples that are trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stages.common.data import RawArrays, Source
from stages.common.errors import InputError, legible, one_line, quoted, shorten
from stages.common.files import Array, FloatArray, IntArray, read_checked
from stages.common.memory import check_fits
from stages.common.tables import parse_table

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.impute import SimpleImputer

MAX_FEATURES = 10_000
# With fewer rows, names cannot be told from categories.
_FEWEST_ROWS = 20
_LONGEST_NAME = 80


@dataclass(frozen=True)
class TableColumns:
    """The columns of the training rows and then of the test rows.

    `numbers` are `(n, n_numbers) float64` with NaN where a value is missing, `texts`
    `(n, n_texts) object` with None there.
    """

    number_names: tuple[str, ...]
    numbers: FloatArray
    text_names: tuple[str, ...]
    texts: Array
    n_train: int

    def encode(self, train: IntArray) -> tuple[Array, Array, tuple[str, ...]]:
        """Inputs `(n, n_features) float32`: the numbers, then a column for each value of a text.

        A missing number becomes the median, a missing text a value of its own; a text that no
        example of `train` has is 0 in each of its columns.

        Args:
            train: Indices of the rows that medians and values are learned from.

        Raises:
            InputError: If there are more than 10,000 features.
        """
        from sklearn.preprocessing import OneHotEncoder

        features = list(map(legible, self.number_names))
        parts: list[Array] = []
        if self.number_names:
            parts.append(self._imputer(train).transform(self.numbers).astype(np.float32))
        if self.text_names:
            encoder = OneHotEncoder(
                handle_unknown="ignore", sparse_output=False, dtype=np.float32
            ).fit(self.texts[train])
            for name, values in zip(self.text_names, encoder.categories_, strict=True):
                features += [_name_feature(name, value) for value in values]
            _check_size(len(self.texts), len(features))
            parts.append(encoder.transform(self.texts))
        inputs = np.hstack(parts)
        return inputs[: self.n_train], inputs[self.n_train :], tuple(features)

    def medians(self, train: IntArray) -> tuple[float, ...]:
        """The value that fills the gaps of each numeric column; `train` as in `encode`."""
        if not self.number_names:
            return ()
        gaps = np.full((1, len(self.number_names)), np.nan)
        return tuple(self._imputer(train).transform(gaps)[0].tolist())

    def _imputer(self, train: IntArray) -> "SimpleImputer":
        from sklearn.impute import SimpleImputer

        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        return imputer.fit(self.numbers[train])


def _name_feature(column: str, value: str | None) -> str:
    return shorten(legible(f"{column}={'(missing)' if value is None else value}"), _LONGEST_NAME)


def _check_size(n_rows: int, n_features: int) -> None:
    if n_features > MAX_FEATURES:
        raise InputError(
            f"data/raw: the table becomes {n_features:,} features, should be at most "
            f"{MAX_FEATURES:,}; remove text columns with many values, or merge rare values"
        )
    check_fits(8 * n_rows * n_features, "dataset.path", "encoding the table")


@dataclass(frozen=True)
class _Part:
    """A table, and the path of the file that it was copied from, for messages."""

    path: Path
    table: "pa.Table"


def read_table(folder: Path, source: Source) -> tuple[TableColumns, RawArrays]:
    """Reads a data set of one table, or of two with the training part first.

    Returns:
        The columns, and arrays with the targets, numbers or text, and with inputs of width 0.

    Raises:
        InputError: If a file cannot be read, the two files have different columns, or a column
            cannot be learned from.
    """
    shown = tuple(map(Path, source.origin))
    train = _read(folder / source.files[0].name, shown[0], source.target)
    names = [name for name in train.table.schema.names if name != source.target]
    parts = [train]
    if len(source.files) > 1:
        texts = [field.name for field in train.table.schema if _kind(train, field.name) == "text"]
        parts.append(_read(folder / source.files[1].name, shown[1], source.target, texts))
        _check_same_columns(*parts)
    kinds = {name: _common_kind(parts, name) for name in (*names, source.target)}
    numbers = [name for name in names if kinds[name] == "number"]
    texts = [name for name in names if kinds[name] == "text"]
    for name in texts:
        _check_repeats(train, name)
    n_rows = sum(part.table.num_rows for part in parts)
    _check_size(n_rows, len(numbers))
    n_train = train.table.num_rows
    columns = TableColumns(
        number_names=tuple(numbers),
        numbers=_side_by_side(parts, numbers, _numbers, np.float64),
        text_names=tuple(texts),
        texts=_side_by_side(parts, texts, _texts, object),
        n_train=n_train,
    )
    targets = [_targets(part, source.target, kinds[source.target]) for part in parts]
    arrays = RawArrays(
        train_inputs=np.zeros((n_train, 0), np.float32),
        train_targets=targets[0],
        test_inputs=np.zeros((n_rows - n_train, 0), np.float32),
        test_targets=targets[1] if len(targets) > 1 else targets[0][:0],
    )
    return columns, arrays


def _read(path: Path, shown: Path, target: str, texts: Sequence[str] = ()) -> _Part:
    try:
        content = read_checked(path)
    except OSError as error:
        raise InputError(
            f"{path}: missing or damaged; run `dvc repro` ({one_line(error)})"
        ) from None
    return _Part(shown, parse_table(shown, content, target, texts))


def _check_same_columns(train: _Part, test: _Part) -> None:
    in_train, in_test = set(train.table.schema.names), set(test.table.schema.names)
    for names, part, other in (
        (in_train - in_test, test, train),
        (in_test - in_train, train, test),
    ):
        if names:
            found = shorten(", ".join(map(quoted, sorted(names))))
            raise InputError(
                f"{part.path}: lacks {found}, which {other.path.name} has; should have the "
                "same columns, in any order"
            )


def _kind(part: _Part, name: str) -> str:
    """`number`, `text`, or an empty string for a column without values."""
    from pyarrow import types

    kind = part.table.schema.field(name).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind):
        return ""
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_temporal(kind):
        cure = "turn it into numbers, such as the year, or days since the first date"
    else:
        cure = "turn it into numbers or text"
    raise InputError(
        f"{part.path}: column {quoted(name)} has the type {one_line(kind)}; {cure}, or remove it"
    )


def _common_kind(parts: Sequence[_Part], name: str) -> str:
    kinds = [_kind(part, name) for part in parts]
    if kinds == ["number", "text"]:
        raise InputError(
            f"{parts[1].path}: column {quoted(name)} holds text, but numbers in "
            f"{parts[0].path.name}; should be the same"
        )
    return next(filter(None, kinds), "number")


def _check_repeats(train: _Part, name: str) -> None:
    """Refuses a text column that has more different values than half its rows."""
    from pyarrow import compute

    n_rows = train.table.num_rows
    n_values = compute.count_distinct(_text_column(train, name)).as_py()
    if n_rows >= _FEWEST_ROWS and n_values > n_rows / 2:
        raise InputError(
            f"{train.path}: column {quoted(name)} has {n_values} different texts in {n_rows} rows "
            "and looks like a name or an id; remove the column"
        )


def _decoded(part: _Part, name: str) -> "pa.ChunkedArray":
    """The column with plain values, not dictionary-encoded."""
    from pyarrow import types

    column = part.table[name]
    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _side_by_side(
    parts: Sequence[_Part],
    names: Sequence[str],
    read: Callable[[_Part, str], Array],
    dtype: npt.DTypeLike,
) -> Array:
    """The columns of all parts' rows, `(n, n_columns)`."""
    values = np.empty((sum(part.table.num_rows for part in parts), len(names)), dtype)
    for place, name in enumerate(names):
        values[:, place] = np.concatenate([read(part, name) for part in parts])
    return values


def _numbers(part: _Part, name: str) -> FloatArray:
    import pyarrow as pa

    values: FloatArray = _decoded(part, name).cast(pa.float64(), safe=False).to_numpy()
    is_bad = np.abs(values) > np.finfo(np.float32).max
    if is_bad.any():
        raise InputError(
            f"{part.path}: row {is_bad.argmax() + 1} of column {quoted(name)} is infinite, or too "
            "large for float32; correct it, or leave it empty if it is missing"
        )
    # Use one NaN for all gaps: the unusual NaNs of damaged files make NumPy warn.
    return np.where(np.isnan(values), np.nan, values)


def _text_column(part: _Part, name: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    return _decoded(part, name).cast(pa.large_string())


def _texts(part: _Part, name: str) -> Array:
    texts: Array = _text_column(part, name).to_numpy()
    return texts


def _targets(part: _Part, name: str, kind: str) -> Array:
    from pyarrow import compute

    column = _decoded(part, name)
    is_missing = column.is_null(nan_is_null=True).to_numpy()
    if is_missing.any():
        raise InputError(
            f"{part.path}: row {is_missing.argmax() + 1} has no {quoted(name)}, which is to be "
            "predicted; remove the row, or fill it in"
        )
    if kind == "number":
        numbers: Array = column.to_numpy()
        return numbers
    texts = _text_column(part, name)
    longest = compute.max(compute.utf8_length(texts)).as_py()
    check_fits(4 * longest * len(texts), "dataset.custom.target", f"reading {quoted(name)}")
    return np.array(texts.to_pylist(), np.str_)
