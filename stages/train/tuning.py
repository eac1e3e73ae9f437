"""One optimizer from its configuration to tuned and confirmed networks."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from stages.common.console import Progress
from stages.common.data import Dataset
from stages.common.errors import InputError
from stages.common.params import FIRST_LOOK, Params, fresh_seeds
from stages.common.runs import Completed, EpochRow, Failed, Phase, Run, Setting, TrialRow, Weights
from stages.common.score import Score, score_of
from stages.engine.models import build_network
from stages.engine.optimizers import build_optimizer
from stages.engine.runner import Runner
from stages.engine.store import digest_examples, prune
from stages.engine.training import plan_work
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers
from stages.train.search import (
    CONFIGURED,
    N_FINALISTS,
    Merit,
    choose_finalists,
    merit,
    next_factors,
)

# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Trained:
    """What the stage hands on.

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
    """Tunes the optimizer of this name and trains what tuning chose with fresh seeds.

    The configured rate is trained with them as well, for description. Where trials run, and which
    come from the store, changes no result.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built, every
            tuning trial fails, or the workers cannot go on.
    """
    started_s = time.time()
    digest = digest_examples(data.train, data.validation)
    work = plan_work(name, params, dataset, digest, workers.environment)
    tuning, seeds = params.tuning, fresh_seeds(params.confirmation, FIRST_LOOK)
    n_finalists = min(N_FINALISTS, tuning.n_settings)
    n_tuning = tuning.n_settings * len(tuning.seeds) + n_finalists * len(tuning.final_seeds)
    with Progress(f"train {name}", n_tuning + 2 * len(seeds), "trials") as progress:
        score = score_of(params.task)
        plan = _Plan(work, Runner(data, workers, store_folder, progress, score), score)
        while factors := next_factors(plan.merits(), tuning):
            plan.run("tuning", factors, tuning.seeds)
            plan.check_not_all_failed()
        finalists = choose_finalists(plan.merits())
        plan.run("tuning", finalists, tuning.final_seeds)
        merits = plan.merits()
        tuned = max(finalists, key=lambda factor: merits[factor])
        if tuned == CONFIGURED:
            progress.skip(len(seeds))
        plan.run("confirmation", dict.fromkeys((tuned, CONFIGURED)), seeds)
    prune(store_folder, unused_since_s=started_s)
    return _gather(plan, tuned, workers.environment.versions)


class _Plan:
    """The trials of one optimizer that were made, by the settings in the order of their use."""

    def __init__(self, work: Work, runner: Runner, score: Score) -> None:
        self.work, self._runner, self.score = work, runner, score
        self.places: dict[float, int] = {}
        self.results: list[TrialResult] = []

    def run(self, phase: Phase, factors: Iterable[float], seeds: Sequence[int]) -> None:
        """Makes trials at these settings, all at once."""
        trials = []
        for factor in factors:
            place = self.places.setdefault(factor, len(self.places))
            trials += [Trial(phase, factor, seed, place) for seed in seeds]
        self.results += self._runner.run([(self.work, trial) for trial in trials])

    def merits(self) -> dict[float, Merit]:
        """Of the settings that were tuned with, by their factors."""
        rows: dict[int, list[TrialRow]] = {}
        for result in self.results:
            rows.setdefault(result.row.setting, []).append(result.row)
        return {factor: merit(rows[place], self.score) for factor, place in self.places.items()}

    def check_not_all_failed(self) -> None:
        """Raises InputError if no trial could be made."""
        reasons = [r.row.reason for r in self.results if isinstance(r.row, Failed)]
        if reasons and len(reasons) == len(self.results):
            raise InputError(
                f"params.yaml: optimizers.{self.work.name}: every trial failed: {reasons[0]}"
            )


def _gather(plan: _Plan, tuned: float, versions: Mapping[str, str]) -> Trained:
    work = plan.work
    entry = work.params.optimizers[work.name]
    model = build_network(work.params.model, work.dataset).model
    optimizer = build_optimizer(work.name, entry)
    optimizer.build(model.trainable_variables)
    place = plan.places[tuned]
    confirmed = [result for result in plan.results if result.row.phase == "confirmation"]
    return Trained(
        run=Run(
            class_name=entry.class_name,
            optimizer={k: v for k, v in optimizer.get_config().items() if k not in _NOT_IN_CONFIG},
            settings=tuple(Setting(f, f * work.configured_rate) for f in plan.places),
            tuned=place,
            configured=plan.places[CONFIGURED],
            jit_compile=work.jit_compile,
            n_parameters=model.count_params(),
            n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
            versions=versions,
            own=work.own,
        ),
        trials=tuple(result.row for result in plan.results),
        epochs=tuple(epoch for result in plan.results for epoch in result.curve),
        weights=_stack_weights(confirmed),
        model=_with_best_weights(
            model, [r for r in confirmed if r.row.setting == place], plan.score
        ),
    )


def _with_best_weights(
    model: keras.Model, results: Sequence[TrialResult], score: Score
) -> keras.Model | None:
    """The model with the weights of the best trial; None without a completed one."""
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
