"""Tunes optimizers and trains the settings that were chosen with the first fresh seeds."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stages.common.console import Progress
from stages.common.data import Dataset
from stages.common.errors import InputError
from stages.common.params import FIRST_LOOK, Params, choose_arguments, fresh_seeds
from stages.common.runs import Completed, Failed, Phase, Run, Setting, TrialRow
from stages.common.score import score_of
from stages.engine.environment import Environment
from stages.engine.models import build_network, encode_model
from stages.engine.optimizers import build_optimizer, leave_out_output_layer
from stages.engine.runner import Job, Runner, Search
from stages.engine.store import digest_examples, prune
from stages.engine.training import plan_work
from stages.engine.trial import N_SLOTS, Data, Trial, TrialResult, Work, Workers
from stages.train.finished import KeyedTrial, Trained, gather
from stages.train.search import (
    CONFIGURED,
    N_FINALISTS,
    Arguments,
    Merit,
    Point,
    choose_finalists,
    merit,
    next_points,
)

# How many weights the networks of optimizers that are trained at once may have together.
N_WEIGHTS = 5_000_000
# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


def train(
    names: Sequence[str],
    params: Params,
    dataset: Dataset,
    data: Data,
    *,
    store_folder: Path,
    workers: Workers,
) -> dict[str, Trained]:
    """Tunes the optimizers of these names, then trains the chosen settings with fresh seeds.

    The configured settings are trained with them as well, so that they can be reported. Results do
    not depend on where trials run, which come from the store, or which optimizers are tuned
    together.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built, every
            tuning trial of an optimizer fails, or the workers cannot go on.
    """
    started_s = time.time()
    digest = digest_examples(data.train, data.validation)
    plans = [_Plan(name, params, dataset, digest, workers.environment) for name in names]
    label = f"train {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    n_trials = len(names) * _count_trials(params)
    with Progress(label, n_trials, "trials", n_first=len(names)) as progress:
        runner = Runner(data, workers, store_folder, progress, score_of(params.task))
        runner.run_searches([_search(plan, progress) for plan in plans])
    prune(store_folder, unused_since_s=started_s)
    return {plan.name: _finish(plan) for plan in plans}


def count_together(params: Params, dataset: Dataset) -> int:
    """How many optimizers may be trained at once, since each thread keeps a network for each."""
    n_weights: int = build_network(params.model, dataset).model.count_params()
    return max(1, min(N_SLOTS, N_WEIGHTS // max(1, n_weights)))


def _count_trials(params: Params) -> int:
    """Trials for one optimizer, if tuning does not choose the configured setting."""
    tuning = params.tuning
    n_finalists = min(N_FINALISTS, tuning.n_settings)
    n_tuning = tuning.n_settings * len(tuning.seeds) + n_finalists * len(tuning.final_seeds)
    return n_tuning + 2 * FIRST_LOOK


def _search(plan: "_Plan", progress: Progress) -> Search:
    """Asks for the trials that are to be run next, all at once, and goes on from their results."""
    params, tuning = plan.params, plan.params.tuning
    while points := next_points(plan.merits(), tuning, params.optimizers[plan.name]):
        plan.results += yield plan.jobs("tuning", points, tuning.seeds)
        plan.check_not_all_failed()
    finalists = choose_finalists(plan.merits())
    plan.results += yield plan.jobs("tuning", finalists, tuning.final_seeds)
    merits = plan.merits()
    plan.tuned = max(finalists, key=lambda point: merits[point])
    seeds = fresh_seeds(params.confirmation, FIRST_LOOK)
    if plan.tuned == CONFIGURED:
        progress.skip(len(seeds))
    plan.results += yield plan.jobs("confirmation", dict.fromkeys((plan.tuned, CONFIGURED)), seeds)


class _Plan:
    """One optimizer's trials so far, and its settings in the order of their use."""

    def __init__(
        self,
        name: str,
        params: Params,
        dataset: Dataset,
        digest: str,
        environment: Environment,
    ) -> None:
        self.name, self.params, self.dataset = name, params, dataset
        self.environment = environment
        self._digest = digest
        self._works: dict[Arguments, Work] = {}
        # Parameters that cannot be trained with are told before progress begins.
        self.work(CONFIGURED)
        self.points: list[Point] = []
        self.trials: list[KeyedTrial] = []
        self.results: list[TrialResult] = []
        self.tuned = CONFIGURED

    def jobs(self, phase: Phase, points: Iterable[Point], seeds: Sequence[int]) -> list[Job]:
        """The trials at these settings; their results are to be appended in this order."""
        jobs = []
        for point in points:
            if point not in self.points:
                self.points.append(point)
            work, place = self.work(point), self.points.index(point)
            jobs += [(work, Trial(phase, point.factor, seed, place)) for seed in seeds]
        self.trials += [(work.key, trial) for work, trial in jobs]
        return jobs

    def work(self, point: Point) -> Work:
        """What the trials at this setting have in common; the learning rate is no part of it."""
        if point.arguments not in self._works:
            self._works[point.arguments] = plan_work(
                self.name,
                choose_arguments(self.params, self.name, dict(point.arguments)),
                self.dataset,
                self._digest,
                self.environment,
            )
        return self._works[point.arguments]

    def merits(self) -> dict[Point, Merit]:
        """How good each setting is by its trials so far."""
        score = score_of(self.params.task)
        rows: dict[int, list[TrialRow]] = {}
        for result in self.results:
            rows.setdefault(result.row.setting, []).append(result.row)
        return {point: merit(rows[place], score) for place, point in enumerate(self.points)}

    def check_not_all_failed(self) -> None:
        """Raises InputError if every trial so far failed."""
        reasons = [r.row.reason for r in self.results if isinstance(r.row, Failed)]
        if reasons and len(reasons) == len(self.results):
            raise InputError(
                f"params.yaml: optimizers.{self.name}: every trial failed: {reasons[0]}"
            )


def _finish(plan: _Plan) -> Trained:
    """Describes what was trained, and saves the best network."""
    work = plan.work(plan.tuned)
    entry = work.params.optimizers[plan.name]
    model = build_network(plan.params.model, plan.dataset).model
    config = build_optimizer(plan.name, entry).get_config()
    optimizer = build_optimizer(plan.name, leave_out_output_layer(entry, model))
    optimizer.build(model.trainable_variables)
    points = plan.points
    place = points.index(plan.tuned)
    run = Run(
        class_name=entry.class_name,
        optimizer={key: v for key, v in config.items() if key not in _NOT_IN_CONFIG},
        settings=tuple(
            Setting(p.factor, p.factor * work.configured_rate, dict(p.arguments)) for p in points
        ),
        tuned=place,
        configured=points.index(CONFIGURED),
        jit_compile=work.jit_compile,
        n_parameters=model.count_params(),
        n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
        versions=plan.environment.versions,
        own=work.own,
    )
    best = _find_best(plan, place)
    if best is not None:
        model.set_weights(best.weights)
    saved = None if best is None else encode_model(model, plan.dataset)
    return gather(run, plan.trials, plan.results, saved)


def _find_best(plan: _Plan, setting: int) -> TrialResult | None:
    """The completed confirmation trial at this setting with the best final validation score."""
    score = score_of(plan.params.task)
    merits = {
        index: score.merit(row.validation_score)
        for index, row in enumerate(result.row for result in plan.results)
        if isinstance(row, Completed) and (row.phase, row.setting) == ("confirmation", setting)
    }
    return plan.results[max(merits, key=lambda index: merits[index])] if merits else None
