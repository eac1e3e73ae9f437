"""What the store keeps, and what it does with damage."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from math import inf
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from stages.common.data import Examples
from stages.common.errors import InputError
from stages.common.runs import EpochRow
from stages.engine.store import TrialStore, digest_examples, locate_store, prune
from stages.engine.trial import Trial, TrialResult
from tests.conftest import PROJECT
from tests.examples import TRAIN, bits, small_training, trial_row
from tests.parameters import optimizer

TRIAL = Trial("confirmation", 1.0, 5, 0)
KEY = "5" * 64
OTHER_KEY = "6" * 64


@pytest.fixture(scope="module")
def result() -> TrialResult:
    trained = small_training(optimizer(class_name="SGD"), confirmation={"first_seed": 5})
    row = trained.trials[1]
    assert (row.phase, row.seed) == ("confirmation", 5)
    curve = tuple(epoch for epoch in trained.epochs if (epoch.phase, epoch.seed) == (row.phase, 5))
    return TrialResult(row, curve, tuple(a[0] for a in trained.weights.arrays))


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*/*")
    return path


def test_a_trial_comes_back_to_the_last_bit(tmp_path: Path, result: TrialResult) -> None:
    TrialStore(tmp_path).put(KEY, TRIAL, result)
    found = TrialStore(tmp_path).get(KEY, TRIAL)
    assert found is not None
    assert (found.row, found.curve) == (result.row, result.curve)
    assert bits(found.weights) == bits(result.weights) != []


def test_a_result_without_weights_comes_back_without(tmp_path: Path, result: TrialResult) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, replace(result, weights=()))
    found = store.get(KEY, TRIAL)
    assert found is not None
    assert found.weights == ()


def test_a_diverged_trial_comes_back_as_one(tmp_path: Path) -> None:
    diverged = TrialResult(trial_row("confirmation", 0, 5, None), (), ())
    TrialStore(tmp_path).put(KEY, TRIAL, diverged)
    assert TrialStore(tmp_path).get(KEY, TRIAL) == diverged


@pytest.mark.parametrize(
    ("trial", "key"),
    [
        (Trial("confirmation", 1.0, 6, 0), KEY),
        (Trial("confirmation", 3.16, 5, 0), KEY),
        (Trial("tuning", 1.0, 5, 0), KEY),
        (TRIAL, OTHER_KEY),
    ],
)
def test_whatever_differs_is_another_trial(
    tmp_path: Path, result: TrialResult, trial: Trial, key: str
) -> None:
    TrialStore(tmp_path).put(KEY, TRIAL, result)
    assert TrialStore(tmp_path).get(key, trial) is None


def test_a_trial_whose_place_in_the_plan_changed_is_found_at_the_new_place(
    tmp_path: Path, result: TrialResult
) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, result)
    found = store.get(KEY, replace(TRIAL, setting=4))
    assert found is not None
    assert found.row == replace(result.row, setting=4)
    assert found.curve == tuple(replace(epoch, setting=4) for epoch in result.curve)
    assert bits(found.weights) == bits(result.weights)
    assert store.get(KEY, TRIAL) is not None


@pytest.mark.parametrize(
    ("trial", "key"),
    [
        (replace(TRIAL, seed=6), KEY),
        (replace(TRIAL, learning_rate_factor=3.16), KEY),
        (TRIAL, OTHER_KEY),
    ],
    ids=["seed", "factor", "key"],
)
def test_contents_swapped_between_two_trials_are_misses(
    tmp_path: Path, result: TrialResult, trial: Trial, key: str
) -> None:
    TrialStore(tmp_path / "one").put(KEY, TRIAL, result)
    TrialStore(tmp_path / "other").put(key, trial, result)
    one, other = only_file(tmp_path / "one"), only_file(tmp_path / "other")
    kept = one.read_bytes()
    shutil.copyfile(other, one)
    other.write_bytes(kept)
    assert TrialStore(tmp_path / "one").get(KEY, TRIAL) is None
    assert TrialStore(tmp_path / "other").get(key, trial) is None


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_entry_is_a_miss_and_is_replaced(
    tmp_path: Path, result: TrialResult, damage: str
) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, result)
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-100], "noise": b"x" * 100}[damage])
    assert store.get(KEY, TRIAL) is None
    store.put(KEY, TRIAL, result)
    assert store.get(KEY, TRIAL) is not None


SMALL = TrialResult(
    row=trial_row("confirmation", 0, 5, 0.5),
    curve=(EpochRow("confirmation", 0, 5, 1, 0.5, 0.5, 0.5, 0.5),),
    weights=(np.array([1.5, -2.5], np.float32),),
)


def test_a_flipped_byte_anywhere_is_a_miss(tmp_path: Path) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, SMALL)
    path = only_file(tmp_path)
    content = path.read_bytes()
    found = []
    for place, byte in enumerate(content):
        path.write_bytes(content[:place] + bytes([byte ^ 0xFF]) + content[place + 1 :])
        if store.get(KEY, TRIAL) is not None:
            found.append(place)
    assert found == []


def test_writers_at_once_leave_one_whole_entry(tmp_path: Path, result: TrialResult) -> None:
    def write() -> None:
        for _ in range(20):
            TrialStore(tmp_path).put(KEY, TRIAL, result)

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_file(tmp_path).suffix == ".npz"
    assert TrialStore(tmp_path).get(KEY, TRIAL) is not None


def test_the_store_keeps_what_was_used_last_within_its_limit(
    tmp_path: Path, result: TrialResult
) -> None:
    store = TrialStore(tmp_path)
    trials = [Trial("confirmation", 1.0, seed, 0) for seed in range(4)]
    for age, trial in enumerate(reversed(trials)):
        store.put(KEY, trial, result)
        (path,) = [p for p in tmp_path.glob("*/*") if p.stat().st_mtime > 1e9]
        os.utime(path, (age, age))
    assert store.get(KEY, trials[3]) is not None  # and so it is the newest
    size = path.stat().st_size
    prune(tmp_path, unused_since_s=inf, limit_bytes=2 * size)
    assert [store.get(KEY, trial) is not None for trial in trials] == [True, False, False, True]


def test_what_the_present_run_used_is_never_pruned(tmp_path: Path, result: TrialResult) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, result)
    os.utime(only_file(tmp_path), (1000, 1000))
    store.put(KEY, replace(TRIAL, seed=6), result)
    prune(tmp_path, unused_since_s=2000, limit_bytes=0)
    assert store.get(KEY, TRIAL) is None
    assert store.get(KEY, replace(TRIAL, seed=6)) is not None


def test_a_folder_that_may_only_be_read_still_gives(
    tmp_path: Path, result: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialStore(tmp_path)
    store.put(KEY, TRIAL, result)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    assert store.get(KEY, TRIAL) is not None
    with pytest.raises(InputError, match="cannot keep a trial \\(Permission denied\\)"):
        store.put(KEY, replace(TRIAL, seed=6), result)


def test_the_store_is_pruned_while_another_process_removes_files(
    tmp_path: Path, result: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, list_files = TrialStore(tmp_path), Path.glob
    for seed in range(4):
        store.put(KEY, replace(TRIAL, seed=seed), result)

    def glob_before_another_removes(folder: Path, pattern: str) -> list[Path]:
        paths = list(list_files(folder, pattern))
        paths[0].unlink()
        return paths

    monkeypatch.setattr(Path, "glob", glob_before_another_removes)
    prune(tmp_path, unused_since_s=inf, limit_bytes=0)
    assert list(list_files(tmp_path, "*/*.npz")) == []


def test_a_file_that_is_used_while_the_store_is_pruned_stays(
    tmp_path: Path, result: TrialResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stat = TrialStore(tmp_path), Path.stat
    store.put(KEY, TRIAL, result)
    os.utime(only_file(tmp_path), (1000, 1000))

    def stat_before_another_uses(path: Path) -> os.stat_result:
        found = stat(path)
        os.utime(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat_before_another_uses)
        prune(tmp_path, unused_since_s=2000, limit_bytes=0)
    assert store.get(KEY, TRIAL) is not None


# Uses trials of its own and some that all use, removes old ones, and checks what it gets.
USER = """
import sys
from pathlib import Path
import numpy as np
from stages.common.runs import Diverged
from stages.engine.store import TrialStore, prune
from stages.engine.trial import Trial, TrialResult

folder, index, started_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store = TrialStore(folder)
print("ready", flush=True)
input()
for _ in range(3):
    prune(folder, started_s, limit_bytes=0)
    for seed in [*range(10), *range(100 * index, 100 * index + 10)]:
        trial = Trial("tuning", 1.0, seed, 0)
        row = Diverged(
            phase="tuning", setting=0, learning_rate=0.1, seed=seed, n_epochs=1, n_steps=1
        )
        found = store.get("5" * 64, trial)
        if found is None:
            store.put("5" * 64, trial, TrialResult(row, (), (np.full(20_000, seed, np.float32),)))
        else:
            assert found.row == row
            assert set(found.weights[0]) == {seed}, "another trial's weights"
"""


@pytest.mark.slow
def test_eight_processes_use_and_prune_one_store_at_once(tmp_path: Path) -> None:
    store, n, started_s = TrialStore(tmp_path), 8, time.time()
    for seed in range(5, 15):
        store.put(KEY, Trial("tuning", 1.0, seed, 0), SMALL)
    old = tmp_path / "00"
    old.mkdir(exist_ok=True)
    for i in range(500):
        (old / f"{i}.npz").write_bytes(b"old")
    for path in tmp_path.glob("*/*"):
        os.utime(path, (1000, 1000))
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(tmp_path), str(index), str(started_s)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(1, n + 1)
    ]
    for user in users:
        assert user.stdout is not None
        user.stdout.readline()  # all have imported
    for user in users:
        assert user.stdin is not None
        user.stdin.write("\n")
        user.stdin.flush()
    assert [user.communicate()[1] for user in users] == [""] * n
    seeds = [*range(10), *(100 * index + i for index in range(1, n + 1) for i in range(10))]
    assert all(store.get(KEY, Trial("tuning", 1.0, seed, 0)) for seed in seeds)
    assert len(list(tmp_path.glob("*/*"))) == len(seeds)  # nothing old, nothing half-written


def test_the_data_decide_the_digest() -> None:
    changed = TRAIN.inputs.copy()
    changed[0, 0, 0, 0] ^= 1
    other = Examples(changed, TRAIN.targets)
    assert digest_examples(TRAIN) == digest_examples(Examples(TRAIN.inputs.copy(), TRAIN.targets))
    assert len({digest_examples(TRAIN), digest_examples(other), digest_examples(TRAIN, TRAIN)}) == 3


def test_the_store_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIAL_STORE", raising=False)
    assert locate_store() == Path(".cache/trials")
    monkeypatch.setenv("TRIAL_STORE", "/a/shared/folder")
    assert locate_store() == Path("/a/shared/folder")
