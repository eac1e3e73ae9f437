"""What a Dask cluster costs and gains: `make bench-cluster`.

Scheduler and workers run on loopback, and each worker has one thread. The two sides of a row are
timed in turn, from connecting until the last result is in the store. A short run with other seeds
comes first, in which the workers import and compile. Printed are the medians of the rounds and of
their ratios.
"""

import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from distributed import Client
from tabulate import tabulate

from benchmarks.noise import describe_noise, draw_noise
from commands.cluster import LOOPBACK, NO_PAGES, SETTINGS
from stages.common.data import Dataset
from stages.common.params import FIRST_LOOK, Confirmation, Params, Tuning, load_params
from stages.common.runs import Phase
from stages.engine.cluster import open_cluster
from stages.engine.determinism import set_up_tensorflow
from stages.engine.store import TrialStore
from stages.engine.trial import Data, Trial, Work, Workers
from stages.engine.workers import open_threads

N_ROUNDS, N_EMPTY, N_TRAIN, PATIENCE_S = 3, 2000, 2400, 60


@dataclass(frozen=True)
class Experiment:
    """What training an optimizer needs, except for the workers."""

    params: Params
    dataset: Dataset
    data: Data

    @property
    def name(self) -> str:
        """The optimizer's name."""
        return next(iter(self.params.optimizers))

    def run(self, opened: AbstractContextManager[Workers]) -> None:
        """Trains all trials of the optimizer."""
        from stages.train.tuning import train

        content = [self.name], self.params, self.dataset, self.data
        with TemporaryDirectory() as folder, opened as workers:
            train(*content, store_folder=Path(folder), workers=workers)


Side = Callable[[Experiment], None]


def main() -> None:
    set_up_tensorflow()
    few = draw_experiment(load_params())
    many = with_seeds(few, range(200))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {N_ROUNDS} rounds\n")
    with start_cluster(1) as one, start_cluster(2) as two:
        rows = [
            (
                f"trials of {few.name}: 1 worker, 2 workers",
                *compare(
                    few, lambda it: it.run(open_cluster(one)), lambda it: it.run(open_cluster(two))
                ),
            ),
            (
                "200 trials: 2 workers, 2 threads here",
                *compare(
                    many, lambda it: it.run(open_cluster(two)), lambda it: it.run(open_threads(2))
                ),
            ),
        ]
        trial_s = schedule_s(few, two)
    print(tabulate(rows, ("", "first, s", "second, s", "first/second"), floatfmt=".3g"))
    print(f"\nan empty trial: {1000 * trial_s:.2f} ms\n")
    print(tabulate(weigh(few), ("", "bytes"), intfmt=","))


def draw_experiment(params: Params) -> Experiment:
    """An experiment on noise; one of its trials takes about half a second."""
    return Experiment(
        params,
        describe_noise(N_TRAIN, N_TRAIN // 4),
        Data(draw_noise(N_TRAIN), draw_noise(N_TRAIN // 4)),
    )


def with_seeds(experiment: Experiment, seeds: Iterable[int]) -> Experiment:
    """The same experiment with one setting, tuned with these seeds."""
    tuning = Tuning(learning_rate_factors=(1.0,), n_settings=1, seeds=tuple(seeds), final_seeds=())
    confirmation = Confirmation(first_seed=10_000, at_most=FIRST_LOOK)
    plan = {"tuning": tuning, "confirmation": confirmation}
    return replace(experiment, params=experiment.params.model_copy(update=plan))


@contextmanager
def start_cluster(n_workers: int) -> Iterator[str]:
    """Yields the scheduler's address; scheduler and workers end with the block."""
    with TemporaryDirectory() as folder, ExitStack() as ending:
        file = f"{folder}/scheduler.json"

        def start(program: str, *options: str) -> None:
            command = (sys.executable, "-m", f"distributed.cli.dask_{program}", *options)
            process = subprocess.Popen(  # noqa: S603
                [*command, "--scheduler-file", file, "--host", LOOPBACK, *NO_PAGES],
                env=os.environ | SETTINGS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ending.callback(process.wait)
            ending.callback(process.kill)

        start("scheduler", "--port", "0")
        for _ in range(n_workers):
            start("worker", "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        with Client(scheduler_file=file, timeout=PATIENCE_S, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=PATIENCE_S)
            address: str = client.scheduler.address
        yield address


def compare(experiment: Experiment, first: Side, second: Side) -> tuple[float, float, float]:
    """Both times in seconds and their ratio, first / second."""
    other_seeds = with_seeds(experiment, range(1000, 1004))
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
    """Seconds per empty trial: sent and collected as usual, but nothing is computed."""
    work = make_work(experiment)
    trials = [Trial("tuning", 1.0, seed, setting=0) for seed in range(N_EMPTY)]

    def submit_all(workers: Workers) -> None:
        for future in [workers.submit(work, experiment.data, trial) for trial in trials]:
            workers.collect(future)

    with (
        patch("stages.engine.cluster.train_on_cluster", lambda *_: None),
        open_cluster(address) as workers,
    ):
        submit_all(workers)  # sends the examples
        times_s = []
        for _ in range(N_ROUNDS):
            started_s = time.perf_counter()
            submit_all(workers)
            times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s) / N_EMPTY


def make_work(experiment: Experiment) -> Work:
    from stages.engine.environment import describe_environment
    from stages.engine.training import plan_work

    content = experiment.name, experiment.params, experiment.dataset
    return plan_work(*content, "", describe_environment())


def weigh(experiment: Experiment) -> list[tuple[str, int]]:
    """The bytes that are sent for a trial, and those that are kept of it."""
    from stages.engine.training import train_trial

    work, data = make_work(experiment), experiment.data
    rows = [("work", len(pickle.dumps(work))), ("examples", len(pickle.dumps(data)))]
    phases: tuple[Phase, ...] = ("tuning", "confirmation")
    for trial in (Trial(phase, 1.0, 1, setting=0) for phase in phases):
        result = train_trial(work, data, trial)
        with TemporaryDirectory() as folder:
            TrialStore(Path(folder)).put(work.key, trial, result)
            (stored,) = Path(folder).glob("*/*.npz")
            rows += [
                (f"result of a {trial.phase} trial", len(pickle.dumps(result))),
                ("the same in the store", stored.stat().st_size),
            ]
    return rows


if __name__ == "__main__":
    main()
