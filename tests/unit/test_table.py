"""Tables become numbers by what the training rows teach; what cannot be learned from is refused."""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from stages.common.data import DATASET, RawArrays, RawFile, Source
from stages.common.errors import InputError
from stages.common.files import Array, write_digests
from stages.common.params import Split
from stages.preprocess.split import split
from stages.preprocess.table import TableColumns, read_table
from tests.conftest import PROJECT
from tests.parameters import COMMITTED

Content = str | bytes | Mapping[str, Any]
NAN = float("nan")


def read(folder: Path, *parts: Content) -> tuple[TableColumns, RawArrays]:
    """Writes train and test and reads them; a text is a CSV file, a mapping a Parquet file."""
    files = []
    for name, content in zip(("train", "test"), parts, strict=False):
        if isinstance(content, Mapping):
            files.append(folder / f"{name}.parquet")
            parquet.write_table(pa.table(dict(content)), files[-1])
        else:
            files.append(folder / f"{name}.csv")
            files[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    raw_files = tuple(RawFile(file.name, 0, "") for file in files)
    return read_table(
        folder,
        Source("mine", "table", tuple(str(folder / f.name) for f in raw_files), (), raw_files, "y"),
    )


def encode(
    folder: Path, *parts: Content, train: list[int] | None = None
) -> tuple[Array, Array, tuple[str, ...]]:
    columns, _ = read(folder, *parts)
    places = range(columns.n_train) if train is None else train
    return columns.encode(np.array(places))


def refusal(folder: Path, *parts: Content) -> str:
    with pytest.raises(InputError) as caught:
        encode(folder, *parts)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{folder}/")


def csv(**columns: Sequence[Any]) -> str:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


# Inputs


def test_numbers_come_first_and_texts_have_a_column_for_each_value(tmp_path: Path) -> None:
    table = "colour,size,y,is_new,price\nred,1,0,true,0.5\nblue,2,1,false,1.5\nred,3,0,true,2.5\n"
    inputs, others, features = encode(tmp_path, table)
    assert features == ("size", "is_new", "price", "colour=blue", "colour=red")
    expected = [[1, 1, 0.5, 0, 1], [2, 0, 1.5, 1, 0], [3, 1, 2.5, 0, 1]]
    np.testing.assert_array_equal(inputs, np.array(expected, np.float32), strict=True)
    assert (others.shape, others.dtype) == ((0, 5), np.dtype("float32"))


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "nan", "null", "?", " ", "N/A"])
def test_a_missing_number_becomes_the_median_of_what_is_trained_on(
    tmp_path: Path, cell: str
) -> None:
    table = csv(a=[1, cell, 3, 5, 1000], y=[0, 1, 2, 3, 4])
    inputs, _, _ = encode(tmp_path, table, train=[0, 1, 2, 3])
    assert inputs[:, 0].tolist() == [1, 3, 3, 5, 1000]


@pytest.mark.parametrize("cell", ["", "NA", "?"])
def test_a_missing_text_is_a_value_of_its_own(tmp_path: Path, cell: str) -> None:
    inputs, _, features = encode(tmp_path, csv(a=["p", cell, "q"], y=[0, 1, 2]))
    assert features == ("a=p", "a=q", "a=(missing)")
    assert inputs.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_a_text_that_is_not_trained_on_is_zero_in_every_column(tmp_path: Path) -> None:
    table = csv(a=["p", "q", "new"], y=[0, 1, 2])
    inputs, others, features = encode(
        tmp_path, table, csv(a=["other", "q", ""], y=[0, 0, 0]), train=[0, 1]
    )
    assert features == ("a=p", "a=q")
    assert inputs.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert others.tolist() == [[0, 0], [0, 1], [0, 0]]


def test_nothing_is_learned_from_validation_or_test_rows(tmp_path: Path) -> None:
    first = encode(tmp_path, csv(a=[1, "", 9], b=["p", "q", "r"], y=[0, 1, 2]), train=[0, 1])
    second = encode(
        tmp_path,
        csv(a=[1, "", 70], b=["p", "q", "s"], y=[0, 1, 2]),
        csv(a=[500, ""], b=["t", "u"], y=[0, 1]),
        train=[0, 1],
    )
    np.testing.assert_array_equal(first[0][:2], second[0][:2])
    assert first[2] == second[2]


def test_a_number_that_no_training_row_has_is_zero_where_it_is_missing(tmp_path: Path) -> None:
    inputs, others, features = encode(
        tmp_path, csv(a=["", ""], b=[1, 2], y=[0, 1]), csv(a=["", 8], b=[3, 4], y=[0, 1])
    )
    assert features == ("a", "b")
    assert inputs.tolist() == [[0, 1], [0, 2]]
    assert others.tolist() == [[0, 3], [8, 4]]


@pytest.mark.parametrize(
    "table",
    [
        codecs.BOM_UTF8 + "a,b,y\n1,ü,0\n2,v,1\n".encode(),
        "a,b,y\r\n1,ü,0\r\n2,v,1\r\n",
        'a,b,y\n1,"ü",0\n2,"v",1',
        "a,b,y\n1,ü,0\n\n2,v,1\n\n",
        {"a": [1, 2], "b": ["ü", "v"], "y": [0, 1]},
        {"a": pa.array([1, 2], pa.uint8()), "b": ["ü", "v"], "y": [0, 1]},
        {"a": pa.array([1, 2], pa.float16()), "b": ["ü", "v"], "y": [0, 1]},
        {"a": [1, 2], "b": pa.array(["ü", "v"]).dictionary_encode(), "y": [0, 1]},
        {"a": pa.array([1, 2]).dictionary_encode(), "b": ["ü", "v"], "y": [0, 1]},
        {"a": [1, 2], "b": pa.array(["ü", "v"], pa.large_string()), "y": [0, 1]},
        {"a": [1, 2], "b": pa.array(["ü", "v"], pa.string_view()), "y": [0, 1]},
    ],
    ids=[
        "bom",
        "crlf",
        "quotes",
        "empty-lines",
        "parquet",
        "uint8",
        "float16",
        "categories",
        "number-categories",
        "large",
        "view",
    ],
)
def test_a_table_is_the_same_however_it_is_stored(tmp_path: Path, table: Content) -> None:
    inputs, _, features = encode(tmp_path, table)
    assert features == ("a", "b=v", "b=ü")
    assert inputs.tolist() == [[1, 0, 1], [2, 1, 0]]


def test_a_value_with_a_comma_or_a_line_break_is_one(tmp_path: Path) -> None:
    _, _, features = encode(tmp_path, 'a,y\n"p, q",0\n"r\ns",1\n')
    assert features == ("a=p, q", "a=r�s")


def test_nan_in_parquet_is_missing(tmp_path: Path) -> None:
    inputs, _, _ = encode(tmp_path, {"a": [1.0, NAN, None, 3.0], "y": [0, 1, 2, 3]})
    assert inputs[:, 0].tolist() == [1, 2, 2, 3]


def test_a_column_that_turns_out_late_to_be_no_whole_number_is_still_one_of_numbers(
    tmp_path: Path,
) -> None:
    """Arrow itself tells the type by the first megabyte."""
    n = 200_000
    inputs, _, features = encode(tmp_path, csv(a=[*range(n), 0.5], y=[0] * (n + 1)))
    assert features == ("a",)
    assert inputs[[0, n - 1, n], 0].tolist() == [0, n - 1, 0.5]


def test_the_columns_of_the_test_may_stand_in_another_order(tmp_path: Path) -> None:
    _, others, features = encode(
        tmp_path, csv(a=[1, 2], b=[3, 4], y=[0, 1]), csv(y=[5, 6], b=[7, 8], a=[9, 10])
    )
    assert features == ("a", "b")
    assert others.tolist() == [[9, 7], [10, 8]]


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([1, 2], [0.5, 1.5], [[0.5], [1.5]]),
        ([0.5, 1.5], [1, 2], [[1], [2]]),
        ([1, 2], ["", ""], [[1.5], [1.5]]),
        (["true", "false"], [1, 0], [[1], [0]]),
        (["1", "02", "x"], ["02", "1"], [[1, 0, 0], [0, 1, 0]]),
        (["p", "q"], ["", ""], [[0, 0], [0, 0]]),
        (["p", "q"], ["2020-01-01", "q"], [[0, 0], [0, 1]]),
    ],
    ids=["float", "int", "empty", "bool", "digits", "empty-text", "date"],
)
def test_the_training_file_says_what_a_column_holds(
    tmp_path: Path, train: list[Any], test: list[Any], expected: list[list[float]]
) -> None:
    _, others, _ = encode(
        tmp_path, csv(a=train, y=range(len(train))), csv(a=test, y=range(len(test)))
    )
    assert others.tolist() == expected


def test_a_csv_file_and_a_parquet_file_fit_together(tmp_path: Path) -> None:
    inputs, others, features = encode(
        tmp_path,
        csv(a=["1", "x"], b=[1, 2], y=[0, 1]),
        {"a": [1, 2], "b": [1.0, None], "y": [0, 1]},
    )
    assert features == ("b", "a=1", "a=x")
    assert inputs.tolist() == [[1, 1, 0], [2, 0, 1]]
    assert others.tolist() == [[1, 1, 0], [1.5, 0, 0]]


# Targets


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([3, 1, 2], np.array([3, 1, 2])),
        ([0.5, 1, 2], np.array([0.5, 1, 2])),
        (["true", "false", "true"], np.array([True, False, True])),
        (["dog", "cat", "Hündin"], np.array(["dog", "cat", "Hündin"])),
    ],
    ids=["int", "float", "bool", "text"],
)
def test_targets_are_numbers_or_text(tmp_path: Path, given: list[Any], expected: Array) -> None:
    columns, arrays = read(tmp_path, csv(a=[1, 2, 3], y=given))
    np.testing.assert_array_equal(arrays.train_targets, expected, strict=True)
    assert (arrays.test_targets.shape, arrays.test_targets.dtype) == ((0,), expected.dtype)
    assert arrays.train_inputs.shape == (3, 0)
    assert arrays.test_inputs.shape == (0, 0)
    assert columns.n_train == 3


def test_the_targets_of_the_test_are_of_the_training_file_s_kind(tmp_path: Path) -> None:
    _, arrays = read(tmp_path, csv(a=[1, 2], y=["01", "x"]), csv(a=[1, 2], y=["01", "01"]))
    assert arrays.test_targets.tolist() == ["01", "01"]


@pytest.mark.parametrize("cell", ["", "NA", "nan"])
@pytest.mark.parametrize("others", [["p", "q"], [1, 2], [0.5, 1.5], ["true", "false"]])
def test_a_missing_target_is_refused_with_its_row(
    tmp_path: Path, others: list[Any], cell: str
) -> None:
    table = csv(a=[1, 2, 3, 4], y=[*others, cell, others[0]])
    message = refusal(tmp_path, table)
    assert message.startswith("train.csv: row 3 has no 'y', which is to be predicted")
    assert refusal(tmp_path, csv(a=[1, 2], y=others), table).startswith("test.csv: row 3 has no")


def test_a_table_without_any_target_is_refused(tmp_path: Path) -> None:
    assert "row 1 has no 'y'" in refusal(tmp_path, {"a": [1, 2], "y": pa.nulls(2)})


# The whole way


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_table_is_split_like_other_data(tmp_path: Path, task: str) -> None:
    n = 40
    table = csv(
        a=range(n),
        b=["p", "q"] * (n // 2),
        y=[i % 4 + (task == "regression") / 2 for i in range(n)],
    )
    columns, arrays = read(tmp_path, table)
    settings = Split(
        validation_fraction=0.25, seed=1, stratify=False, test_fraction=0.25, test_seed=2
    )
    source = Source("mine", "table", (), (), (), "y")
    parts = split(source, arrays, settings, task, columns)
    assert parts.dataset.features == ("a", "b=p", "b=q")
    assert parts.dataset.input_shape == (3,)
    together = np.concatenate([part.inputs for part in (parts.train, parts.validation, parts.test)])
    assert sorted(together[:, 0].tolist()) == list(range(n))
    np.testing.assert_array_equal(together[:, 1], together[:, 0] % 2 == 0)


# What is refused

ROWS = csv(a=[1, 2], y=[0, 1])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ("not a readable table", "save it again")),
        ("\n\n", ("not a readable table",)),
        ("a,y\n1,2\n3\n", ("not a readable table", "Row #3: Expected 2 columns, got 1")),
        ("a,y\n", ("0 rows below the names; needs two or more",)),
        ("a,y\n1,2\n", ("1 rows below the names",)),
        ("y\n1\n2\n", ("no column but 'y'",)),
        ("a,b\n1,2\n3,4\n", ("no column 'y'; set dataset.custom.target", "There are: a, b")),
        ("a;y\n1;2\n3;4\n", ("There are: a;y", "columns are separated by commas")),
        ("a,a,y\n1,2,3\n4,5,6\n", ("more than one column 'a'; rename or remove one",)),
        (",a,y\n0,2,3\n1,5,6\n", ("column 1 has no name", "index=False")),
        ("a,y\ngrün,1\nb,2\n".encode("latin-1"), ("column 'a' is not in UTF-8",)),
        ("grün,y\n1,1\n2,2\n".encode("latin-1"), ("not a readable table",)),
        (ROWS.encode("utf-16"), ("not a readable table",)),
        (
            csv(a=["2020-01-01", "2020-02-01"], y=[0, 1]),
            ("column 'a' has the type date32", "turn it"),
        ),
        (
            csv(a=["2020-01-01 10:00:00", ""], y=[0, 1]),
            ("column 'a' has the type timestamp", "days since"),
        ),
        (csv(a=["10:00:00", "11:00:00"], y=[0, 1]), ("column 'a' has the type time32",)),
        (csv(a=[1, 2], y=["2020-01-01", "2020-02-01"]), ("column 'y' has the type date32",)),
        (csv(a=[1, "inf", 3], y=[0, 1, 2]), ("row 2 of column 'a' is infinite", "leave it empty")),
        (csv(a=[1, 2, "-1e39"], y=[0, 1, 2]), ("row 3 of column 'a'", "float32")),
        (csv(a=[f"name {i}" for i in range(20)], y=[0] * 20), ("20 different texts in 20 rows",)),
        (
            csv(a=[f"id {i % 11}" for i in range(20)], y=[0] * 20),
            ("column 'a' has 11 different texts in 20 rows", "remove the column"),
        ),
        ({"a": [[1], [2]], "y": [0, 1]}, ("column 'a' has the type list", "numbers or text")),
        ({"a": [date(2020, 1, 1)] * 2, "y": [0, 1]}, ("column 'a' has the type date32",)),
        ({"a": [b"1", b"2"], "y": [0, 1]}, ("column 'a' has the type binary", "or remove it")),
        ({"a": [Decimal(1)] * 2, "y": [0, 1]}, ("column 'a' has the type decimal128",)),
        ({"__index_level_0__": [1, 2], "a": [1, 2], "y": [0, 1]}, ("column 1 has no name",)),
        ({"a": [1, 2]}, ("no column 'y'",)),
        ({"a": [1.0, float("inf")], "y": [0, 1]}, ("row 2 of column 'a' is infinite",)),
    ],
)
def test_a_table_that_cannot_be_learned_from_is_refused(
    tmp_path: Path, content: Content, parts: tuple[str, ...]
) -> None:
    message = refusal(tmp_path, content)
    assert message.startswith(("train.csv: ", "train.parquet: "))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("test", "parts"),
    [
        (csv(b=[1, 2], y=[0, 1]), ("test.csv: lacks 'a', which train.csv has",)),
        (csv(a=[1, 2], b=[1, 2], c=[1, 2], y=[0, 1]), ("train.csv: lacks 'b', 'c'", "test.csv")),
        (csv(a=[1, 2]), ("test.csv: no column 'y'",)),
        (
            csv(a=["p", "q"], y=[0, 1]),
            ("test.csv: column 'a' holds text, but numbers in train.csv",),
        ),
        (
            csv(a=[1, 2], y=["p", "q"]),
            ("test.csv: column 'y' holds text, but numbers in train.csv",),
        ),
        (csv(a=[1, "inf"], y=[0, 1]), ("test.csv: row 2 of column 'a' is infinite",)),
        (csv(a=[1], y=[0]), ("test.csv: 1 rows",)),
    ],
)
def test_a_test_table_that_does_not_fit_is_refused(
    tmp_path: Path, test: str, parts: tuple[str, ...]
) -> None:
    message = refusal(tmp_path, ROWS, test)
    assert all(part in message for part in parts), message


def test_fewer_rows_may_each_have_a_text_of_their_own(tmp_path: Path) -> None:
    _, _, features = encode(tmp_path, csv(a=[f"name {i}" for i in range(19)], y=[0] * 19))
    assert len(features) == 19


def test_as_many_different_texts_as_half_the_rows_are_categories(tmp_path: Path) -> None:
    _, _, features = encode(tmp_path, csv(a=[f"c{i % 10}" for i in range(20)], y=[0] * 20))
    assert len(features) == 10


def test_too_many_features_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.preprocess.table.MAX_FEATURES", 3)
    _, _, features = encode(tmp_path, csv(a=[1, 2], b=["p", "q"], y=[0, 1]))
    assert len(features) == 3
    for table in (
        csv(a=[1, 2], b=["p", "q"], c=["p", "p"], y=[0, 1]),
        csv(a=[1, 2], b=[1, 2], c=[1, 2], d=[1, 2], y=[0, 1]),
    ):
        message = refusal(tmp_path, table)
        assert message.startswith("data/raw: the table becomes 4 features, should be at most 3")


def test_a_long_text_is_shortened_in_the_name_of_its_feature(tmp_path: Path) -> None:
    _, _, features = encode(tmp_path, csv(a=["p" * 1000, "q"], y=[0, 1]))
    assert max(map(len, features)) == 80


def test_targets_that_take_more_than_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.common.memory.memory_bytes", lambda: 10_000)
    message = refusal(tmp_path, csv(a=[1, 2], y=["p" * 2000, "q"]))
    assert message.startswith("params.yaml: dataset.custom.target: reading 'y' needs at least")


def test_a_parquet_file_that_claims_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.common.memory.memory_bytes", lambda: 1000)
    message = refusal(tmp_path, {"a": [0] * 1000, "y": [0] * 1000})
    assert message.startswith("params.yaml: dataset.path: reading ")


@pytest.mark.parametrize("n_kept", [0, 4, 100, -1])
def test_a_cut_parquet_file_is_refused(tmp_path: Path, n_kept: int) -> None:
    with BytesIO() as file:
        parquet.write_table(pa.table({"a": [1, 2], "y": [0, 1]}), file)
        (tmp_path / "train.parquet").write_bytes(file.getvalue()[:n_kept])
    source = Source("mine", "table", ("mine.parquet",), (), (RawFile("train.parquet", 0, ""),), "y")
    with pytest.raises(InputError, match=r"mine\.parquet: not a readable table"):
        read_table(tmp_path, source)


def test_a_file_that_is_missing_or_no_longer_what_its_stage_wrote_is_refused(
    tmp_path: Path,
) -> None:
    read(tmp_path, ROWS)
    write_digests(tmp_path, "train.csv")
    with pytest.raises(InputError, match=r"train\.csv: not what its stage wrote"):
        read(tmp_path, csv(a=[5, 6], y=[0, 1]))
    source = Source("mine", "table", ("mine.csv",), (), (RawFile("other.csv", 0, ""),), "y")
    with pytest.raises(InputError, match=r"other\.csv: missing or damaged"):
        read_table(tmp_path, source)


def test_the_documented_lines_encode_a_row_as_the_network_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "a,b,c,y\n1,p,2,0\n,q,3,1\n4,,5,0\n2,p,,1\n6,q,1,0\n3,p,2,1\n"
    columns, arrays = read(tmp_path, table)
    source = Source("mine", "table", (), (), (), "y")
    parts = split(source, arrays, COMMITTED.split, "classification", columns)
    DATASET.write(tmp_path / "data" / "processed", parts.dataset)
    monkeypatch.chdir(tmp_path)
    document = (PROJECT / "docs" / "own-data.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"with open\(.*?return \[[^\n]*\n", document, re.DOTALL)
    documented: dict[str, Any] = {"json": json}
    exec(lines, documented)  # noqa: S102
    rows = [
        {name: cell or None for name, cell in zip("abcy", line.split(","), strict=True)}
        for line in table.splitlines()[1:]
    ]
    inputs = {
        tuple(row)
        for part in (parts.train, parts.validation, parts.test)
        for row in part.inputs.tolist()
    }
    assert {tuple(documented["encode"](row)) for row in rows} == inputs
