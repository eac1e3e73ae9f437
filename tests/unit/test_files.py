"""The files that pass between stages: what is written is read back, and nothing half-written."""

import hashlib
import json
import re
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pytest

from stages.common import confirmation, data, results, runs
from stages.common.confirmation import PREDICTIONS, ROWS, Predictions, Scored, Unscored
from stages.common.data import (
    DATASET,
    RAW_ARRAYS,
    SOURCE,
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    Examples,
    RawArrays,
    RawFile,
    Scaling,
    Source,
)
from stages.common.errors import InputError
from stages.common.files import (
    Arrays,
    Csv,
    File,
    IntArray,
    Json,
    UInt8Array,
    read_checked,
    replacing,
    write_archive,
    write_digests,
    write_text,
)
from stages.common.results import (
    COMPARISON,
    CONFUSION,
    CURVES,
    FITTED,
    METRICS,
    MISTAKES,
    PAIRS,
    SCORES,
    TUNING,
    Comparison,
    Confirmed,
    ConfusionCell,
    Criteria,
    CurvePoint,
    Estimate,
    Finding,
    FittedPoint,
    Look,
    Metrics,
    Mistakes,
    OptimizerMetrics,
    OptimizerResult,
    Pair,
    ScorePoint,
    TuningPoint,
)
from stages.common.runs import (
    EPOCHS,
    RUN,
    TRIALS,
    WEIGHTS,
    Completed,
    Diverged,
    EpochRow,
    Failed,
    Run,
    Setting,
    TrialRow,
    Weights,
)
from stages.common.score import score_of
from tests.parameters import COMMITTED

T = TypeVar("T")

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
LABELS = np.array([0, 1], np.int32)
EXAMPLES = Examples(IMAGES, LABELS)
SCALING = Scaling((1 / 23,), (0.0,), (), ())
SHAPES = Dataset(
    name="숫자",
    input_shape=(3, 4, 1),
    input_dtype="uint8",
    n_outputs=2,
    class_names=("0", "1"),
    features=(),
    n_train=2,
    n_validation=1,
    n_test=2,
    train_counts=(2, 0),
    validation_counts=(0, 1),
    test_counts=(1, 1),
    files=(),
    scaling=SCALING,
)
HOUSES = replace(
    SHAPES,
    input_shape=(2,),
    input_dtype="float32",
    n_outputs=1,
    class_names=(),
    features=("area", "층"),
    train_counts=(),
    validation_counts=(),
    test_counts=(),
    scaling=Scaling((0.1, 1 / 3), (-2.0, 0.25), (31.7,), (-4.0,)),
)
TRIAL: dict[str, Any] = {
    "phase": "tuning",
    "setting": 2,
    "learning_rate": 0.01,
    "seed": 1,
    "n_epochs": 5,
    "n_steps": 50,
}
COMPLETED = Completed(
    **TRIAL,
    train_loss=0.5,
    train_score=0.8,
    validation_loss=0.6,
    validation_score=0.75,
    best_epoch=4,
    best_validation_score=0.77,
)
DIVERGED = Diverged(**TRIAL)
FAILED = Failed(**TRIAL, reason='ValueError: no "x", but y')
EPOCH = EpochRow("confirmation", 1, 42, 1, 0.5, 0.8, 0.6, 0.75)
SGD = Run(
    class_name="SGD",
    optimizer={"momentum": 0.9, "name": None},
    settings=(Setting(0.1, 0.01), Setting(1.0, 0.1)),
    tuned=0,
    configured=1,
    jit_compile=True,
    n_parameters=7,
    n_state=7,
    versions={"keras": "3.15"},
)
TRAINED = Weights(
    np.array([0, 1]),
    np.array([42, 43]),
    tuple(np.full((2, size), size, np.float32) for size in (3, 1, 2)),
)
NOTHING = Estimate(None, None, None, None)
CONFIRMED = Confirmed(
    learning_rate=0.1,
    n_trials=10,
    n_failed=1,
    test_score=Estimate(0.91, 0.9, 0.92, 0.01),
    test_loss=Estimate(0.3, None, None, None),
    validation_score=NOTHING,
    best_validation_score=NOTHING,
)
RESULT = OptimizerResult(
    class_name="SGD",
    tuned=CONFIRMED,
    configured=replace(CONFIRMED, learning_rate=1.0, test_score=Estimate(0.8, 0.7, 0.9, 0.1)),
    criteria=Criteria((4, 7, 8), 10, 7.5, None, 0.01, 0.1, 0.05, 1.0),
)
PAIR = Pair("sgd", "adam", "undecided", 10, None, None, None, 0.25, 0.005, 0.5, 0.01)
FINDING = Finding("edge_of_grid", ("sgd",), {"extreme": "highest", "rates": {"sgd": 0.5}})
COMPARED = Comparison(
    dataset=replace(SHAPES, scaling=Scaling((), (), (), ())),
    score=score_of(COMMITTED.task),
    n_parameters=7,
    n_trials=35,
    n_steps=1500,
    confidence=0.95,
    margin=0.002,
    target=None,
    best="sgd",
    bound=None,
    n_seeds=15,
    verdict="Take sgd.",
    details=("None failed.", "These test images."),
    warnings=(FINDING, replace(FINDING, optimizers=())),
    optimizers={"sgd": RESULT},
    pairs=(PAIR, replace(PAIR, label="better", n_seeds=15, test_set_half_width=None)),
    looks=(
        Look(10, ("sgd", "adam"), "adam", 0.01, ()),
        Look(15, ("sgd", "adam"), "sgd", None, ("adam",)),
    ),
    versions={"keras": "3"},
)
TOLD = Metrics(
    best=None,
    bound=0.00206727,
    seeds=160,
    warnings=2,
    optimizers={
        "adam": OptimizerMetrics(failed=10),
        "sgd": OptimizerMetrics(0.91, 0.9, 0.92, 0.1, 1),
    },
)

SCORED = Scored(
    optimizer="sgd",
    rate="tuned",
    seed=42,
    n_steps=50,
    validation_score=0.75,
    best_validation_score=0.77,
    test_score=0.7,
    test_loss=0.9,
)
UNSCORED = Unscored(optimizer="adam", rate="configured", seed=43, n_steps=3, outcome="failed")


class Kind(NamedTuple, Generic[T]):
    """A declared file and a value that it can hold."""

    file: File[T]
    value: T


KINDS: dict[str, Kind[Any]] = {
    "SOURCE": Kind(
        SOURCE,
        Source("mnist", "idx", ("https://a/", "b"), ("0", "1"), (RawFile("a.gz", 3, "f" * 64),)),
    ),
    "RAW_ARRAYS": Kind(RAW_ARRAYS, RawArrays(IMAGES, LABELS, IMAGES[:1], LABELS[:1])),
    "TRAIN": Kind(TRAIN, EXAMPLES),
    "VALIDATION": Kind(VALIDATION, EXAMPLES),
    "TEST": Kind(TEST, EXAMPLES),
    "DATASET": Kind(DATASET, SHAPES),
    "TRIALS": Kind(TRIALS, [COMPLETED, FAILED, DIVERGED]),
    "EPOCHS": Kind(EPOCHS, [EPOCH]),
    "RUN": Kind(RUN, SGD),
    "WEIGHTS": Kind(WEIGHTS, TRAINED),
    "ROWS": Kind(ROWS, [SCORED, UNSCORED]),
    "PREDICTIONS": Kind(
        PREDICTIONS,
        Predictions(
            (np.array([[0, 1], [1, 1]], np.uint8), np.zeros((0, 2), np.uint8)),
            (np.array([0.5, 1.0]), np.zeros(0)),
        ),
    ),
    "METRICS": Kind(METRICS, TOLD),
    "COMPARISON": Kind(COMPARISON, COMPARED),
    "PAIRS": Kind(PAIRS, [PAIR, replace(PAIR, label="better", mean_difference=0.01)]),
    "MISTAKES": Kind(
        MISTAKES, Mistakes(IMAGES, np.array([0, 1]), np.array([1, 0]), np.array([10, 3]))
    ),
    "CURVES": Kind(CURVES, [CurvePoint("sgd", "train", 1, 0.5, 0.8, 0.7, 0.9)]),
    "SCORES": Kind(SCORES, [ScorePoint("sgd", 0.91, None, None)]),
    "TUNING": Kind(TUNING, [TuningPoint("sgd", 0.1, 0.01, None, 3, 3, "neither")]),
    "CONFUSION": Kind(CONFUSION, [ConfusionCell("sgd", "T-shirt/top", "셔츠", 0.25)]),
    "FITTED": Kind(FITTED, [FittedPoint("sgd", 1, -3.5, -3.0, -4.0, 2.5)]),
}
# Of data that are no pictures with classes.
OTHER_KINDS: dict[str, Kind[Any]] = {
    "names": Kind(
        RAW_ARRAYS, RawArrays(IMAGES, np.array(["고양이", "dog"]), IMAGES[:0], np.array([], "U1"))
    ),
    "regression": Kind(DATASET, HOUSES),
    "numbers": Kind(
        PREDICTIONS, Predictions((np.ones((3, 2, 1), np.float32),), (np.array([-0.5, 1.0]),))
    ),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "end-cut": lambda content: content[:-9],
    "half": lambda content: content[: len(content) // 2],
    "byte-flipped": lambda content: b"\xff" + content[1:],
    "empty": lambda _: b"",
    "other-columns": lambda _: b"a,b\n1,2\n",
    "other-keys": lambda _: b'{"a": 1}\n',
}


def plain(value: Any) -> Any:
    """The value with its types, to the dtype of its arrays, as what `==` can compare."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, {name: plain(entry) for name, entry in vars(value).items()}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value


def assert_told(error: InputError, path: Path) -> None:
    """That a person reads one line, with the file and the way out."""
    (line,) = str(error).splitlines()
    assert line.startswith(f"{path}: ")
    assert "dvc repro" in line


def assert_refused(file: File[Any], folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        file.read(folder)
    assert_told(caught.value, folder / file.name)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that Python and NumPy held at once for the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_declared_file_has_an_example_here() -> None:
    declared = {
        name: file
        for module in (data, runs, confirmation, results)
        for name, file in vars(module).items()
        if isinstance(file, File)
    }
    assert {name: kind.file for name, kind in KINDS.items()} == declared


@pytest.mark.parametrize("name", [*KINDS, *OTHER_KINDS])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    file, value = (KINDS | OTHER_KINDS)[name]
    file.write(tmp_path / "new", value)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [file.name]
    assert plain(file.read(tmp_path / "new")) == plain(value)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_is_written_in_the_same_bytes(tmp_path: Path, name: str) -> None:
    file, value = KINDS[name]
    file.write(tmp_path / "once", value)
    file.write(tmp_path / "again", file.read(tmp_path / "once"))
    written = [(tmp_path / folder / file.name).read_bytes() for folder in ("once", "again")]
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["DATASET", "METRICS", "TRIALS", "TRAIN", "WEIGHTS"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, name: str, damage: str) -> None:
    file, value = KINDS[name]
    (tmp_path / file.name).write_bytes(DAMAGES[damage](file.encode(value)))
    assert_refused(file, tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="No such file") as caught:
        KINDS[name].file.read(tmp_path)
    assert_told(caught.value, tmp_path / KINDS[name].file.name)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.keras"
    with replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
        assert temporary.suffix == ".keras"
        temporary.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_text_is_written_as_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "숫자\nand\r\n")
    assert (tmp_path / "text").read_bytes() == b"\xec\x88\xab\xec\x9e\x90\nand\r\n"


# Digests


def test_what_is_not_what_its_stage_wrote_is_refused_with_the_commands_that_heal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    DATASET.write(folder, SHAPES)
    written = (folder / DATASET.name).read_bytes()
    write_digests(folder, DATASET.name)
    assert DATASET.read(folder) == SHAPES

    DATASET.write(folder, replace(SHAPES, name="another"))
    with pytest.raises(InputError) as caught:
        DATASET.read(folder)
    assert_told(caught.value, folder / DATASET.name)
    digest = hashlib.md5(written, usedforsecurity=False).hexdigest()
    cached = f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}"
    assert f"`rm -f {cached} '{folder / DATASET.name}'`" in str(caught.value)

    # In DVC's copy of the project, the cache is still the project's.
    copy = tmp_path / ".dvc/tmp/exps/x"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(InputError, match=re.escape(f"`rm -f {tmp_path / cached} ")):
        DATASET.read(folder)


def test_a_file_without_digests_beside_it_is_read_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "b")
    assert read_checked(tmp_path / "a") == b"b"


def test_damaged_digests_are_named(tmp_path: Path) -> None:
    DATASET.write(tmp_path, SHAPES)
    write_text(tmp_path / "digests.json", "{")
    with pytest.raises(InputError) as caught:
        DATASET.read(tmp_path)
    assert_told(caught.value, tmp_path / "digests.json")


# Json


@dataclass(frozen=True)
class Measured:
    """A measured value, alone and nested."""

    value: float
    nested: Mapping[str, tuple[float, ...]]


MEASURED = Json("measured.json", Measured)
EXACT = Json("exact.json", Measured, exact=True)


@pytest.mark.parametrize(
    ("measured", "written"),
    [
        (1 / 255, "0.00392157"),
        (0.1 + 0.2, "0.3"),
        (1234567.8, "1234570.0"),
        (1.23456789e-9, "1.23457e-09"),
        (-2 / 3, "-0.666667"),
    ],
)
def test_json_rounds_measured_values_to_six_digits_nested_ones_too(
    measured: float, written: str
) -> None:
    content = MEASURED.encode(Measured(measured, {"all": (measured,)}))
    assert content.decode().splitlines() == [
        "{",
        f'  "value": {written},',
        '  "nested": {',
        '    "all": [',
        f"      {written}",
        "    ]",
        "  }",
        "}",
    ]


def test_json_rounds_no_whole_number_and_no_text() -> None:
    source = Source("1.23456789", "npz", (), (), (RawFile("a", 123456789, ""),))
    assert SOURCE.decode(SOURCE.encode(source)) == source


def test_json_that_is_exact_keeps_every_digit() -> None:
    value = Measured(1 / 255, {"all": (0.1 + 0.2,)})
    content = EXACT.encode(value)
    assert b'"value": 0.00392156862745098,' in content
    assert EXACT.decode(content) == value


def test_json_is_readable_text_with_a_line_end(tmp_path: Path) -> None:
    DATASET.write(tmp_path, SHAPES)
    text = (tmp_path / "dataset.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "name": "숫자",\n')
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("file", [MEASURED, EXACT], ids=["rounded", "exact"])
def test_json_refuses_what_is_not_finite_and_leaves_the_old_file_alone(
    tmp_path: Path, file: Json[Measured], number: float
) -> None:
    good = Measured(0.5, {"all": (0.5,)})
    for bad in (replace(good, value=number), replace(good, nested={"all": (0.5, number)})):
        with pytest.raises(ValueError, match="not JSON compliant"):
            file.write(tmp_path / "new", bad)
        assert not list(tmp_path.rglob(f"*{file.name}*"))
    file.write(tmp_path, good)
    with pytest.raises(ValueError, match="not JSON compliant"):
        file.write(tmp_path, replace(good, value=number))
    assert file.read(tmp_path) == good
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize(("name", "old"), [("RUN", "0.01"), ("RUN", "0.9"), ("PAIRS", "0.25")])
def test_a_number_that_is_not_finite_is_not_read(
    tmp_path: Path, name: str, old: str, number: str
) -> None:
    file, value = KINDS[name]
    content = file.encode(value)
    assert old.encode() in content
    (tmp_path / file.name).write_bytes(content.replace(old.encode(), number.encode()))
    with pytest.raises(InputError) as caught:
        file.read(tmp_path)
    assert_told(caught.value, tmp_path / file.name)


def test_metrics_of_an_earlier_commit_may_lack_some(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"optimizers": {"sgd": {"score": 0.9}}}')
    assert METRICS.read(tmp_path) == Metrics(optimizers={"sgd": OptimizerMetrics(0.9)})


def test_the_score_in_metrics_of_an_earlier_commit_may_be_called_accuracy(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"optimizers": {"sgd": {"accuracy": 0.9}}}')
    assert METRICS.read(tmp_path) == Metrics(optimizers={"sgd": OptimizerMetrics(0.9)})


@pytest.mark.parametrize("failed", ["n_diverged", "n_failed"])
def test_metrics_of_an_earlier_commit_may_have_longer_names(tmp_path: Path, failed: str) -> None:
    score = {
        "test_accuracy": 0.91,
        "test_accuracy_low": 0.9,
        "test_accuracy_high": 0.92,
        "configured_test_accuracy": 0.8,
        "learning_rate": 0.1,
        failed: 1,
    }
    older = {"best": "sgd", "verdict": "Best is sgd.", "warnings": 2, "optimizers": {"sgd": score}}
    (tmp_path / "metrics.json").write_text(json.dumps(older))
    expected = {"sgd": OptimizerMetrics(0.91, 0.9, 0.92, 0.1, 1)}
    assert METRICS.read(tmp_path) == Metrics(best="sgd", warnings=2, optimizers=expected)


def test_metrics_are_written_under_their_short_names(tmp_path: Path) -> None:
    METRICS.write(tmp_path, TOLD)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert list(written) == ["best", "bound", "seeds", "warnings", "optimizers"]
    assert list(written["optimizers"]["sgd"]) == ["score", "low", "high", "rate", "failed"]


def test_metrics_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"optimizers": {"sgd": {"score": NaN}}}')
    with pytest.raises(InputError, match=r"metrics\.json: .*optimizers\.sgd\.score: "):
        METRICS.read(tmp_path)


# Csv


@pytest.mark.parametrize(
    ("end", "other"),
    [(b",0.75\n", b"\n"), (b",0.75\n", b",0.75,0.5\n")],
    ids=["too-few", "too-many"],
)
def test_a_row_with_another_number_of_cells_is_refused(
    tmp_path: Path, end: bytes, other: bytes
) -> None:
    content = EPOCHS.encode([EPOCH])
    assert content.endswith(end)
    (tmp_path / "curves.csv").write_bytes(content.removesuffix(end) + other)
    with pytest.raises(InputError, match=r"curves\.csv: "):
        EPOCHS.read(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        "optimizer,test_score,low",
        "optimizer,low,test_score,high",
        "optimizer,test_score,low,high,x",
    ],
    ids=["too-few", "other-order", "too-many"],
)
def test_a_table_with_other_columns_is_refused(tmp_path: Path, header: str) -> None:
    row = ",".join(["1"] * len(header.split(",")))
    (tmp_path / "scores.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(InputError, match=r"scores\.csv: .*columns .* should be \['optimizer', "):
        SCORES.read(tmp_path)


@pytest.mark.parametrize(
    ("measured", "written"),
    [
        (0.31622776601683794, "0.316228"),
        (0.1 + 0.2, "0.3"),
        (1234567.8, "1234570.0"),
        (1.23456789e-9, "1.23457e-09"),
        (None, ""),
    ],
)
def test_measured_values_have_six_significant_digits(measured: float | None, written: str) -> None:
    content = SCORES.encode([ScorePoint("sgd", measured, None, None)])
    assert content.decode().splitlines()[1] == f"sgd,{written},,"


@pytest.mark.parametrize(
    ("file", "row", "lines"),
    [
        (
            PAIRS,
            PAIR,
            [
                (
                    "first,second,label,n_seeds,mean_difference,low,high,p,nominal,"
                    "probability_of_improvement,test_set_half_width"
                ),
                "sgd,adam,undecided,10,,,,0.25,0.005,0.5,0.01",
            ],
        ),
        (
            TUNING,
            TuningPoint("sgd", 0.1, 0.01, None, 3, 3, "neither"),
            [
                (
                    "optimizer,learning_rate_factor,learning_rate,validation_score,n_trials,"
                    "n_failed,choice,arguments"
                ),
                "sgd,0.1,0.01,,3,3,neither,",
            ],
        ),
        (
            SCORES,
            ScorePoint("sgd", 0.912345678, None, None),
            ["optimizer,test_score,low,high", "sgd,0.912346,,"],
        ),
    ],
    ids=["pairs", "tuning", "scores"],
)
def test_a_table_has_its_columns_and_leaves_the_unknown_empty(
    file: Csv[Any], row: Any, lines: list[str]
) -> None:
    assert file.encode([row]) == "".join(f"{line}\n" for line in lines).encode()


def test_a_table_of_a_union_has_the_columns_of_all_and_empty_cells_for_what_a_row_lacks() -> None:
    failed = replace(FAILED, reason="it broke")
    assert TRIALS.encode([COMPLETED, DIVERGED, failed]).decode().splitlines() == [
        (
            "phase,setting,learning_rate,seed,n_epochs,n_steps,outcome,train_loss,train_score,"
            "validation_loss,validation_score,best_epoch,best_validation_score,reason"
        ),
        "tuning,2,0.01,1,5,50,completed,0.5,0.8,0.6,0.75,4,0.77,",
        "tuning,2,0.01,1,5,50,diverged,,,,,,,",
        "tuning,2,0.01,1,5,50,failed,,,,,,,it broke",
    ]


def test_a_trial_of_the_race_has_its_scores_or_none() -> None:
    assert ROWS.encode([SCORED, UNSCORED]).decode().splitlines() == [
        (
            "optimizer,rate,seed,n_steps,outcome,validation_score,best_validation_score,"
            "test_score,test_loss"
        ),
        "sgd,tuned,42,50,completed,0.75,0.77,0.7,0.9",
        "adam,configured,43,3,failed,,,,",
    ]


def test_rows_of_a_union_are_read_back_as_the_same_types() -> None:
    rows: list[TrialRow] = [FAILED, COMPLETED, DIVERGED, COMPLETED]
    found = TRIALS.decode(TRIALS.encode(rows))
    assert [type(row) for row in found] == [Failed, Completed, Diverged, Completed]
    assert found == rows


def test_a_table_without_rows_is_read_back_as_none() -> None:
    assert TRIALS.decode(TRIALS.encode([])) == []


@pytest.mark.parametrize(
    ("row", "old", "new"),
    [
        (COMPLETED, "0.75", ""),
        (COMPLETED, ",4,", ",,"),
        (COMPLETED, "completed,0.5,0.8,0.6,0.75,4,0.77,", "completed,,,,,,,"),
        (COMPLETED, "completed", "ended"),
        (COMPLETED, "completed", ""),
        (COMPLETED, "tuning", "training"),
        (COMPLETED, "0.75", "high"),
        (replace(FAILED, reason="it broke"), "it broke", ""),
        (DIVERGED, "diverged", "completed"),
        (DIVERGED, "diverged", "failed"),
        (DIVERGED, ",50,", ",,"),
    ],
    ids=[
        "completed-without-score",
        "completed-without-best-epoch",
        "completed-without-any-score",
        "unknown-outcome",
        "no-outcome",
        "unknown-phase",
        "score-no-number",
        "failed-without-reason",
        "diverged-called-completed",
        "diverged-called-failed",
        "diverged-without-steps",
    ],
)
def test_a_trial_that_does_not_have_what_its_outcome_demands_is_refused(
    tmp_path: Path, row: Completed | Diverged | Failed, old: str, new: str
) -> None:
    text = TRIALS.encode([DIVERGED, row]).decode()
    header, first, last = text.splitlines()
    assert last.count(old) == 1
    (tmp_path / "trials.csv").write_text("\n".join([header, first, last.replace(old, new), ""]))
    assert_refused(TRIALS, tmp_path)


@pytest.mark.parametrize("text", ['a,"b"', " spaces ", "섞다", "'", "=1+1", "#", ";"])
def test_text_of_a_table_is_read_back_as_it_is(text: str) -> None:
    rows: list[TrialRow] = [replace(FAILED, reason=text), DIVERGED]
    assert TRIALS.decode(TRIALS.encode(rows)) == rows


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\u202e", "\ud800"])
def test_what_shows_nothing_is_marked_in_a_table(sign: str) -> None:
    content = TRIALS.encode([replace(FAILED, reason=f"a{sign}b")])
    assert "a\ufffdb" in content.decode()
    assert content.count(b"\n") == 2


# Arrays


@dataclass(frozen=True)
class Parts:
    """Arrays alone and in tuples."""

    first: tuple[UInt8Array, ...]
    labels: IntArray
    last: tuple[UInt8Array, ...]


PARTS = Arrays("parts.npz", Parts)


@pytest.mark.parametrize("n_first", [0, 1, 12])
@pytest.mark.parametrize("n_last", [0, 1, 12])
def test_a_tuple_s_arrays_are_read_back_in_order_however_many(
    tmp_path: Path, n_first: int, n_last: int
) -> None:
    value = Parts(
        tuple(np.full(i + 1, i, np.uint8) for i in range(n_first)),
        np.arange(3),
        tuple(np.full((2, i), 100 + i, np.uint8) for i in range(n_last)),
    )
    PARTS.write(tmp_path, value)
    assert plain(PARTS.read(tmp_path)) == plain(value)


def test_the_arrays_of_a_tuple_are_numbered() -> None:
    names = np.load(BytesIO(WEIGHTS.encode(TRAINED))).files
    assert names == ["settings", "seeds", "arrays.0000", "arrays.0001", "arrays.0002"]


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, np.nan, -np.inf], np.float32),
        np.arange(6, dtype=np.int64).reshape(2, 3).T,
        np.zeros((0, 3), np.uint8),
        np.array(7),
        np.array([True, False]),
    ],
    ids=["not-finite", "transposed", "empty", "scalar", "truth"],
)
def test_numpy_itself_reads_what_is_written(array: np.ndarray) -> None:
    with np.load(BytesIO(TRAIN.encode(Examples(array, LABELS)))) as archive:
        assert archive.files == ["inputs", "targets"]
        np.testing.assert_array_equal(archive["inputs"], array, strict=True)
        np.testing.assert_array_equal(archive["targets"], LABELS, strict=True)


def test_objects_are_not_written() -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        TRAIN.encode(Examples(np.array([{}]), LABELS))


@pytest.mark.parametrize(
    "arrays",
    [{"inputs": IMAGES}, {"inputs": IMAGES, "targets": LABELS, "more": LABELS}],
    ids=["too-few", "too-many"],
)
def test_an_archive_with_other_arrays_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(InputError, match=r"train\.npz: .*should be \['inputs', 'targets'\]"):
        TRAIN.read(tmp_path)


def test_an_archive_with_objects_is_refused_without_loading_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", inputs=np.array([{}]), targets=LABELS)
    with pytest.raises(InputError, match="cannot create an OBJECT array"):
        TRAIN.read(tmp_path)


def test_an_array_with_more_behind_it_is_refused(tmp_path: Path) -> None:
    with np.load(BytesIO(TRAIN.encode(EXAMPLES))) as archive:
        members = {f"{name}.npy": archive.zip.read(f"{name}.npy") for name in archive.files}
    members["targets.npy"] += b"\x00\x00\x00\x00"
    (tmp_path / "train.npz").write_bytes(write_archive(members))
    with pytest.raises(InputError, match=r"cannot reshape array of size 3 into shape \(2,\)"):
        TRAIN.read(tmp_path)


def npy(array: np.ndarray, shape: str | None = None) -> bytes:
    """An array as NumPy writes it, or with another shape in its header."""
    with BytesIO() as file:
        np.lib.format.write_array(file, array)
        content = file.getvalue()
    own = f"{array.shape}, }}".encode()
    return (
        content if shape is None else content.replace(own, f"{shape}, }}".ljust(len(own)).encode())
    )


@pytest.mark.parametrize("shape", ["(4000000000,)", "(99999, 99999)"])
def test_an_array_that_claims_to_be_huge_takes_no_memory(tmp_path: Path, shape: str) -> None:
    targets = npy(np.zeros((1, 1, 1, 1, 1), np.uint8), shape)
    assert shape.encode() in targets
    content = write_archive({"inputs.npy": npy(IMAGES), "targets.npy": targets})
    (tmp_path / TRAIN.name).write_bytes(content)
    assert peak_bytes(lambda: assert_refused(TRAIN, tmp_path)) < 2**20


def test_an_archive_that_unpacks_to_much_is_refused_before(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / TRAIN.name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", npy(IMAGES))
        archive.writestr("targets.npy", npy(np.zeros(2**25, np.uint8)))
    assert peak_bytes(lambda: assert_refused(TRAIN, tmp_path)) < 2**20
    with pytest.raises(InputError, match="claims to hold more than"):
        TRAIN.read(tmp_path)


# Archives, by PKWARE's APPNOTE.TXT

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s4B4H3I5H2I")
END = struct.Struct("<4s4H2IH")
DATE = (0 << 9) | (1 << 5) | 1  # years from 1980, month, day


def assert_is_plain_archive(content: bytes, members: Mapping[str, bytes]) -> None:
    """Every byte: the members with their headers, the directory, its end, and nothing else."""
    offset, offsets = 0, []
    fixed: tuple[bytes | int, ...]
    for name, member in members.items():
        crc, size = zlib.crc32(member), len(member)
        header = LOCAL.unpack_from(content, offset)
        version, flags, method, time = 20, 0, 0, 0
        fixed = (b"PK\x03\x04", version, flags, method, time, DATE)
        assert header == (*fixed, crc, size, size, len(name), 0)
        offsets.append(offset)
        offset += LOCAL.size
        assert content[offset:].startswith(name.encode("ascii") + member)
        offset += len(name) + size
    begin = offset
    for (name, member), place in zip(members.items(), offsets, strict=True):
        crc, size = zlib.crc32(member), len(member)
        made_by, unix, version, reserved, flags, method, time = 20, 3, 20, 0, 0, 0, 0
        fixed = (b"PK\x01\x02", made_by, unix, version, reserved, flags, method, time, DATE)
        extra, comment, disk, internal = 0, 0, 0, 0
        rest = (len(name), extra, comment, disk, internal, 0o600 << 16, place)
        assert CENTRAL.unpack_from(content, offset) == (*fixed, crc, size, size, *rest)
        offset += CENTRAL.size
        assert content[offset:].startswith(name.encode("ascii"))
        offset += len(name)
    n, disk, comment = len(members), 0, 0
    end = (b"PK\x05\x06", disk, disk, n, n, offset - begin, begin, comment)
    assert END.unpack_from(content, offset) == end
    assert len(content) == offset + END.size


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"empty": b""},
        {"config.json": b"{}", "model.weights.h5": bytes(range(256)) * 9, "folder/x": b"x"},
    ],
    ids=["none", "empty", "three"],
)
def test_every_byte_of_an_archive_is_fixed(members: dict[str, bytes]) -> None:
    assert_is_plain_archive(write_archive(members), members)


def test_every_byte_of_written_arrays_is_fixed() -> None:
    members = {}
    for name, array in (("inputs", IMAGES), ("targets", LABELS)):
        with BytesIO() as file:
            np.save(file, array)
            members[f"{name}.npy"] = file.getvalue()
    assert_is_plain_archive(TRAIN.encode(EXAMPLES), members)


@pytest.mark.parametrize(
    ("content", "sha256"),
    [
        (
            write_archive({"a.txt": b"abc", "b.txt": b""}),
            "73febfb118142d2ec31202d4e8a059db4b80deae746b52c28e28e76d1a69cdab",
        ),
        (
            TRAIN.encode(EXAMPLES),
            "8786ddb62d520293cd478271e49c274c4c06a27ceeec96a90c57339eb30e7f79",
        ),
        (
            WEIGHTS.encode(TRAINED),
            "8791b099fd1b5601357d6b063bbe60d4f859c763bc9bc3fab50a6be0f3eb37ee",
        ),
    ],
    ids=["archive", "examples", "weights"],
)
def test_every_version_of_python_writes_these_bytes(content: bytes, sha256: str) -> None:
    assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TRAIN", "WEIGHTS"])
def test_an_archive_with_a_flipped_byte_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    file, value = KINDS[name]
    content = file.encode(value)
    for place, mask in product(range(len(content)), (0x01, 0xFF)):
        damaged = bytearray(content)
        damaged[place] ^= mask
        (tmp_path / file.name).write_bytes(damaged)
        assert_refused(file, tmp_path)


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = TRAIN.encode(EXAMPLES)
    for n_kept in range(len(content)):
        (tmp_path / "train.npz").write_bytes(content[:n_kept])
        assert_refused(TRAIN, tmp_path)
