"""What a Dask cluster costs and gains: `make bench-cluster`.

Scheduler and workers run on loopback, a worker with one thread each. The two sides of a row are
timed in turn, from connecting to the last result in the store, after a short run with other seeds
that has workers import and compile; medians of the rounds and of their ratios are printed. The last
table is no measurement: it simulates more workers than this machine has.
"""

import heapq
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from math import log
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from distributed import Client
from sklearn.datasets import load_digits
from tabulate import tabulate

from stages.common.artifacts import Dataset, Examples, Phase, UInt8Array
from stages.common.params import Confirmation, Params, Tuning, load_params
from stages.train.cluster import open_cluster
from stages.train.store import TrialStore
from stages.train.sweep import sweep
from stages.train.trial import Trial
from stages.train.work import Data, Work, train_trial
from stages.train.workers import Workers, open_threads

N_ROUNDS, N_EMPTY, PATIENCE_S = 3, 2000, 60
# As `make scheduler` has it.
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
}
# Of the simulation; the spread is the standard deviation of the durations' logarithm.
N_OPTIMIZERS, SPREAD = 100, 0.5


@dataclass(frozen=True)
class Experiment:
    """What a sweep needs, but for the workers."""

    params: Params
    dataset: Dataset
    data: Data

    def run(self, opened: AbstractContextManager[Workers], *sweeps: list[str]) -> None:
        """One sweep after the other, each with its optimizers' trials in flight at once."""
        with TemporaryDirectory() as folder, opened as workers:
            for names in sweeps:
                content = self.params, self.dataset, self.data
                sweep(names, *content, store_folder=Path(folder), workers=workers)


Side = Callable[[Experiment], None]


def main() -> None:
    params = load_params()
    names = list(params.optimizers)
    digits, images = take_digits(params), draw_images(params)
    many = with_plan(images, [1.0], range(100), range(100, 200))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {N_ROUNDS} rounds\n")
    with start_cluster(1) as one, start_cluster(2) as two:

        def trials_of_one(address: str) -> Side:
            return lambda it: it.run(open_cluster(address), names[:1])

        rows = [
            (
                f"a sweep of {names[0]}: 1 worker, 2 workers",
                *compare(images, trials_of_one(one), trials_of_one(two)),
            ),
            (
                "200 trials: 2 workers, 2 threads here",
                *compare(many, trials_of_one(two), lambda it: it.run(open_threads(2), names[:1])),
            ),
            (
                f"{len(names)} optimizers, digits, 2 workers: in turn, at once",
                *compare(
                    digits,
                    lambda it: it.run(open_cluster(two), *([name] for name in names)),
                    lambda it: it.run(open_cluster(two), names),
                ),
            ),
        ]
        trial_s = schedule_s(images, two)
    print(tabulate(rows, ("", "first, s", "second, s", "first/second"), floatfmt=".3g"))
    print(f"\nan empty trial: {1000 * trial_s:.2f} ms\n")
    print(tabulate(weigh(images), ("", "bytes"), intfmt=","))
    print(f"\n{N_OPTIMIZERS} optimizers simulated, {1 / trial_s:.0f} trials handed out a second\n")
    headers = ("trials each", "trial, s", "workers", "in turn, h", "at once, h", "workers busy")
    print(tabulate(simulate(1 / trial_s), headers, floatfmt=".3g"))


def take_digits(params: Params) -> Experiment:
    """The default's images."""
    found = load_digits()
    return divide(params, found.images[..., None].astype(np.uint8), found.target.astype(np.uint8))


def draw_images(params: Params) -> Experiment:
    """Noise; a trial takes half a second or so."""
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(3000, 28, 28, 1), dtype=np.uint8)
    return divide(params, images, generator.integers(10, size=len(images), dtype=np.uint8))


def divide(params: Params, images: UInt8Array, labels: UInt8Array) -> Experiment:
    """Holds a fifth out."""
    n = len(images) // 5
    height, width, channels = images.shape[1:]
    counts = (len(images) - n,), (n,), ()
    names, maximum = tuple("0123456789"), int(images.max())
    dataset = Dataset("", names, height, width, channels, maximum, *counts, ())
    return Experiment(
        params, dataset, Data(Examples(images[n:], labels[n:]), Examples(images[:n], labels[:n]))
    )


def with_plan(
    experiment: Experiment,
    factors: Iterable[float],
    tuning_seeds: Iterable[int],
    confirmation_seeds: Iterable[int],
) -> Experiment:
    plan = {
        "tuning": Tuning(learning_rate_factors=tuple(factors), seeds=tuple(tuning_seeds)),
        "confirmation": Confirmation(seeds=tuple(confirmation_seeds)),
    }
    return replace(experiment, params=experiment.params.model_copy(update=plan))


@contextmanager
def start_cluster(n_workers: int) -> Iterator[str]:
    """Gives the scheduler's address; ends all with the block."""
    with TemporaryDirectory() as folder, ExitStack() as ending:
        file = f"{folder}/scheduler.json"

        def start(program: str, *options: str) -> None:
            command = (sys.executable, "-m", f"distributed.cli.dask_{program}", *options)
            process = subprocess.Popen(  # noqa: S603
                [*command, "--scheduler-file", file, "--no-dashboard"],
                env=os.environ | SETTINGS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ending.callback(process.wait)
            ending.callback(process.kill)

        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        for _ in range(n_workers):
            start("worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        with Client(scheduler_file=file, timeout=PATIENCE_S, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=PATIENCE_S)
            address: str = client.scheduler.address
        yield address


def compare(experiment: Experiment, first: Side, second: Side) -> tuple[float, float, float]:
    """Seconds of the one, of the other, and how many times the other's the one's are."""
    tuning, confirmation = experiment.params.tuning, experiment.params.confirmation
    other_seeds = with_plan(
        experiment,
        tuning.learning_rate_factors,
        [seed + 1000 for seed in tuning.seeds[:2]],
        [seed + 1000 for seed in confirmation.seeds[:4]],
    )
    for side in (first, second):
        side(other_seeds)
    rounds = [(_run_s(experiment, first), _run_s(experiment, second)) for _ in range(N_ROUNDS)]
    first_s, second_s = map(statistics.median, zip(*rounds, strict=True))
    return first_s, second_s, statistics.median(one_s / other_s for one_s, other_s in rounds)


def _run_s(experiment: Experiment, side: Side) -> float:
    started_s = time.perf_counter()
    side(experiment)
    return time.perf_counter() - started_s


def schedule_s(experiment: Experiment, address: str) -> float:
    """Seconds for each of many trials in which nothing is computed, sent as trials are sent."""
    work = make_work(experiment)
    trials = [Trial("tuning", 1.0, seed) for seed in range(N_EMPTY)]

    def submit_all(workers: Workers) -> None:
        for future in [workers.submit(work, experiment.data, trial) for trial in trials]:
            workers.collect(future)

    with (
        patch("stages.train.cluster.train_on_cluster", lambda *_: None),
        open_cluster(address) as workers,
    ):
        submit_all(workers)  # sends the images
        times_s = []
        for _ in range(N_ROUNDS):
            started_s = time.perf_counter()
            submit_all(workers)
            times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s) / N_EMPTY


def make_work(experiment: Experiment) -> Work:
    name, settings = next(iter(experiment.params.optimizers.items()))
    params = experiment.params.model_copy(update={"optimizers": {name: settings}})
    return Work(name, params, experiment.dataset, True, configured_rate=1.0, key="")


def weigh(experiment: Experiment) -> list[tuple[str, int]]:
    """What travels for a trial, and what is kept of it, in bytes."""
    work, data = make_work(experiment), experiment.data
    rows = [("work", len(pickle.dumps(work))), ("images", len(pickle.dumps(data)))]
    phases: tuple[Phase, ...] = ("tuning", "confirmation")
    for trial in (Trial(phase, 1.0, 1) for phase in phases):
        result = train_trial(work, data, trial)
        with TemporaryDirectory() as folder:
            TrialStore(Path(folder), {}).put(trial, result)
            (stored,) = Path(folder).glob("*/*.npz")
            rows += [
                (f"result of a {trial.phase} trial", len(pickle.dumps(result))),
                ("the same in the store", stored.stat().st_size),
            ]
    return rows


def simulate(n_per_s: float) -> list[tuple[float, ...]]:
    """Hours that sweeps would take, and the share of them that workers would train."""
    rows: list[tuple[float, ...]] = []
    for n_each, trial_s, n_workers in product((35, 10_000), (1, 60), (10, 100, 1000)):
        alone_s, _ = makespan_s(1, n_each, trial_s, n_workers, n_per_s)
        all_s, busy_s = makespan_s(N_OPTIMIZERS, n_each, trial_s, n_workers, n_per_s)
        hours = N_OPTIMIZERS * alone_s / 3600, all_s / 3600
        rows.append((n_each, trial_s, n_workers, *hours, busy_s / (all_s * n_workers)))
    return rows


def makespan_s(
    n_optimizers: int, n_each: int, trial_s: float, n_workers: int, n_per_s: float
) -> tuple[float, float]:
    """From the first trial to the last one's end, and the sum of their durations.

    Of an optimizer's trials three in seven tune, two confirm the configured rate, and two the tuned
    one, once all that tune are done, as in params.yaml. Trials wait in one queue, and of each
    second's only so many can be handed out.
    """
    n_tuning, n_confirming = n_each * 3 // 7, n_each * 2 // 7
    n_left = [n_tuning] * n_optimizers
    plan = [
        (i, phase < n_tuning)
        for i in range(n_optimizers)
        for phase in range(n_tuning + n_confirming)
    ]
    waiting, running = deque(plan), list[tuple[float, int, bool]]()
    generator = Random(0)  # noqa: S311
    now_s = handed_out_s = total_s = 0.0
    while waiting or running:
        while waiting and len(running) < n_workers:
            handed_out_s = max(now_s, handed_out_s) + 1 / n_per_s
            took_s = generator.lognormvariate(log(trial_s) - SPREAD**2 / 2, SPREAD)
            total_s += took_s
            heapq.heappush(running, (handed_out_s + took_s, *waiting.popleft()))
        now_s, optimizer, tunes = heapq.heappop(running)
        n_left[optimizer] -= tunes
        if tunes and not n_left[optimizer]:
            waiting.extend([(optimizer, False)] * n_confirming)
    return now_s, total_s


if __name__ == "__main__":
    main()
