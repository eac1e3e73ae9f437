"""`make cost`: measures what a step of each optimizer costs, for a page beside the results.

Results and costs are kept apart: the page that is committed is the same on every machine, and what
a step costs is not. The page with the costs is `report/cost.html`.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

from stages.common.console import Progress, run_stage
from stages.common.data import DATASET, PROCESSED, TRAIN, VALIDATION
from stages.common.files import write_text
from stages.common.optimizer_params import Optimizer
from stages.common.params import Params, choose_arguments, load_params
from stages.common.results import REPORT
from stages.common.runs import RUN, RUNS
from stages.engine.determinism import set_up_tensorflow
from stages.report.charts.registry import draw
from stages.report.page import build_page
from stages.report.report import read_results

if TYPE_CHECKING:
    from stages.engine.loop import Slot

PAGE = REPORT / "cost.html"
# What the others are measured by; no name of an optimizer contains a space.
BASELINE = "plain SGD"
# Many short rounds, since other programs disturb some; a few where many would take too long.
N_ROUNDS, N_LONG_ROUNDS, ENOUGH_S = 20, 5, 60


def main() -> None:
    results = read_results()
    relative = measure(load_params())
    rows = [(name, f"{relative[name]:.2f}") for name in results.comparison.optimizers]
    write_text(PAGE, build_page(results, draw(results), relative))
    print(tabulate(rows, ("optimizer", "time per step"), disable_numparse=True))
    print(f"\nRelative to {BASELINE} with the same network and batch size.\n\nPage: {PAGE}")


def measure(params: Params, n_rounds: int = N_ROUNDS) -> dict[str, float]:
    """Seconds per step relative to plain SGD, by optimizer.

    Each runs alone, at the settings that tuning chose. Rounds alternate among the optimizers; a
    ratio is taken within a round, and medians are returned. The first round, which compiles, is not
    among them.
    """
    slots = _build_slots(params)
    rounds: list[dict[str, float]] = []
    n_measurements = (1 + n_rounds) * len(slots)
    with Progress("cost", n_measurements, "measurements", n_first=len(slots)) as progress:
        started_s = time.perf_counter()
        while len(rounds) <= n_rounds:
            if len(rounds) > N_LONG_ROUNDS and time.perf_counter() - started_s > ENOUGH_S:
                progress.skip((1 + n_rounds - len(rounds)) * len(slots))
                break
            rounds.append({})
            for name, slot in slots.items():
                rounds[-1][name] = _seconds_per_step(slot)
                progress.advance()
    return {
        name: statistics.median(times[name] / times[BASELINE] for times in rounds[1:])
        for name in params.optimizers
    }


def _build_slots(params: Params) -> "Mapping[str, Slot]":
    """A training for each optimizer and for plain SGD, with a single validation example."""
    dataset = DATASET.read(PROCESSED)
    train, validation = TRAIN.read(PROCESSED), VALIDATION.read(PROCESSED)
    single = replace(validation, inputs=validation.inputs[:1], targets=validation.targets[:1])
    chosen = dict(params.optimizers)
    for name in params.optimizers:
        run = RUN.read(RUNS / name)
        tuned = choose_arguments(params, name, dict(run.settings[run.tuned].arguments))
        chosen[name] = tuned.optimizers[name]
    chosen[BASELINE] = Optimizer(class_name="SGD", learning_rate=0.01)
    params = params.model_copy(update={"optimizers": chosen})
    set_up_tensorflow()
    from stages.engine.environment import describe_environment
    from stages.engine.loop import to_tensors
    from stages.engine.training import build_slot, plan_work

    tensors = [to_tensors(split, params.task, dataset.scaling) for split in (train, single)]
    slots = {}
    for name in chosen:
        work = plan_work(name, params, dataset, "", describe_environment())
        slots[name] = build_slot(work, tensors[0], tensors[1])
    return slots


def _seconds_per_step(slot: "Slot") -> float:
    orders = np.tile(np.arange(slot.n_train, dtype=np.int32), (slot.n_epochs_per_call, 1))
    slot.reset(1, 0.01)
    started_s = time.perf_counter()
    n_epochs = len(slot.train(orders))
    return (time.perf_counter() - started_s) / (n_epochs * slot.n_steps_per_epoch)


if __name__ == "__main__":
    run_stage(main)
