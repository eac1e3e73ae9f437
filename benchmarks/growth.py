"""Measures how time, memory and disk grow with the work: `python -m benchmarks.growth`.

Each run is `dvc repro` from nothing in a clone of the last commit, on simulated pictures, with one
optimizer unless there are to be more. An exponent of 1 is proportional to the work.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import yaml
from tabulate import tabulate

from stages.common.imports import PROJECT
from stages.common.params import FIRST_LOOK

N_TRIALS, N_OPTIMIZERS, N_EXAMPLES = (11, 100, 1_000), (5, 20, 60), (1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Cost:
    """Seconds in all, megabytes of the largest process, megabytes of the trial store."""

    s: float
    memory_mb: float
    store_mb: float


def main() -> None:
    print(f"dvc repro from nothing, {joblib.cpu_count()} cores")
    rows = [
        *_grow("trials of one optimizer", {n: _params(n_trials=n) for n in N_TRIALS}),
        *_grow("optimizers", {n: _params(n_optimizers=n) for n in N_OPTIMIZERS}),
        *_grow("training examples", {n: _params(n_examples=n) for n in N_EXAMPLES}),
    ]
    headers = ("work", "seconds", "exponent", "memory, MB", "store, MB")
    print(tabulate(rows, headers, intfmt=",", floatfmt=".2g"))


def _params(n_trials: int = 11, n_optimizers: int = 1, n_examples: int = 1_000) -> dict[str, Any]:
    """Changes to params.yaml: every optimizer has one setting, and ten fresh seeds beside it."""
    n_seeds = n_trials - FIRST_LOOK
    # Arguments are compiled, so that each is a program of its own.
    optimizers = {
        f"momentum_{place}": {"class_name": "SGD", "learning_rate": 0.01, "momentum": place / 100}
        for place in range(n_optimizers)
    }
    return {
        "dataset": {"name": "simulated", "n_train": n_examples * 5 // 4},
        "train": {"epochs": 5},
        "tuning": {
            "learning_rate_factors": [1.0],
            "n_settings": 1,
            "seeds": list(range(10_000, 10_000 + n_seeds)),
            "final_seeds": [],
        },
        "confirmation": {"at_most": FIRST_LOOK},
        "optimizers": optimizers,
    }


def _grow(what: str, runs: Mapping[int, dict[str, Any]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    before: tuple[int, float] | None = None
    for n, changes in runs.items():
        print(f"{n:,} {what}", file=sys.stderr)
        cost = measure(changes)
        exponent = log(cost.s / before[1]) / log(n / before[0]) if before else None
        rows.append((f"{n:,} {what}", round(cost.s), exponent, cost.memory_mb, cost.store_mb))
        print(*rows[-1], file=sys.stderr)
        before = n, cost.s
    return rows


def measure(changes: Mapping[str, Any]) -> Cost:
    """What it costs to answer with these parameters."""
    with TemporaryDirectory() as folder:
        _run("git", "clone", "--quiet", str(PROJECT), folder)
        path = Path(folder, "params.yaml")
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        dataset = changes["dataset"]
        params["dataset"]["name"] = dataset["name"]
        params["dataset"]["simulated"]["n_train"] = dataset["n_train"]
        for section in ("train", "tuning", "confirmation"):
            params[section] |= changes[section]
        params["optimizers"] = changes["optimizers"]
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        started_s = time.perf_counter()
        used = _run(sys.executable, "-m", "dvc", "repro", "--quiet", folder=folder)
        seconds = time.perf_counter() - started_s
        store = Path(folder, ".cache", "trials").rglob("*.npz")
        n_bytes = sum(path.stat().st_size for path in store)
        return Cost(seconds, round(used / 1e3), round(n_bytes / 1e6, 1))


def _run(*command: str, folder: str | None = None) -> int:
    """Kilobytes of the largest process that the command started."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    process = subprocess.Popen(  # noqa: S603
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return used.ru_maxrss


if __name__ == "__main__":
    main()
