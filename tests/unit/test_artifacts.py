"""The files that pass between stages: what is written is read back, and nothing half-written."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pytest

from stages.common import artifacts
from stages.common.artifacts import (
    BudgetPoint,
    Comparison,
    Confirmed,
    ConfusionCell,
    Criteria,
    CurvePoint,
    Dataset,
    EpochRow,
    Estimate,
    Examples,
    Finding,
    Mistakes,
    Pair,
    RawArrays,
    RawFile,
    Run,
    ScoreRow,
    Source,
    Standing,
    TrialRow,
    TuningPoint,
    Weights,
)
from stages.common.console import InputError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
LABELS = np.array([0, 1], np.uint8)
DATASET = Dataset("숫자", ("0", "1"), 3, 4, 1, 23, (2, 0), (0, 1), (1, 1), ())
TRIAL = TrialRow("tuning", 0.1, 0.01, 1, "completed", 5, 50, 0.5, 0.8, 0.6, 0.75, 4, 0.77)
DIVERGED = replace(TRIAL, status="diverged", validation_loss=None, best_epoch=None)
EPOCH = EpochRow("confirmation", 1.0, 42, 1, 0.5, 0.8, None, None)
WEIGHTS = Weights(
    np.array([0.1, 1.0]),
    np.array([42, 43]),
    # More than ten, since weight_0010 comes after weight_0009 and not after weight_0001.
    tuple(np.full((2, size), size, np.float32) for size in range(1, 13)),
)
NOTHING = Estimate(None, None, None, None)
CONFIRMED = Confirmed(
    learning_rate=0.1,
    n_trials=10,
    n_diverged=1,
    test_accuracy=Estimate(0.91, 0.9, 0.92, 0.01),
    test_loss=Estimate(0.3, None, None, None),
    validation_accuracy=NOTHING,
    best_validation_accuracy=NOTHING,
)
STANDING = Standing(
    class_name="SGD",
    tuned=CONFIRMED,
    configured=replace(CONFIRMED, learning_rate=1.0, test_accuracy=Estimate(0.8, 0.7, 0.9, 0.1)),
    criteria=Criteria((4, 7, 8), 6.5, None, 0.01, 0.1, 0.05, 1.0, (0.5, 0.75)),
)
PAIR = Pair("sgd", "adam", "undecided", 1, None, None, None, None, None, 0.5, 0.01, None)
FINDING = Finding("edge_of_grid", ("sgd",), "Tuning chose the highest.", "Set a higher one.")
COMPARISON = Comparison(
    dataset=DATASET,
    n_parameters=7,
    n_trials=35,
    n_steps=1500,
    confidence=0.95,
    margin=0.002,
    target_accuracy=None,
    best="sgd",
    verdict="Best is sgd.",
    budget="Take sgd.",
    warnings=(FINDING, replace(FINDING, optimizers=())),
    optimizers={"sgd": STANDING},
    pairs=(PAIR, replace(PAIR, label="better", n_seeds=10, p=0.01, n_seeds_needed=80)),
    versions={"keras": "3"},
)


class Kind(NamedTuple):
    """A file type: its writer and its reader, both of a folder, and a value."""

    write: Callable[[Path, Any], None]
    read: Callable[[Path], Any]
    value: Any


KINDS = {
    "source.json": Kind(
        lambda folder, value: artifacts.write_source(value, folder),
        artifacts.read_source,
        Source("mnist", "idx", ("https://a/", "b"), ("0", "1"), (RawFile("a.gz", 3, "f" * 64),)),
    ),
    "arrays.npz": Kind(
        lambda folder, value: artifacts.write_raw_arrays(folder / "arrays.npz", value),
        lambda folder: artifacts.read_raw_arrays(folder / "arrays.npz"),
        RawArrays(IMAGES, LABELS, IMAGES[:1], LABELS[:1]),
    ),
    "train.npz": Kind(
        lambda folder, value: artifacts.write_examples(folder / "train.npz", value),
        lambda folder: artifacts.read_examples(folder / "train.npz"),
        Examples(IMAGES, LABELS),
    ),
    "dataset.json": Kind(
        lambda folder, value: artifacts.write_dataset(value, folder / "dataset.json"),
        lambda folder: artifacts.read_dataset(folder / "dataset.json"),
        DATASET,
    ),
    "trials.csv": Kind(artifacts.write_trials, artifacts.read_trials, [TRIAL, DIVERGED]),
    "curves.csv": Kind(artifacts.write_epochs, artifacts.read_epochs, [EPOCH]),
    "run.json": Kind(
        artifacts.write_run,
        artifacts.read_run,
        Run("SGD", {"momentum": 0.9, "name": None}, 3.16, True, 7, 7, {"keras": "3.12"}),
    ),
    "weights.npz": Kind(artifacts.write_weights, artifacts.read_weights, WEIGHTS),
    "comparison.json": Kind(
        lambda folder, value: artifacts.write_comparison(value, folder),
        artifacts.read_comparison,
        COMPARISON,
    ),
    "mistakes.npz": Kind(
        lambda folder, value: artifacts.write_mistakes(value, folder),
        artifacts.read_mistakes,
        Mistakes(IMAGES, np.array([0, 1]), np.array([1, 0]), np.array([10, 3])),
    ),
    "scores.csv": Kind(
        lambda folder, value: artifacts.write_scores(value, folder),
        artifacts.read_scores,
        [ScoreRow("sgd", 1.0, 0.1, 42, 0.9, 0.3, 0.91)],
    ),
    "plots/curves.csv": Kind(
        lambda folder, value: artifacts.write_curve_points(value, folder / "plots"),
        lambda folder: artifacts.read_curve_points(folder / "plots"),
        [CurvePoint("sgd", "train", 1, 0.5, 0.8, 0.7, 0.9)],
    ),
    "tuning.csv": Kind(
        lambda folder, value: artifacts.write_tuning_points(value, folder),
        artifacts.read_tuning_points,
        [TuningPoint("sgd", 0.1, 0.01, None, 3, 3, "neither")],
    ),
    "budget.csv": Kind(
        lambda folder, value: artifacts.write_budget_points(value, folder),
        artifacts.read_budget_points,
        [BudgetPoint("sgd", 1, 0.5)],
    ),
    "confusion.csv": Kind(
        lambda folder, value: artifacts.write_confusion(value, folder),
        artifacts.read_confusion,
        [ConfusionCell("sgd", "T-shirt/top", "셔츠", 0.25)],
    ),
}


def plain(value: Any) -> Any:
    return [asdict(row) for row in value] if isinstance(value, list) else asdict(value)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    kind.write(tmp_path, kind.value)
    np.testing.assert_equal(plain(kind.read(tmp_path)), plain(kind.value))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_is_written_in_the_same_bytes(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    kind.write(tmp_path / "once", kind.value)
    kind.write(tmp_path / "again", kind.read(tmp_path / "once"))
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


def test_arrays_are_stored_without_the_time_of_day(tmp_path: Path) -> None:
    artifacts.write_examples(tmp_path / "train.npz", Examples(IMAGES, LABELS))
    with ZipFile(tmp_path / "train.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_architecture_is_written_readably_and_read_back(tmp_path: Path) -> None:
    artifacts.write_architecture(tmp_path, '{"layers": [{"units": 100}]}')
    assert json.loads(artifacts.read_architecture(tmp_path)) == {"layers": [{"units": 100}]}
    assert len((tmp_path / "architecture.json").read_text(encoding="utf-8").splitlines()) > 1


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" + content[1:],
        lambda _: b"",
        lambda _: b"a,b\n1,2\n",
        lambda _: b'{"a": 1}\n',
    ],
    ids=["end-cut", "half", "byte-flipped", "empty", "other-columns", "other-keys"],
)
def test_a_damaged_file_is_named_with_the_way_out(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    kind = KINDS[name]
    kind.write(tmp_path, kind.value)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        kind.read(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert "dvc repro" in line


@pytest.mark.parametrize(
    ("end", "other"), [(b",,\n", b"\n"), (b",,\n", b",,,0.5\n")], ids=["too-few", "too-many"]
)
def test_a_row_with_another_number_of_cells_is_refused(
    tmp_path: Path, end: bytes, other: bytes
) -> None:
    artifacts.write_epochs(tmp_path, [EPOCH])
    path = tmp_path / "curves.csv"
    path.write_bytes(path.read_bytes().removesuffix(end) + other)
    with pytest.raises(InputError, match=r"curves\.csv: "):
        artifacts.read_epochs(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="No such file") as caught:
        KINDS[name].read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    "arrays",
    [{"images": IMAGES}, {"images": IMAGES, "labels": LABELS, "more": LABELS}],
    ids=["too-few", "too-many"],
)
def test_an_archive_with_other_arrays_is_refused(
    tmp_path: Path, arrays: dict[str, artifacts.UInt8Array]
) -> None:
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(InputError, match=r"train\.npz: "):
        artifacts.read_examples(tmp_path / "train.npz")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    artifacts.write_text(path, "old")

    def fail_halfway() -> None:
        with artifacts.replacing(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.keras"
    with artifacts.replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
        assert temporary.suffix == ".keras"
        temporary.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


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
def test_measured_values_have_six_significant_digits(
    tmp_path: Path, measured: float | None, written: str
) -> None:
    artifacts.write_epochs(tmp_path, [replace(EPOCH, train_loss=measured)])
    header, row = (tmp_path / "curves.csv").read_text(encoding="utf-8").splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["train_loss"] == written


def written_metrics(comparison: Comparison, folder: Path) -> dict[str, Any]:
    artifacts.write_metrics(comparison, folder / "metrics.json")
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


@pytest.mark.parametrize("best", ["sgd", None])
def test_metrics_tell_the_verdict_and_count_the_warnings(tmp_path: Path, best: str | None) -> None:
    metrics = written_metrics(replace(COMPARISON, best=best), tmp_path)
    told = {key: metrics[key] for key in ("best", "verdict", "warnings")}
    assert told == {"best": best, "verdict": "Best is sgd.", "warnings": 2}


def test_metrics_are_six_rounded_numbers_for_each_optimizer(tmp_path: Path) -> None:
    accuracy = Estimate(0.912345678, 0.9, 0.92, 0.01)
    tuned = replace(CONFIRMED, test_accuracy=accuracy)
    optimizers = {"sgd": replace(STANDING, tuned=tuned), "adam": STANDING}
    metrics = written_metrics(replace(COMPARISON, optimizers=optimizers), tmp_path)
    assert list(metrics["optimizers"]) == ["adam", "sgd"]
    assert metrics["optimizers"]["sgd"] == {
        "test_accuracy": 0.912346,
        "test_accuracy_low": 0.9,
        "test_accuracy_high": 0.92,
        "configured_test_accuracy": 0.8,
        "learning_rate": 0.1,
        "n_diverged": 1,
    }


@pytest.mark.parametrize(
    ("name", "write", "row", "lines"),
    [
        (
            "pairs.csv",
            artifacts.write_pairs,
            PAIR,
            [
                (
                    "first,second,label,n_seeds,mean_difference,low,high,p,p_adjusted,"
                    "probability_of_improvement,test_set_half_width,n_seeds_needed"
                ),
                "sgd,adam,undecided,1,,,,,,0.5,0.01,",
            ],
        ),
        (
            "tuning.csv",
            artifacts.write_tuning_points,
            TuningPoint("sgd", 0.1, 0.01, None, 3, 3, "neither"),
            [
                (
                    "optimizer,learning_rate_factor,learning_rate,validation_accuracy,n_trials,"
                    "n_diverged,choice"
                ),
                "sgd,0.1,0.01,,3,3,neither",
            ],
        ),
        (
            "budget.csv",
            artifacts.write_budget_points,
            BudgetPoint("sgd", 2, 0.912345678),
            ["optimizer,n_rates,expected_best", "sgd,2,0.912346"],
        ),
    ],
)
def test_a_table_has_its_columns_and_leaves_the_unknown_empty(
    tmp_path: Path, name: str, write: Callable[[list[Any], Path], None], row: Any, lines: list[str]
) -> None:
    write([row], tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8").splitlines() == lines
