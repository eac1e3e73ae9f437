"""Which optimizers the first stage of a run trains along with its own."""

import hashlib
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from stages.common.params import Params
from stages.train.pending import find_pending
from tests.parameters import optimizer, small_params

SGD, ADAM = optimizer(class_name="SGD"), optimizer(class_name="Adam")
SEARCHED = optimizer(
    class_name="SGD", search={"momentum": {"low": 0.1, "high": 0.9, "scale": "log"}}
)
MD5 = f"{'ab' * 16}.dir"
OPTIMIZERS = {"sgd": SGD, "adam": ADAM, "nadam": optimizer(class_name="Nadam")}


class Process:
    """Stands for a process that DVC started; its parents' commands are `commands`."""

    commands: tuple[list[str], ...] = ()

    def __init__(self, command: list[str] | None = None) -> None:
        self._command = command or []

    def parents(self) -> list["Process"]:
        return [Process(command) for command in self.commands]

    def cmdline(self) -> list[str]:
        return self._command


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project that DVC has run as a whole."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(psutil, "Process", Process)
    params = small_params(OPTIMIZERS)
    write(params)
    Path("train.npz").write_bytes(b"examples")
    digest = hashlib.md5(b"examples", usedforsecurity=False).hexdigest()
    raw = params.model_dump(mode="json")
    stages = {
        f"train@{name}": {
            "cmd": "python -m stages.train",
            "deps": [{"path": "train.npz", "hash": "md5", "md5": digest, "size": 8}],
            "params": {
                "params.yaml": {
                    "train": raw["train"],
                    "confirmation.first_seed": raw["confirmation"]["first_seed"],
                    f"optimizers.{name}": raw["optimizers"][name],
                }
            },
            "outs": [{"path": f"runs/{name}", "hash": "md5", "md5": MD5}],
        }
        for name in OPTIMIZERS
    }
    for name in OPTIMIZERS:
        Path("runs", name).mkdir(parents=True)
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return params


def write(params: Params) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))


def changed(entries: dict[str, Any] | None = None, **sections: Any) -> Params:
    params = small_params(entries or OPTIMIZERS, **sections)
    write(params)
    return params


def test_nobody_else_where_nothing_else_changed(params: Params) -> None:
    assert find_pending("sgd", params) == ()


@pytest.mark.usefixtures("params")
def test_an_optimizer_that_was_added_or_changed() -> None:
    entries = {**OPTIMIZERS, "adam": optimizer(class_name="Adam", beta_1=0.5), "new": SGD}
    assert find_pending("sgd", changed(entries)) == ("adam", "new")
    assert find_pending("new", changed(entries)) == ("adam",)


@pytest.mark.usefixtures("params")
@pytest.mark.parametrize(
    "sections", [{"train": {"epochs": 9}}, {"confirmation": {"first_seed": 9}}]
)
def test_everybody_where_a_common_parameter_changed(sections: dict[str, Any]) -> None:
    assert find_pending("adam", changed(**sections)) == ("sgd", "nadam")


@pytest.mark.usefixtures("params")
def test_a_parameter_that_training_does_not_depend_on_is_no_change() -> None:
    assert find_pending("adam", changed(comparison={"margin": 0.5})) == ()


def test_everybody_where_a_dependency_changed(params: Params) -> None:
    Path("train.npz").write_bytes(b"others")
    assert find_pending("adam", params) == ("sgd", "nadam")
    Path("train.npz").unlink()
    assert find_pending("adam", params) == ()  # DVC will complain


@pytest.mark.parametrize(("config", "cache"), [("", ".dvc/cache"), ("dir = ../shared", "shared")])
def test_an_optimizer_whose_outputs_are_nowhere(params: Params, config: str, cache: str) -> None:
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(f"[cache]\n{config}\n")
    Path("runs/adam").rmdir()
    assert find_pending("sgd", params) == ("adam",)
    cached = Path(cache, "files", "md5", MD5[:2], MD5[2:])
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_pending("sgd", params) == ()  # DVC restores them


@pytest.mark.usefixtures("params")
def test_an_optimizer_whose_arguments_are_searched_trains_alone() -> None:
    params = changed({**OPTIMIZERS, "searched": SEARCHED, "new": SGD})
    assert find_pending("sgd", params) == ("new",)
    assert find_pending("searched", params) == ()


@pytest.mark.parametrize(
    "content", [b"", b"stages:\n  train@adam:\n", b"\x00", b"schema: '9'\n", b"[1, 2]\n"]
)
def test_a_lock_that_cannot_be_read_says_nothing(params: Params, content: bytes) -> None:
    Path("dvc.lock").write_bytes(content)
    assert find_pending("sgd", params) in ((), ("nadam",))
    Path("dvc.lock").unlink()
    assert find_pending("sgd", params) == ()


@pytest.mark.usefixtures("params")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("dvc repro", ("new",)),
        ("python -m commands.run", ("new",)),
        ("dvc exp run -S train.epochs=3", ("new",)),
        ("dvc repro train@adam", ()),
        ("dvc exp run train@adam train@sgd", ()),
    ],
)
def test_asked_for_single_optimizers_it_trains_no_others(
    monkeypatch: pytest.MonkeyPatch, command: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Process, "commands", (["sh", "-c", "x"], command.split(), ["bash"]))
    assert find_pending("sgd", changed({**OPTIMIZERS, "new": SGD})) == expected
