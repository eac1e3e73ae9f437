"""`python -m tests.reliability.kills --n 100`: kills runs anywhere, and lets them go on.

The pipeline is tiny but whole. After each kill, `make run` must end in the bytes of a run that
nobody disturbed; often `dvc repro` is tried first. Needs Linux.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import yaml
from tabulate import tabulate

from tests.pipeline.conftest import Workspace, environment, stages_that_ran
from tests.reliability.tiny import (
    RESULTS,
    commit,
    copy,
    differences,
    found,
    leftovers,
    processes,
    results,
    run,
)

REPRO, MAKE = ("dvc", "repro"), ("make", "run")
# Where DVC writes dvc.lock, after any stage.
LOCK = "dvc.lock"
WRITES_LOCK = "Updating lock file"
LOCK_WRITTEN_S = 0.05
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE_S = 60


def edit(old: str, new: str) -> Callable[[Workspace], None]:
    return lambda workspace: workspace.edit("params.yaml", old, new)


def lose_everything(workspace: Workspace) -> None:
    """As a fresh clone is: without the store, DVC's cache and all results but dvc.lock."""
    for name in {*RESULTS, ".cache", ".dvc/cache", ".dvc/tmp"} - {LOCK}:
        path = workspace.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# What is done before the run that is killed.
EDITS: Mapping[str, Callable[[Workspace], None]] = {
    "rate": edit("learning_rate: 0.09", "learning_rate: 0.08"),
    "seeds": edit("at_most: 15", "at_most: 20"),
    "optimizer": edit(
        "optimizers:\n", "optimizers:\n  lion: {class_name: Lion, learning_rate: 0.001}\n"
    ),
    "split": edit("  seed: 42", "  seed: 43"),
    "everything": lose_everything,
}


@dataclass(frozen=True)
class Undisturbed:
    """What an edit leads to.

    `stages_s` is how long each stage takes, its saving by DVC too; `n_locks` is how often DVC
    writes dvc.lock, which it does not where nothing changed.
    """

    results: Mapping[str, bytes]
    stages_s: Mapping[str, float]
    n_locks: int


@dataclass(frozen=True)
class Plan:
    """A kill to be made.

    `share` says when, as a fraction of the stage's time; `lock` after which of DVC's writings of
    dvc.lock, where `stage` is LOCK.
    """

    number: int
    edit: str
    stage: str
    share: float
    lock: int
    signal: signal.Signals
    command: Sequence[str]
    recovery: Sequence[str]


@dataclass(frozen=True)
class Kill:
    """A kill that was made; `fault` is empty where the run was recovered.

    `refused` is what `dvc repro` said if only `make run` recovered it.
    """

    plan: Plan
    after_s: float
    too_late: bool
    left: Sequence[str]
    refused: str
    fault: str

    def __str__(self) -> str:
        plan = self.plan
        outcome = "recovered" if not self.fault else f"NOT RECOVERED: {self.fault}"
        outcome += f" by make run, after: {self.refused}" if self.refused else ""
        left = f"; left: {', '.join(self.left)}" if self.left else ""
        return (
            f"{plan.number:4} {plan.edit:10} {plan.stage:11} {plan.signal.name:7} "
            f"{self.after_s:5.1f} s{' (had ended)' if self.too_late else ''}, "
            f"{' '.join(plan.command)}, then {' '.join(plan.recovery)}: {outcome}{left}"
        )


def run_undisturbed(base: Workspace, folder: Path, name: str) -> Undisturbed:
    workspace = copy(base, folder / f"undisturbed {name}")
    EDITS[name](workspace)
    process = start(workspace, REPRO)
    assert process.stdout is not None
    begun: dict[str, float] = {}
    n_locks = 0
    for line in process.stdout:
        n_locks += WRITES_LOCK in line
        for stage in stages_that_ran(line):
            begun[stage] = time.monotonic()
    assert process.wait() == 0
    ends = [*begun.values(), time.monotonic()][1:]
    spent = {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}
    return Undisturbed(results(workspace), spent, n_locks)


def start(workspace: Workspace, command: Sequence[str]) -> subprocess.Popen[str]:
    """Starts the command as the leader of a process group, as a terminal does."""
    return subprocess.Popen(
        command,
        cwd=workspace.folder,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def draw(n: int, seed: int, undisturbed: Mapping[str, Undisturbed]) -> list[Plan]:
    """Plans, as many of each edit and each signal, at any moment of any stage alike."""
    random = np.random.default_rng(seed)
    names = list(EDITS)
    plans = []
    for number in range(n):
        name = names[number % len(names)]
        n_locks = undisturbed[name].n_locks
        stages = [*undisturbed[name].stages_s, *([LOCK] if n_locks else [])]
        plans.append(
            Plan(
                number=number,
                edit=name,
                stage=stages[random.integers(len(stages))],
                share=random.random(),
                lock=int(random.integers(n_locks)) + 1 if n_locks else 0,
                signal=SIGNALS[random.integers(len(SIGNALS))],
                command=MAKE if random.random() < 0.25 else REPRO,
                recovery=MAKE if random.random() < 0.5 else REPRO,
            )
        )
    return plans


def kill(base: Workspace, folder: Path, undisturbed: Mapping[str, Undisturbed], plan: Plan) -> Kill:
    """Makes the kill in a copy of the repository, which stays if it was not recovered."""
    workspace = copy(base, folder / f"kill {plan.number}")
    EDITS[plan.edit](workspace)
    right = undisturbed[plan.edit]
    begun_s = time.monotonic()
    process = start(workspace, plan.command)
    wait_for_moment(process, plan, right.stages_s)
    after_s, too_late = time.monotonic() - begun_s, process.poll() is not None
    fault = end(process, plan.signal) or "; ".join(processes(workspace))
    was_cut = is_cut(workspace.folder / LOCK)
    refused = ""
    if not fault:
        refused, fault = recover(workspace, plan.recovery, right.results)
    if fault and was_cut:
        fault = f"{LOCK} was cut ({fault})"
    made = Kill(plan, after_s, too_late, leftovers(workspace), refused, fault)
    print(made, flush=True)
    if not fault:
        shutil.rmtree(workspace.folder)
    return made


def wait_for_moment(
    process: subprocess.Popen[str], plan: Plan, stages_s: Mapping[str, float]
) -> None:
    assert process.stdout is not None
    n_seen = 0
    for line in process.stdout:
        if plan.stage == LOCK:
            n_seen += WRITES_LOCK in line
            if n_seen == plan.lock:
                time.sleep(plan.share * LOCK_WRITTEN_S)
                return
        elif plan.stage in stages_that_ran(line):
            time.sleep(plan.share * stages_s[plan.stage])
            return


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Sends the signal to the whole group; says what is wrong if that does not end it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    try:
        process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"still running {PATIENCE_S} s after {number.name}"
    return ""


def is_cut(lock: Path) -> bool:
    """Whether DVC was killed while it wrote the file."""
    text = lock.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return True
    return not isinstance(content, dict) or not text.endswith("\n")


def recover(
    workspace: Workspace, command: Sequence[str], right: Mapping[str, bytes]
) -> tuple[str, str]:
    """Runs the command, and `make run` where `dvc repro` fails.

    Returns:
        What `dvc repro` said if it failed, and what is wrong in the end; empty if nothing.
    """
    ran, refused = run(workspace, command), ""
    if ran.status != 0 and command == REPRO:
        refused, ran = ending(ran.output), run(workspace, MAKE)
    if ran.status != 0:
        return refused, ending(ran.output)
    wrong = differences(results(workspace), dict(right))
    return refused, f"other bytes: {', '.join(wrong)}" if wrong else ""


def ending(output: str) -> str:
    return " | ".join(filter(str.strip, output.splitlines()[-4:]))


def table(kills: Sequence[Kill]) -> str:
    """Recovered of all, by stage and signal."""
    rows = []
    for stage in sorted({kill.plan.stage for kill in kills}):
        cells = []
        for number in SIGNALS:
            made = [k for k in kills if (k.plan.stage, k.plan.signal) == (stage, number)]
            cells.append(f"{sum(not kill.fault for kill in made)} of {len(made)}")
        rows.append([stage, *cells])
    return tabulate(rows, ["stage", *(number.name for number in SIGNALS)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Of a shell's background job it is ignored, and so would be Ctrl-C's in all that runs here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(mkdtemp(prefix="kills-"))
    base = found(folder / "undisturbed")
    ran = run(base, MAKE)
    assert ran.status == 0, ran.output
    commit(base, "Run the pipeline")
    undisturbed = {name: run_undisturbed(base, folder, name) for name in EDITS}
    plans = draw(arguments.n, arguments.seed, undisturbed)
    with ThreadPoolExecutor(2) as pool:
        kills = list(pool.map(partial(kill, base, folder, undisturbed), plans))
    lost = [kill for kill in kills if kill.fault]
    print(f"\n{table(kills)}\n")
    print(
        f"{len(kills) - len(lost)} of {len(kills)} recovered, "
        f"{sum(bool(kill.refused) for kill in kills)} of them not by dvc repro; "
        f"{sum(kill.too_late for kill in kills)} runs had ended before; "
        f"{sum(bool(kill.left) for kill in kills)} left temporary files"
    )
    if lost:
        print(f"What was not recovered: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
