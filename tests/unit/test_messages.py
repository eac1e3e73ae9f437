"""Whatever a person or a file gives, a message that quotes it stays short and legible."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.data import RAW_ARRAYS, RawArrays, Source
from stages.common.errors import InputError
from stages.common.own import load_own, own_files
from stages.common.params import OwnModel, Task, load_params
from stages.download.catalogue import obtain
from stages.download.fetch import fetch
from stages.engine.cluster import open_cluster
from stages.engine.models import build_network
from stages.engine.objective import check_objective
from stages.engine.optimizers import build_optimizer
from stages.engine.workers import count_workers
from stages.evaluate.comparison import _check_same_versions
from stages.preprocess.decode import decode, read_idx
from stages.preprocess.targets import encode_targets
from tests.examples import DATASET
from tests.parameters import COMMITTED, optimizer
from tests.unit.test_catalogue import named
from tests.unit.test_fetch import FILE

HOSTILE = "\x1b[31mred\x9b\u202e\n" + "y" * 10_000
WORD = "y" * 10_000


def load_edited(*path: str, value: Any, key: str | None = None) -> None:
    """Loads the committed parameters with another value at the path, or with one key more."""
    content = json.loads(COMMITTED.model_dump_json())
    section = content
    for part in path[:-1]:
        section = section[part]
    section[key or path[-1]] = value
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    load_params(Path("params.yaml"))


def decode_arrays(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    RAW_ARRAYS.write(Path(), RawArrays(images, labels, images, labels))
    decode(Path(), Source("a", "npz", (), ("a", "b"), ()))


def decode_parts(train: np.ndarray[Any, Any], test: np.ndarray[Any, Any]) -> None:
    RAW_ARRAYS.write(Path(), RawArrays(train, np.zeros(1, int), test, np.zeros(1, int)))
    decode(Path(), Source("a", "npz", (), ("a", "b"), ()))


def task(**changes: str) -> Task:
    return COMMITTED.task.model_copy(update=changes)


def encode(targets: list[str]) -> None:
    inputs, names = np.zeros((len(targets), 1), np.uint8), np.array(targets)
    arrays = RawArrays(inputs, names, inputs[:0], names[:0])
    encode_targets(Source("a", "npz", (), (), ()), arrays, "classification")


def read_wrong_idx(content: bytes) -> None:
    path = Path("train-images-idx3-ubyte.gz")
    path.write_bytes(gzip.compress(content))
    read_idx(path)


def open_address(address: str) -> None:
    with open_cluster(address):
        pass


def count_wrong_workers(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAIN_WORKERS", text)
        count_workers()


def load_missing_name() -> None:
    Path("optimizers").mkdir()
    load_own("key", f"optimizers/{WORD}.py:X")


FAULTS: dict[str, Callable[[], object]] = {
    "dataset": lambda: obtain(named(HOSTILE), Path("raw")),
    "mirror": lambda: fetch(FILE, [HOSTILE, f"gopher://{HOSTILE}"], Path()),
    "model": lambda: build_network(COMMITTED.model.model_copy(update={"name": HOSTILE}), DATASET),
    "own-model": lambda: build_network(
        OwnModel.model_construct(name=f"models/{HOSTILE}:build"), DATASET
    ),
    "loss": lambda: check_objective(task(loss=HOSTILE), 2),
    "score": lambda: check_objective(task(score=HOSTILE), 2),
    "class-names": lambda: encode([HOSTILE, "a", "a"]),
    "class": lambda: build_optimizer("a", optimizer(class_name=HOSTILE, learning_rate=1.0)),
    "argument": lambda: build_optimizer(
        "a", optimizer(class_name="SGD", learning_rate=1.0, **{HOSTILE: 1})
    ),
    "flag": lambda: build_optimizer(
        "a", optimizer(class_name="SGD", learning_rate=1.0, nesterov=HOSTILE)
    ),
    "value": lambda: build_optimizer(
        "a", optimizer(class_name="SGD", learning_rate=1.0, momentum=HOSTILE)
    ),
    "own": lambda: own_files("key", f"{HOSTILE}:X"),
    "own-file": lambda: own_files("key", f"optimizers/{WORD}.py:X"),
    "own-module": load_missing_name,
    "workers": lambda: count_wrong_workers(HOSTILE.replace("\x00", "")),
    "workers-digits": lambda: count_wrong_workers("9" * 10_000),
    "address": lambda: open_address(HOSTILE),
    "versions": lambda: _check_same_versions(runs_with_versions({"keras": HOSTILE})),
    "shape": lambda: decode_arrays(np.zeros((1,) * 60, np.uint64), np.zeros(1, np.uint8)),
    "no-examples": lambda: decode_arrays(
        np.zeros((1,) * 60 + (0,), np.uint8), np.zeros(1, np.uint8)
    ),
    "shapes": lambda: decode_parts(*(np.zeros((1,) * n, np.uint8) for n in (63, 64))),
    "types": lambda: decode_parts(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.int32)),
    "labels": lambda: decode_arrays(
        np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1,) * 60, np.uint8)
    ),
    "dtype": lambda: decode_arrays(
        np.zeros((1, 1, 1, 1), [(HOSTILE, "u1")]), np.zeros(1, [(HOSTILE, "u1")])
    ),
    "idx": lambda: read_wrong_idx(b"\0\0\x08\x03" + b"\xff" * 10_000),
    "magic": lambda: read_wrong_idx(HOSTILE.encode()),
    "text": lambda: load_edited("train", "epochs", value=HOSTILE),
    "key": lambda: load_edited("train", "epochs", key=HOSTILE, value=1),
    "optimizer": lambda: load_edited("optimizers", "sgd", key=HOSTILE, value={}),
    "optimizer-long": lambda: load_edited("optimizers", "sgd", key=WORD, value={}),
    "seeds": lambda: load_edited("tuning", "seeds", value=[*range(1000)] * 2),
    "yaml": lambda: Path("params.yaml").write_text(f"a: [{HOSTILE!r}") and load_params(),
    "schedule": lambda: load_edited("optimizers", "sgd", "learning_rate", value={HOSTILE: 1}),
}


def runs_with_versions(versions: dict[str, str]) -> dict[str, Any]:
    class Run:
        def __init__(self, versions: dict[str, str]) -> None:
            self.versions = versions

    return {"a": Run(versions), "b": Run({})}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_message_stays_short_and_legible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        fault()
    lines = str(caught.value).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 400
