"""Tunes one optimizer and trains the setting that was chosen with the first fresh seeds."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stages.common.console import Progress
from stages.common.data import Dataset
from stages.common.errors import InputError
from stages.common.params import FIRST_LOOK, Params, choose_arguments, fresh_seeds
from stages.common.runs import Completed, EpochRow, Failed, Phase, Run, Setting, TrialRow, Weights
from stages.common.score import Score, score_of
from stages.engine.environment import Environment
from stages.engine.models import build_network
from stages.engine.optimizers import build_optimizer, leave_out_output_layer
from stages.engine.runner import Runner
from stages.engine.store import digest_examples, prune
from stages.engine.training import plan_work
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers
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

# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Trained:
    """What the stage writes.

    `model` holds the weights of the confirmation trial at the tuned rate with the best final
    validation score; None if none was completed.
    """

    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    model: keras.Model | None


def train(
    name: str,
    params: Params,
    dataset: Dataset,
    data: Data,
    *,
    store_folder: Path,
    workers: Workers,
) -> Trained:
    """Tunes the optimizer of this name, then trains the chosen setting with fresh seeds.

    The configured setting is trained with them as well, so that it can be reported. Results do not
    depend on where trials run or which come from the store.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built, every
            tuning trial fails, or the workers cannot go on.
    """
    started_s = time.time()
    digest = digest_examples(data.train, data.validation)
    plan = _Plan(name, params, dataset, digest, workers.environment)
    tuning, seeds = params.tuning, fresh_seeds(params.confirmation, FIRST_LOOK)
    n_finalists = min(N_FINALISTS, tuning.n_settings)
    n_tuning = tuning.n_settings * len(tuning.seeds) + n_finalists * len(tuning.final_seeds)
    with Progress(f"train {name}", n_tuning + 2 * len(seeds), "trials") as progress:
        score = score_of(params.task)
        runner = Runner(data, workers, store_folder, progress, score)
        while points := next_points(plan.merits(), tuning, params.optimizers[name]):
            plan.run(runner, "tuning", points, tuning.seeds)
            plan.check_not_all_failed()
        finalists = choose_finalists(plan.merits())
        plan.run(runner, "tuning", finalists, tuning.final_seeds)
        merits = plan.merits()
        tuned = max(finalists, key=lambda point: merits[point])
        if tuned == CONFIGURED:
            progress.skip(len(seeds))
        plan.run(runner, "confirmation", dict.fromkeys((tuned, CONFIGURED)), seeds)
    prune(store_folder, unused_since_s=started_s)
    return _gather(plan, tuned)


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
        self.results: list[TrialResult] = []

    def run(
        self, runner: Runner, phase: Phase, points: Iterable[Point], seeds: Sequence[int]
    ) -> None:
        """Runs the trials at these settings, all at once."""
        jobs = []
        for point in points:
            if point not in self.points:
                self.points.append(point)
            work, place = self.work(point), self.points.index(point)
            jobs += [(work, Trial(phase, point.factor, seed, place)) for seed in seeds]
        self.results += runner.run(jobs)

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


def _gather(plan: _Plan, tuned: Point) -> Trained:
    work = plan.work(tuned)
    entry = work.params.optimizers[plan.name]
    model = build_network(plan.params.model, plan.dataset).model
    config = build_optimizer(plan.name, entry).get_config()
    optimizer = build_optimizer(plan.name, leave_out_output_layer(entry, model))
    optimizer.build(model.trainable_variables)
    points = plan.points
    place = points.index(tuned)
    confirmed = [result for result in plan.results if result.row.phase == "confirmation"]
    return Trained(
        run=Run(
            class_name=entry.class_name,
            optimizer={key: v for key, v in config.items() if key not in _NOT_IN_CONFIG},
            settings=tuple(
                Setting(p.factor, p.factor * work.configured_rate, dict(p.arguments))
                for p in points
            ),
            tuned=place,
            configured=points.index(CONFIGURED),
            jit_compile=work.jit_compile,
            n_parameters=model.count_params(),
            n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
            versions=plan.environment.versions,
            own=work.own,
        ),
        trials=tuple(result.row for result in plan.results),
        epochs=tuple(epoch for result in plan.results for epoch in result.curve),
        weights=_stack_weights(confirmed),
        model=_with_best_weights(
            model,
            [result for result in confirmed if result.row.setting == place],
            score_of(plan.params.task),
        ),
    )


def _with_best_weights(
    model: keras.Model, results: Sequence[TrialResult], score: Score
) -> keras.Model | None:
    """The model with the weights of the best trial; None if no trial completed."""
    scores = {
        index: score.merit(result.row.validation_score)
        for index, result in enumerate(results)
        if isinstance(result.row, Completed)
    }
    if not scores:
        return None
    model.set_weights(results[max(scores, key=lambda index: scores[index])].weights)
    return model


def _stack_weights(results: Sequence[TrialResult]) -> Weights:
    kept = [result for result in results if isinstance(result.row, Completed)]
    return Weights(
        settings=np.array([result.row.setting for result in kept], np.int64),
        seeds=np.array([result.row.seed for result in kept], np.int64),
        arrays=tuple(map(np.stack, zip(*(result.weights for result in kept), strict=True))),
    )
