"""What the store keeps, and what it does with damage."""

import os
from dataclasses import replace
from math import inf
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stages.common.artifacts import Examples
from stages.common.console import InputError
from stages.train.environment import digest_source
from stages.train.store import TrialStore, digest_examples, locate_store, prune
from stages.train.trial import Trial, TrialResult
from tests.examples import TRAIN, bits, optimizer, small_sweep

TRIAL = Trial("confirmation", 1.0, 5)
SETTING = {"epochs": 5, "optimizer": {"class_name": "SGD"}}


@pytest.fixture(scope="module")
def result() -> TrialResult:
    run = small_sweep(optimizer(class_name="SGD"), confirmation={"seeds": [5]})
    curve = tuple(row for row in run.epochs if row.phase == "confirmation")
    return TrialResult(run.trials[-1], curve, tuple(a[0] for a in run.weights.arrays))


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*/*")
    return path


def test_a_trial_comes_back_to_the_last_bit(tmp_path: Path, result: TrialResult) -> None:
    TrialStore(tmp_path, SETTING).put(TRIAL, result)
    found = TrialStore(tmp_path, SETTING).get(TRIAL)
    assert found is not None
    assert (found.row, found.curve) == (result.row, result.curve)
    assert bits(found.weights or ()) == bits(result.weights or ()) != []


def test_a_result_without_weights_comes_back_without(tmp_path: Path, result: TrialResult) -> None:
    store = TrialStore(tmp_path, SETTING)
    store.put(TRIAL, TrialResult(result.row, result.curve, None))
    found = store.get(TRIAL)
    assert found is not None
    assert found.weights is None


@pytest.mark.parametrize(
    ("trial", "setting"),
    [
        (Trial("confirmation", 1.0, 6), SETTING),
        (Trial("confirmation", 3.16, 5), SETTING),
        (Trial("tuning", 1.0, 5), SETTING),
        (TRIAL, SETTING | {"epochs": 6}),
        (TRIAL, SETTING | {"optimizer": {"class_name": "SGD", "momentum": 0.9}}),
    ],
)
def test_whatever_differs_is_another_trial(
    tmp_path: Path, result: TrialResult, trial: Trial, setting: dict[str, Any]
) -> None:
    TrialStore(tmp_path, SETTING).put(TRIAL, result)
    assert TrialStore(tmp_path, setting).get(trial) is None


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_entry_is_a_miss_and_is_replaced(
    tmp_path: Path, result: TrialResult, damage: str
) -> None:
    store = TrialStore(tmp_path, SETTING)
    store.put(TRIAL, result)
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-100], "noise": b"x" * 100}[damage])
    assert store.get(TRIAL) is None
    store.put(TRIAL, result)
    assert store.get(TRIAL) is not None


def test_writers_at_once_leave_one_whole_entry(tmp_path: Path, result: TrialResult) -> None:
    def write() -> None:
        for _ in range(20):
            TrialStore(tmp_path, SETTING).put(TRIAL, result)

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_file(tmp_path).suffix == ".npz"
    assert TrialStore(tmp_path, SETTING).get(TRIAL) is not None


def test_the_store_keeps_what_was_used_last_within_its_limit(
    tmp_path: Path, result: TrialResult
) -> None:
    store = TrialStore(tmp_path, SETTING)
    trials = [Trial("confirmation", 1.0, seed) for seed in range(4)]
    for age, trial in enumerate(reversed(trials)):
        store.put(trial, result)
        (path,) = [p for p in tmp_path.glob("*/*") if p.stat().st_mtime > 1e9]
        os.utime(path, (age, age))
    assert store.get(trials[3]) is not None  # and so it is the newest
    size = path.stat().st_size
    prune(tmp_path, unused_since_s=inf, limit_bytes=2 * size)
    assert [store.get(trial) is not None for trial in trials] == [True, False, False, True]


def test_what_the_present_run_used_is_never_pruned(tmp_path: Path, result: TrialResult) -> None:
    store = TrialStore(tmp_path, SETTING)
    store.put(TRIAL, result)
    os.utime(only_file(tmp_path), (1000, 1000))
    store.put(replace(TRIAL, seed=6), result)
    prune(tmp_path, unused_since_s=2000, limit_bytes=0)
    assert store.get(TRIAL) is None
    assert store.get(replace(TRIAL, seed=6)) is not None


def test_a_folder_that_may_only_be_read_still_gives(
    tmp_path: Path, result: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialStore(tmp_path, SETTING)
    store.put(TRIAL, result)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    assert store.get(TRIAL) is not None
    with pytest.raises(InputError, match="cannot keep a trial \\(Permission denied\\)"):
        store.put(replace(TRIAL, seed=6), result)


def test_the_store_is_pruned_while_another_process_removes_files(
    tmp_path: Path, result: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, list_files = TrialStore(tmp_path, SETTING), Path.glob
    for seed in range(4):
        store.put(replace(TRIAL, seed=seed), result)

    def glob_before_another_removes(folder: Path, pattern: str) -> list[Path]:
        paths = list(list_files(folder, pattern))
        paths[0].unlink()
        return paths

    monkeypatch.setattr(Path, "glob", glob_before_another_removes)
    prune(tmp_path, unused_since_s=inf, limit_bytes=0)
    assert list(list_files(tmp_path, "*/*.npz")) == []


def test_the_data_decide_the_digest() -> None:
    changed = TRAIN.images.copy()
    changed[0, 0, 0, 0] ^= 1
    other = Examples(changed, TRAIN.labels)
    assert digest_examples(TRAIN) == digest_examples(Examples(TRAIN.images.copy(), TRAIN.labels))
    assert len({digest_examples(TRAIN), digest_examples(other), digest_examples(TRAIN, TRAIN)}) == 3


def test_comments_and_layout_of_the_code_do_not_count(tmp_path: Path) -> None:
    module = tmp_path / "module.py"

    def digest(source: str) -> str:
        module.write_text(source)
        return digest_source((module,))

    first = digest("x = 1\n")
    assert digest("x  =  1  # one\n") == first
    assert digest("x = 2\n") != first


def test_the_store_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIAL_STORE", raising=False)
    assert locate_store() == Path(".cache/trials")
    monkeypatch.setenv("TRIAL_STORE", "/a/shared/folder")
    assert locate_store() == Path("/a/shared/folder")
