"""All trials of the optimizers: which, where, and what becomes of them."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from typing import Any

import keras
import numpy as np

from stages.common.artifacts import Dataset, EpochRow, Run, TrialRow, Weights
from stages.common.console import InputError, Progress
from stages.common.params import Params, Tuning
from stages.train.environment import VERSIONS, Environment
from stages.train.loop import resolve_jit_compile
from stages.train.models import architecture, build_model
from stages.train.optimizers import build_learning_rate, build_optimizer, peak_learning_rate
from stages.train.store import TrialStore, digest_examples, prune
from stages.train.trial import Trial, TrialResult
from stages.train.work import CONFIGURED, Data, Work
from stages.train.workers import LostTrialError, Workers

MAX_LOSSES = 3
# Keras makes the name up, and trials.csv has the rate.
_NOT_IN_CONFIG = ("name", "learning_rate")


@dataclass(frozen=True)
class Sweep:
    """What the stage hands on.

    `model` holds the weights of the confirmation trial at the tuned rate with the best final
    validation accuracy; None if every one diverged.
    """

    run: Run
    trials: tuple[TrialRow, ...]
    epochs: tuple[EpochRow, ...]
    weights: Weights
    architecture: str
    model: keras.Model | None


def plan_tuning(tuning: Tuning) -> list[Trial]:
    """Every learning rate of the grid with every tuning seed."""
    return [
        Trial("tuning", factor, seed)
        for factor in tuning.learning_rate_factors
        for seed in tuning.seeds
    ]


def plan_confirmation(factor: float, seeds: Iterable[int]) -> list[Trial]:
    """One learning rate with every fresh seed."""
    return [Trial("confirmation", factor, seed) for seed in seeds]


def choose_factor(rows: Iterable[TrialRow]) -> float:
    """The learning-rate factor that tuning decides for.

    The one with the fewest diverged trials, then the highest mean final validation accuracy over
    the tuning seeds, then the lowest mean validation loss; the first of the grid between equals.
    """
    by_factor: dict[float, list[TrialRow]] = {}
    for row in rows:
        by_factor.setdefault(row.learning_rate_factor, []).append(row)

    def merit(factor: float) -> tuple[float, float, float]:
        completed = [row for row in by_factor[factor] if row.status == "completed"]
        if not completed:
            return -len(by_factor[factor]), 0.0, 0.0
        return (
            len(completed) - len(by_factor[factor]),
            mean(row.validation_accuracy or 0.0 for row in completed),
            -mean(row.validation_loss or 0.0 for row in completed),
        )

    return max(by_factor, key=merit)


def sweep(
    names: Sequence[str],
    params: Params,
    dataset: Dataset,
    data: Data,
    *,
    store_folder: Path,
    workers: Workers,
) -> dict[str, Sweep]:
    """Tunes the optimizers of these names in `params.optimizers` and confirms what tuning chose.

    All their trials are in flight at once. Where they run, and which come from the store, changes
    no result.

    Raises:
        InputError: If the parameters name a model or an optimizer that cannot be built, or the
            workers cannot go on.
    """
    started_s = time.time()
    digest = digest_examples(data.train, data.validation)
    sweeps = {
        name: _Trials(name, params, dataset, digest, store_folder, workers.environment)
        for name in names
    }
    label = names[0] if len(names) == 1 else f"{len(names)} optimizers"
    total = sum(each.n_planned for each in sweeps.values())
    with Progress(f"train {label}", total, "trials") as progress:
        _run(list(sweeps.values()), data, workers, progress)
    prune(store_folder, unused_since_s=started_s)
    return {name: each.finish() for name, each in sweeps.items()}


def _run(sweeps: Sequence["_Trials"], data: Data, workers: Workers, progress: Progress) -> None:
    done: SimpleQueue[Any] = SimpleQueue()
    running: dict[Any, tuple[_Trials, Trial]] = {}
    n_losses: Counter[tuple[str, Trial]] = Counter()

    def submit(trials: "_Trials", trial: Trial) -> None:
        future = workers.submit(trials.work, data, trial)
        running[future] = trials, trial
        future.add_done_callback(done.put)

    def proceed(trials: "_Trials") -> None:
        n_planned, n_found = trials.n_planned, trials.n_found
        missing = trials.proceed()
        progress.skip(n_planned - trials.n_planned)
        progress.find(trials.n_found - n_found, _note(sweeps))
        for trial in missing:
            submit(trials, trial)

    for each in sweeps:
        proceed(each)
    while running:
        future = done.get()
        trials, trial = running.pop(future)
        what = f"{trials.work.name}, {trial.phase}, seed {trial.seed}"
        try:
            result = workers.collect(future)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        except LostTrialError:
            n_losses[trials.work.name, trial] += 1
            if n_losses[trials.work.name, trial] == MAX_LOSSES:
                raise InputError(f"{what}: lost {MAX_LOSSES} times on the way") from None
            submit(trials, trial)
        else:
            trials.add(trial, result)
            progress.advance(1, _note(sweeps))
            proceed(trials)


def _note(sweeps: Iterable["_Trials"]) -> str:
    best = max(each.best for each in sweeps)
    n_found = sum(each.n_found for each in sweeps)
    facts = [f"best {best:.4f}"] * bool(best) + [f"{n_found} kept"] * bool(n_found)
    return ", ".join(facts)


class _Trials:
    """One optimizer's trials, as far as they are known."""

    def __init__(
        self,
        name: str,
        params: Params,
        dataset: Dataset,
        data_digest: str,
        store_folder: Path,
        environment: Environment,
    ) -> None:
        settings = params.optimizers[name]
        self._model = build_model(params.model, dataset)
        self._optimizer = build_optimizer(name, settings)
        self._optimizer.build(self._model.trainable_variables)
        jit_compile = resolve_jit_compile(
            self._model, params.train.jit_compile, environment.devices
        )
        n_steps = ceil(dataset.n_train / params.train.batch_size) * params.train.epochs
        self._store = TrialStore(
            store_folder,
            {
                "optimizer": settings.model_dump(mode="json"),
                "model": params.model.model_dump(mode="json"),
                "epochs": params.train.epochs,
                "batch_size": params.train.batch_size,
                "jit_compile": jit_compile,
                "pixel_maximum": dataset.pixel_maximum,
                "n_classes": len(dataset.class_names),
                "data": data_digest,
                **environment.deciding(jit_compile=jit_compile),
            },
        )
        self.work = Work(
            name=name,
            params=params.model_copy(update={"optimizers": {name: settings}}),
            dataset=dataset,
            jit_compile=jit_compile,
            configured_rate=peak_learning_rate(build_learning_rate(name, settings), n_steps),
            key=self._store.key,
        )
        self.n_found = 0
        self.best = 0.0
        self._tuning = plan_tuning(params.tuning)
        self._seeds = params.confirmation.seeds
        self._factor: float | None = None
        # In the order of the plan; None for what is not known yet.
        self._results: dict[Trial, TrialResult | None] = {}

    @property
    def n_planned(self) -> int:
        if self._factor is None:
            return len(self._tuning) + 2 * len(self._seeds)
        return len(self._results)

    def proceed(self) -> list[Trial]:
        """The trials that can be run by now, without those that the store has."""
        missing = []
        if not self._results:
            # The configured rate is confirmed whatever tuning says, so it need not wait.
            configured = plan_confirmation(CONFIGURED, self._seeds)
            missing += self._look_up([*self._tuning, *configured])
        tuning = [result for trial in self._tuning if (result := self._results[trial])]
        if self._factor is None and len(tuning) == len(self._tuning):
            self._factor = choose_factor(result.row for result in tuning)
            missing += self._look_up(plan_confirmation(self._factor, self._seeds))
        return missing

    def add(self, trial: Trial, result: TrialResult) -> None:
        self._store.put(trial, result)
        self._keep(trial, result)

    def finish(self) -> Sweep:
        """Once every trial is known."""
        results = {trial: result for trial, result in self._results.items() if result is not None}
        factor = self._factor
        if factor is None:
            raise ValueError(f"{self.work.name}: tuning is not over")
        config = self._optimizer.get_config()
        n_state = sum(int(np.prod(v.shape)) for v in self._optimizer.variables if len(v.shape))
        tuned = [results[trial] for trial in plan_confirmation(factor, self._seeds)]
        return Sweep(
            run=Run(
                class_name=self.work.params.optimizers[self.work.name].class_name,
                optimizer={k: v for k, v in config.items() if k not in _NOT_IN_CONFIG},
                tuned_learning_rate_factor=factor,
                jit_compile=self.work.jit_compile,
                n_parameters=self._model.count_params(),
                n_state=n_state,
                versions=VERSIONS,
            ),
            trials=tuple(result.row for result in results.values()),
            epochs=tuple(row for result in results.values() for row in result.curve),
            weights=_stack_weights(results.values()),
            architecture=architecture(self._model),
            model=_with_best_weights(self._model, tuned),
        )

    def _look_up(self, trials: Iterable[Trial]) -> list[Trial]:
        missing = []
        for trial in trials:
            if trial not in self._results:
                result = self._store.get(trial)
                self._results[trial] = None
                if result is None:
                    missing.append(trial)
                else:
                    self.n_found += 1
                    self._keep(trial, result)
        return missing

    def _keep(self, trial: Trial, result: TrialResult) -> None:
        self._results[trial] = result
        self.best = max(self.best, result.row.validation_accuracy or 0.0)


def _with_best_weights(model: keras.Model, results: Iterable[TrialResult]) -> keras.Model | None:
    completed = [result for result in results if result.weights is not None]
    if not completed:
        return None
    best = max(completed, key=lambda result: result.row.validation_accuracy or 0.0)
    model.set_weights(best.weights)
    return model


def _stack_weights(results: Iterable[TrialResult]) -> Weights:
    kept = [result for result in results if result.weights is not None]
    return Weights(
        learning_rate_factors=np.array([result.row.learning_rate_factor for result in kept]),
        seeds=np.array([result.row.seed for result in kept], np.int64),
        arrays=tuple(map(np.stack, zip(*(result.weights or () for result in kept), strict=True))),
    )
