"""`python -m tests.reliability.soak --n 50`: random experiments, held against what should rerun.

The model knows which stages DVC must run and which it may take from its cache; which trials are new
is read off the results. At ten of the experiments, a clean clone must end in the same bytes.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import yaml

from stages.common.confirmation import CONFIRMATION, ROWS
from stages.common.runs import RUN, RUNS, TRIALS
from tests.conftest import DIGEST
from tests.pipeline.conftest import Workspace, stages_that_ran
from tests.reliability.tiny import (
    commit,
    differences,
    found,
    leftovers,
    pretend_installed,
    processes,
    results,
    run,
)

N_CLONES = 10
OWN = "own"
OWN_ENTRY = {"class_name": "optimizers/sign.py:Sign", "learning_rate": 0.001}
SIGN = """import keras

from optimizers.scale import SCALE


class Sign(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, SCALE * learning_rate * keras.ops.sign(gradient))
"""
# Added and removed; one of each name, so that some come back as they were.
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "lion": {"class_name": "Lion", "learning_rate": 0.001},
    "nesterov": {"class_name": "SGD", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    OWN: OWN_ENTRY,
}
RATES = (0.08, 0.09, 0.1)

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Experiment:
    """What a person has written. Of their own code: what it does, a comment, and another file."""

    optimizers: Mapping[str, Mapping[str, Any]]
    margin: float = 0.0001
    at_most: int = 15
    split_seed: int = 42
    epochs: int = 2
    comment: int = 0
    scale: float = 1.0
    own_comment: int = 0
    unused: int = 0

    @property
    def own_files(self) -> dict[str, str]:
        scale = f"# {self.own_comment}\nSCALE = {self.scale}\n"
        return {"sign.py": SIGN, "scale.py": scale, "unused.py": f"NOTHING = {self.unused}\n"}

    def write(self, workspace: Workspace) -> None:
        path = workspace.folder / "params.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["optimizers"] = {name: dict(entry) for name, entry in self.optimizers.items()}
        content["comparison"]["margin"] = self.margin
        content["confirmation"]["at_most"] = self.at_most
        content["split"]["seed"] = self.split_seed
        content["train"]["epochs"] = self.epochs
        text = yaml.safe_dump(content, sort_keys=False)
        path.write_text(f"# {self.comment}\n{text}", encoding="utf-8")
        for name, text in self.own_files.items():
            (workspace.folder / "optimizers" / name).write_text(text, encoding="utf-8")

    def trained(self, name: str) -> Key:
        """What decides an optimizer's trials: of their own code, what it does."""
        entry = self.optimizers[name]
        own = self.scale if entry == OWN_ENTRY else None
        return self.split_seed, self.epochs, repr(entry), own


@dataclass
class Model:
    """What DVC knows: the last run of each stage, all runs, and which runs lie in `runs`."""

    last: dict[str, Key] = field(default_factory=dict)
    ever: set[tuple[str, Key]] = field(default_factory=set)
    runs: dict[str, Key] = field(default_factory=dict)

    def run(self, now: Experiment) -> list[str]:
        """The stages that must run."""
        return [stage for stage in self._stages(now) if stage]

    def _stages(self, now: Experiment) -> Iterator[str]:
        entries = repr(sorted(now.optimizers.items()))  # their order is nothing to DVC
        yield self._cached("sources", (entries, *now.own_files.values()))
        yield self._cached("preprocess", (now.split_seed,))
        for name, entry in now.optimizers.items():
            files = tuple(now.own_files.values())[:2] if entry == OWN_ENTRY else ()
            trained = now.trained(name)
            yield self._cached(f"train@{name}", (*trained[:3], files))
            self.runs[name] = trained
        asked = (now.split_seed, now.epochs, now.at_most, now.margin, entries)
        # It removes runs that nobody names any more, and they are no part of what it leaves.
        before = (*asked, repr(sorted(self.runs.items())))
        self.runs = {name: self.runs[name] for name in now.optimizers}
        after = (*asked, repr(sorted(self.runs.items())))
        yield self._cached("confirm", before, after)
        yield self._kept_by_git("evaluate", after)
        yield self._kept_by_git("report", after)

    def _cached(self, stage: str, key: Key, after: Key | None = None) -> str:
        """Its name, unless DVC has its outputs for the key."""
        is_known = self.last.get(stage) == key or (stage, key) in self.ever
        self.last[stage] = after or key
        self.ever.add((stage, self.last[stage]))
        return "" if is_known else stage

    def _kept_by_git(self, stage: str, key: Key) -> str:
        is_known = self.last.get(stage) == key
        self.last[stage] = key
        return "" if is_known else stage


# What a person does


def change(now: Experiment, draw: np.random.Generator) -> tuple[str, Experiment]:
    """Another experiment, and what was done in words."""
    name = sorted(CHANGES)[draw.integers(len(CHANGES))]
    return name, CHANGES[name](now, draw)


def _toggle(now: Experiment, draw: np.random.Generator) -> Experiment:
    name = sorted(OTHERS)[draw.integers(len(OTHERS))]
    entries = dict(now.optimizers)
    if entries.pop(name, None) is None:
        entries[name] = OTHERS[name]
    return replace(now, optimizers=entries)


def _set_rate(now: Experiment, draw: np.random.Generator) -> Experiment:
    name = ("sgd", "gentle")[draw.integers(2)]
    entry = {**now.optimizers[name], "learning_rate": RATES[draw.integers(len(RATES))]}
    return replace(now, optimizers={**now.optimizers, name: entry})


CHANGES: Mapping[str, Callable[[Experiment, np.random.Generator], Experiment]] = {
    "add or remove an optimizer": _toggle,
    "a rate": _set_rate,
    "the margin": lambda now, draw: replace(now, margin=(0.0001, 0.0002, 0.9)[draw.integers(3)]),
    "more or fewer seeds": lambda now, draw: replace(now, at_most=(10, 15, 20)[draw.integers(3)]),
    "the split": lambda now, _: replace(now, split_seed=85 - now.split_seed),
    "the epochs": lambda now, _: replace(now, epochs=5 - now.epochs),
    "a comment": lambda now, _: replace(now, comment=now.comment + 1),
    "own code": lambda now, _: replace(now, scale=now.scale + 1),
    "a comment of own code": lambda now, _: replace(now, own_comment=now.own_comment + 1),
    "a file that nothing imports": lambda now, _: replace(now, unused=now.unused + 1),
}


# What must have come of it


@dataclass
class Store:
    """The trials that were ever trained, by what decides them."""

    trials: set[Key] = field(default_factory=set)

    def add(self, workspace: Workspace, now: Experiment) -> int:
        """Adds all trials that the results are made of; says how many of them are new."""
        before = len(self.trials)
        for name in now.optimizers:
            self.trials.update(_trials(workspace.folder, name, now.trained(name)))
        return len(self.trials) - before


def _trials(folder: Path, name: str, trained: Key) -> Iterator[Key]:
    settings = RUN.read(folder / RUNS / name)
    factors = [setting.learning_rate_factor for setting in settings.settings]
    for row in TRIALS.read(folder / RUNS / name):
        yield *trained, row.phase, factors[row.setting], row.seed
    for fresh in ROWS.read(folder / CONFIRMATION):
        if fresh.optimizer == name:
            place = settings.tuned if fresh.rate == "tuned" else settings.configured
            yield *trained, "confirmation", factors[place], fresh.seed


def n_kept(workspace: Workspace) -> int:
    return len(list(workspace.folder.glob(f".cache/trials/*/{DIGEST}.npz")))


def clone_differs(workspace: Workspace, folder: Path) -> list[str]:
    """Paths where a clean clone of the present commit ends in other bytes."""
    workspace.git("clone", "--quiet", ".", str(folder))
    clone = Workspace(folder)
    pretend_installed(clone)
    ran = run(clone, ("dvc", "repro", "--force"))
    wrong = differences(results(clone), results(workspace)) if ran.status == 0 else [ran.output]
    shutil.rmtree(folder)
    return wrong


class Soak:
    """The repository, the model of it, and what was found to be wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, np.random.default_rng(seed)
        self.workspace = found(folder / "a repository")
        entries = yaml.safe_load((self.workspace.folder / "params.yaml").read_text("utf-8"))
        self.now = Experiment(entries["optimizers"])
        self.model, self.store, self.faults = Model(), Store(), list[str]()
        self.committed: list[tuple[str, Experiment]] = []

    def step(self, number: int, *, clone: bool) -> None:
        done = self.write(number)
        expected, before = self.model.run(self.now), n_kept(self.workspace)
        if number == 0:
            expected.insert(1, "download")
        ran = run(self.workspace, ("dvc", "repro"))
        stages = stages_that_ran(ran.output)
        n_new = n_kept(self.workspace) - before
        faults = [] if ran.status == 0 else [ran.output]
        if set(stages) != set(expected) or len(stages) != len(expected):
            faults.append(f"ran {stages}, should be {expected}")
        if ran.status == 0 and (right := self.store.add(self.workspace, self.now)) != n_new:
            faults.append(f"{n_new} new trials, should be {right}")
        commit(self.workspace, done)
        head = self.workspace.git("rev-parse", "HEAD").strip()
        self.committed.append((head, self.now))
        if clone and (wrong := clone_differs(self.workspace, self.folder / "clone")):
            faults.append(f"a clean clone has other bytes: {', '.join(wrong)}")
        told = "; ".join(faults) or f"as expected{', as a clean clone' * clone}"
        print(f"{number:4} {done}: {len(stages)} stages, {n_new} new trials: {told}", flush=True)
        self.faults += faults

    def write(self, number: int) -> str:
        """Changes what a person writes, or goes back to what an earlier commit has."""
        if number > 1 and self.draw.random() < 0.2:
            head, self.now = self.committed[self.draw.integers(len(self.committed))]
            self.workspace.git("checkout", head, "--", "params.yaml", "optimizers")
            return "back to an earlier commit"
        done = "the beginning"
        if number:
            done, self.now = change(self.now, self.draw)
        self.now.write(self.workspace)
        return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50, help="experiments")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(mkdtemp(prefix="soak-"))
    soak = Soak(folder, arguments.seed)
    cloned = set(np.linspace(0, arguments.n - 1, N_CLONES).astype(int).tolist())
    for number in range(arguments.n):
        soak.step(number, clone=number in cloned)
    left = [*processes(soak.workspace), *leftovers(soak.workspace)]
    print(f"\n{arguments.n} experiments, {len(cloned)} clones, {len(soak.store.trials)} trials")
    print(f"{len(soak.faults)} faults; left behind: {', '.join(left) or 'nothing'}")
    if soak.faults or left:
        print(f"The repository: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
