"""The user's own data: which kind they are, and that nothing else is taken for data."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stages.common.data import RawFile
from stages.common.errors import InputError
from stages.download.catalogue import obtain
from stages.download.custom import obtain_custom
from stages.download.raw import IDX_NAMES
from tests.custom import (
    GIVEN,
    RAW,
    TABLE,
    TWO_CLASSES,
    X,
    Y,
    custom,
    encode,
    enter,
    grey,
    obtain_arrays,
    refusal,
    write,
    write_arrays,
    write_idx,
    write_pictures,
)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("write_data", "files"),
    [
        (write_idx, IDX_NAMES),
        (lambda: write_arrays(train_x=X, train_y=Y), ("arrays.npz",)),
        (lambda: write_pictures(TWO_CLASSES), ("arrays.npz",)),
        (lambda: write("any.csv", TABLE), ("train.csv",)),
    ],
    ids=["idx", "arrays", "pictures", "table"],
)
def test_the_kind_of_data_is_found_by_what_lies_there(
    write_data: Callable[[], object], files: tuple[str, ...]
) -> None:
    write_data()
    write("README.md", "What this is.")
    write(".hidden.csv", "")
    write(".hidden/cat/1.png", "")
    source = obtain(custom(), RAW)
    assert source.dataset == "shoes"
    (origin,) = source.origin
    assert origin in ("data/custom/shoes", "data/custom/shoes/any.csv")
    contents = {name: (RAW / name).read_bytes() for name in files}
    assert source.files == tuple(
        RawFile(name, len(content), sha256(content).hexdigest())
        for name, content in contents.items()
    )


@pytest.mark.parametrize("kind", ["auto", "arrays"])
def test_the_path_may_name_the_file_itself(kind: str) -> None:
    write_arrays("other.npz", train_x=X, train_y=Y)
    source, _ = obtain_arrays(path=write_arrays("mine.NPZ", train_x=X, train_y=Y), kind=kind)
    assert source.dataset == "mine"


def test_the_configured_kind_is_read_where_there_are_others() -> None:
    write_arrays(train_x=X, train_y=Y)
    write("a.csv", TABLE)
    assert "set dataset.custom.format in params.yaml to arrays or table" in refusal()
    assert obtain_custom(custom(kind="table"), RAW).format == "table"


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("README.md", ".a.csv"), ("sub/notes.txt",)])
def test_a_folder_without_data_is_told_what_would_be_right(names: tuple[str, ...]) -> None:
    for name in names:
        write(name)
    message = refusal()
    assert message.startswith("data/custom/shoes: ")
    for kind in ("pictures by class", ".npz", ".csv or .parquet", "MNIST's four files"):
        assert kind in message


@pytest.mark.parametrize("path", ["data/nowhere", "\0", "x" * 5000, "data/custom/shoes/a/b"])
def test_a_path_at_which_nothing_lies_is_refused(path: str) -> None:
    message = refusal(path=path)
    assert message.startswith("params.yaml: dataset.path: nothing found at ")
    assert "a folder of pictures by class" in message


@pytest.mark.parametrize(
    "path",
    ["data/raw", "data/raw/mine", "data", ".", "/", "data/processed", "weights", "runs/a", ".dvc"],
)
def test_a_path_that_the_pipeline_writes_to_is_refused(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError, match=r"dataset\.path: .*such as data/custom"):
        obtain_custom(custom(path=path), RAW)


def test_a_link_to_where_the_pipeline_writes_is_refused() -> None:
    (GIVEN / "link").symlink_to(RAW.resolve())
    assert "data/raw" in refusal(path=GIVEN / "link")


def test_data_outside_the_project_and_links_to_them_are_read(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    np.savez(elsewhere / "data.npz", train_x=X, train_y=Y)
    link = GIVEN / "link"
    link.symlink_to(elsewhere)
    for path in (elsewhere, link):
        source, arrays = obtain_arrays(path=path)
        assert source.dataset == path.name
        np.testing.assert_array_equal(arrays.train_inputs, X)


@pytest.mark.parametrize("kind", ["pictures", "idx"])
def test_a_file_where_a_folder_should_be_is_refused(kind: str) -> None:
    path = write("a.png", encode(grey(1)))
    assert f"should be the folder that holds the data, since dataset.custom.format is {kind}" in (
        refusal(path=path, kind=kind)
    )


def test_idx_files_are_copied_byte_for_byte() -> None:
    write_idx()
    source = obtain_custom(custom(), RAW)
    assert (source.format, source.class_names) == ("idx", ())
    for name in IDX_NAMES:
        assert (RAW / name).read_bytes() == f"content of {name}".encode()


@pytest.mark.parametrize("missing", IDX_NAMES)
def test_a_missing_idx_file_is_named(missing: str) -> None:
    write_idx(missing)
    message = refusal()
    assert f"no {missing}; should hold the four files" in message
    assert all(name in message for name in IDX_NAMES)


def test_a_table_is_copied_with_its_target() -> None:
    write("any.CSV", TABLE)
    source = obtain_custom(custom(), RAW)
    assert (source.format, source.target, source.class_names) == ("table", "y", ())
    assert [file.name for file in source.files] == ["train.csv"]
    assert (RAW / "train.csv").read_text() == TABLE


def test_two_tables_are_the_two_parts() -> None:
    write("Train.csv", TABLE)
    write("test.csv", TABLE + "5,6\n")
    source = obtain_custom(custom(), RAW)
    assert [file.name for file in source.files] == ["train.csv", "test.csv"]
    assert (RAW / "test.csv").read_text() == TABLE + "5,6\n"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("a.csv", "b.csv"), "a.csv, b.csv"),
        (("train.csv", "test.csv", "x.csv"), "test.csv, train.csv, x.csv"),
        (("train.csv", "train.parquet"), "train.csv, train.parquet"),
        ((), "no .csv or .parquet file"),
    ],
)
def test_tables_that_cannot_be_told_apart_are_refused(names: tuple[str, ...], found: str) -> None:
    for name in names:
        write(name, TABLE)
    message = refusal(kind="table")
    assert message.startswith(f"data/custom/shoes: {found}; should be one .csv or .parquet file")
    assert "or two named train and test" in message


def test_a_table_without_the_target_is_refused_with_its_columns() -> None:
    path = write("any.csv", TABLE)
    message = refusal(target="price")
    assert message.startswith(f"{path}: no column 'price'; set dataset.custom.target")
    assert message.endswith("There are: a, y")


def test_a_test_table_without_the_target_is_refused_before_anything_is_written() -> None:
    write("train.csv", TABLE)
    path = write("test.csv", "a,b\n1,2\n3,4\n")
    with pytest.raises(InputError, match=rf"{path}: no column 'y'"):
        obtain_custom(custom(), RAW)
    assert list(RAW.iterdir()) == []
