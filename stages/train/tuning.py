"""One optimizer from its configuration to tuned and confirmed networks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.common.console import Progress
from stages.common.data import Dataset
from stages.common.errors import InputError
from stages.common.params import Params
from stages.common.runs import Completed, EpochRow, Failed, Run, Setting, TrialRow, Weights
from stages.engine.models import architecture, build_network
from stages.engine.optimizers import build_optimizer
from stages.engine.runner import Runner
from stages.engine.store import digest_examples, prune
from stages.engine.training import plan_work
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers
from stages.train.search import CONFIGURED, choose_setting, plan_settings, plan_tuning

# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Trained:
    """What the stage hands on.

    `model` holds the weights of the confirmation trial at the tuned rate with the best final
    validation accuracy; None if none was completed.
    """

    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    architecture: dict[str, Any]
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

    The configured rate is trained with the fresh seeds as well. Where trials run, and which come
    from the store, changes no result.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built, every
            tuning trial fails, or the workers cannot go on.
    """
    started_s = time.time()
    digest = digest_examples(data.train, data.validation)
    work = plan_work(name, params, dataset, digest, workers.environment)
    tuning = plan_tuning(params.tuning)
    settings = plan_settings(params.tuning)
    configured = settings.index(CONFIGURED)
    seeds = params.confirmation.seeds

    def plan_confirmation(setting: int) -> list[Trial]:
        return [Trial("confirmation", settings[setting], seed, setting) for seed in seeds]

    with Progress(f"train {name}", len(tuning) + 2 * len(seeds), "trials") as progress:
        runner = Runner(data, workers, store_folder, progress)
        # The configured rate is confirmed whatever tuning says, so it need not wait.
        first = runner.run([(work, trial) for trial in [*tuning, *plan_confirmation(configured)]])
        rows = [result.row for result in first[: len(tuning)]]
        _check_not_all_failed(name, rows)
        tuned = choose_setting(rows)
        if tuned == configured:
            progress.skip(len(seeds))
            last = []
        else:
            last = runner.run([(work, trial) for trial in plan_confirmation(tuned)])
    prune(store_folder, unused_since_s=started_s)
    return _gather(work, settings, tuned, configured, [*first, *last], workers.environment.versions)


def _check_not_all_failed(name: str, rows: Sequence[TrialRow]) -> None:
    reasons = [row.reason for row in rows if isinstance(row, Failed)]
    if len(reasons) == len(rows):
        raise InputError(f"params.yaml: optimizers.{name}: every trial failed: {reasons[0]}")


def _gather(
    work: Work,
    settings: Sequence[float],
    tuned: int,
    configured: int,
    results: Sequence[TrialResult],
    versions: Mapping[str, str],
) -> Trained:
    entry = work.params.optimizers[work.name]
    model = build_network(work.params.model, work.dataset).model
    optimizer = build_optimizer(work.name, entry)
    optimizer.build(model.trainable_variables)
    confirmed = [result for result in results if result.row.phase == "confirmation"]
    return Trained(
        run=Run(
            class_name=entry.class_name,
            optimizer={k: v for k, v in optimizer.get_config().items() if k not in _NOT_IN_CONFIG},
            settings=tuple(Setting(f, f * work.configured_rate) for f in settings),
            tuned=tuned,
            configured=configured,
            jit_compile=work.jit_compile,
            n_parameters=model.count_params(),
            n_state=sum(int(np.prod(v.shape)) for v in optimizer.variables if len(v.shape)),
            versions=versions,
        ),
        trials=tuple(result.row for result in results),
        epochs=tuple(epoch for result in results for epoch in result.curve),
        weights=_stack_weights(confirmed),
        architecture=architecture(model),
        model=_with_best_weights(model, [r for r in confirmed if r.row.setting == tuned]),
    )


def _with_best_weights(model: keras.Model, results: Sequence[TrialResult]) -> keras.Model | None:
    """The model with the weights of the best trial; None without a completed one."""
    scores = {
        index: result.row.validation_accuracy
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
