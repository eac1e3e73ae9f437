"""Trains the optimizers still in question with further fresh seeds, until the answer is clear."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.confirmation import (
    ConfirmationRow,
    Predictions,
    Rate,
    Scored,
    Unscored,
    scores_by_seed,
)
from stages.common.console import Progress, notice
from stages.common.data import Dataset, Examples
from stages.common.decimals import rounded_up, score_format
from stages.common.errors import InputError
from stages.common.files import FloatArray
from stages.common.params import FIRST_LOOK, Params, choose_arguments, fresh_seeds
from stages.common.runs import (
    ALL_WEIGHTS,
    RUN,
    RUNS,
    TRIALS,
    WEIGHTS,
    Completed,
    Run,
    Setting,
)
from stages.common.score import score_of
from stages.confirm.scoring import Scorer, StoredScorer, TestScore, gather, identify
from stages.engine.determinism import set_up_tensorflow
from stages.engine.environment import Environment
from stages.engine.runner import Runner
from stages.engine.store import digest_examples, prune
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers
from stages.inference.race import Race, Rules, run_race


@dataclass(frozen=True)
class FirstLook:
    """What `train` wrote for an optimizer: its run, and its trials with the first fresh seeds.

    The trials are at the tuned and at the configured rate, in the order of their seeds.
    """

    run: Run
    results: tuple[TrialResult, ...]


@dataclass(frozen=True)
class Confirmed:
    """What the stage writes."""

    rows: tuple[ConfirmationRow, ...]
    predictions: Predictions


def read_first_looks(
    params: Params, runs: Path = RUNS, weights: Path = ALL_WEIGHTS
) -> dict[str, FirstLook]:
    """Reads what `train` wrote for every optimizer, by name.

    Raises:
        InputError: If a run is missing or damaged, or has other seeds than params.yaml asks for.
    """
    seeds = fresh_seeds(params.confirmation, FIRST_LOOK)
    names = sorted(params.optimizers)
    return {name: _read_first_look(runs / name, weights / name, seeds) for name in names}


def _read_first_look(run_folder: Path, weights_folder: Path, seeds: Sequence[int]) -> FirstLook:
    run, weights = RUN.read(run_folder), WEIGHTS.read(weights_folder)
    rows = tuple(row for row in TRIALS.read(run_folder) if row.phase == "confirmation")
    planned = list(product(dict.fromkeys((run.tuned, run.configured)), seeds))
    places = list(zip(weights.settings.tolist(), weights.seeds.tolist(), strict=True))
    completed = [(row.setting, row.seed) for row in rows if isinstance(row, Completed)]
    if places != completed or planned != [(row.setting, row.seed) for row in rows]:
        raise InputError(
            f"{run_folder} and {weights_folder} do not have the trials that they should have; run "
            "`dvc repro --force`"
        )
    weights_of = dict(zip(places, zip(*weights.arrays, strict=True), strict=True))
    results = (TrialResult(row, (), weights_of.get((row.setting, row.seed), ())) for row in rows)
    return FirstLook(run, tuple(sorted(results, key=lambda result: result.row.seed)))


def remove_stale_runs(optimizers: Iterable[str], root: Path = Path()) -> None:
    """Removes the runs, and the weights, of optimizers that params.yaml no longer names.

    DVC leaves them behind. This stage depends on the whole folders, so they would end up in
    dvc.lock. DVC's cache still has them: an optimizer that returns is not trained again.
    """
    files = (
        *(root / RUNS).glob(f"*/{TRIALS.name}"),
        *(root / ALL_WEIGHTS).glob(f"*/{WEIGHTS.name}"),
    )
    for folder in sorted(file.parent for file in files):
        if folder.name not in set(optimizers):
            shutil.rmtree(folder)
            notice(f"{folder}: removed, since params.yaml no longer names it")


def confirm(
    params: Params,
    dataset: Dataset,
    data: Data,
    test: Examples,
    first: Mapping[str, FirstLook],
    *,
    store_folder: Path,
    open_workers: Callable[[], AbstractContextManager[Workers]],
) -> Confirmed:
    """Scores the first fresh seeds on the test examples, then runs the race to its end.

    In every round, the optimizers that are still in the race are trained with the same further
    seeds, all at once. Settings are fixed beforehand; test scores decide only who stays in it.
    Where nothing is to be trained and all scores are in the store, TensorFlow is not imported.

    Raises:
        InputError: If the workers cannot go on.
    """
    started_s = time.time()
    score = score_of(params.task)
    field = _Field(params, dataset, test, first, store_folder)
    rules = Rules(
        margin=params.comparison.margin,
        confidence=params.comparison.confidence,
        resolution=score.resolution(dataset.n_test),
        at_most=params.confirmation.at_most,
    )
    race = run_race(field.scores(), rules)
    with ExitStack() as opened:
        if not race.is_over:
            workers = opened.enter_context(open_workers())
            works = _plan_works(params, dataset, data, field, race.racing, workers.environment)
            _check_same_code(works, first)
        while not race.is_over:
            _tell(race, len(first), field.style())
            n_seeds = race.looks[-1].n_seeds
            new_seeds = fresh_seeds(params.confirmation, race.next_n_seeds)[n_seeds:]
            jobs = [
                (works[name], field.trial(name, seed)) for seed in new_seeds for name in race.racing
            ]
            label = f"confirm, {n_seeds} to {race.next_n_seeds} seeds"
            # In the first round, each optimizer has to be compiled.
            n_first = len(race.racing) if len(race.looks) == 1 else 1
            with Progress(label, len(jobs), "trials", n_first=n_first) as progress:
                results = Runner(data, workers, store_folder, progress, score).run(jobs)
            for (work, _), result in zip(jobs, results, strict=True):
                field.add(work.name, result)
            race = run_race(field.scores(), rules)
    _tell(race, len(first), field.style())
    prune(store_folder, unused_since_s=started_s)
    return field.confirmed()


def _plan_works(
    params: Params,
    dataset: Dataset,
    data: Data,
    field: "_Field",
    names: Iterable[str],
    environment: Environment,
) -> dict[str, Work]:
    """What each optimizer's further trials have in common, at the settings that tuning chose."""
    from stages.engine.training import plan_work

    digest = digest_examples(data.train, data.validation)
    return {
        name: plan_work(
            name,
            choose_arguments(params, name, field.tuned(name).arguments),
            dataset,
            digest,
            environment,
        )
        for name in names
    }


def _build_scorer(params: Params, dataset: Dataset, test: Examples, *, jit_compile: bool) -> Scorer:
    set_up_tensorflow()
    # Only after the setup, because these import Keras.
    from stages.confirm.network import NetworkScorer
    from stages.engine.models import build_network

    model = build_network(params.model, dataset).model
    return NetworkScorer(model, params.task, dataset.scaling, test, jit_compile=jit_compile)


def _check_same_code(works: Mapping[str, Work], first: Mapping[str, FirstLook]) -> None:
    for name, work in works.items():
        if work.own != first[name].run.own:
            raise InputError(
                f"runs/{name} was trained with another version of your own code; run "
                "`dvc repro --force`"
            )


def _tell(race: Race, n_optimizers: int, style: str) -> None:
    if n_optimizers == 1:
        return
    look = race.looks[-1]
    bound = "how far another may be ahead is unknown"
    if look.bound is not None:
        bound = f"no other is ahead by more than {rounded_up(look.bound, style)}"
    racing = f"{len(race.racing)} of {n_optimizers} still in"
    notice(f"{look.n_seeds} seeds: {look.leader} leads; {bound}; {racing}")


class _Field:
    """All optimizers' trials with fresh seeds, scored on the test examples as they finish."""

    def __init__(
        self,
        params: Params,
        dataset: Dataset,
        test: Examples,
        first: Mapping[str, FirstLook],
        store_folder: Path,
    ) -> None:
        self._first, self._n_test = first, dataset.n_test
        self._score, self._margin = score_of(params.task), params.comparison.margin
        jit_compile = all(look.run.jit_compile for look in first.values())
        self._scorer = StoredScorer(
            store_folder,
            identify(params, dataset, test, jit_compile=jit_compile),
            lambda: _build_scorer(params, dataset, test, jit_compile=jit_compile),
        )
        self._rows: dict[str, list[ConfirmationRow]] = {name: [] for name in first}
        self._scored: dict[str, list[TestScore]] = {name: [] for name in first}
        for name, look in first.items():
            for result in look.results:
                self.add(name, result)

    def scores(self) -> dict[str, FloatArray]:
        """Test scores at the tuned rate by seed, negated if lower is better."""
        sign = self._score.sign
        return {name: sign * scores_by_seed(self._tuned_rows(name)) for name in self._first}

    def style(self) -> str:
        """The format of scores, by the best mean of an optimizer."""
        completed = [found[np.isfinite(found)] for found in self.scores().values()]
        means = [self._score.sign * float(found.mean()) for found in completed if found.size]
        best = max(means, key=self._score.merit, default=None)
        return score_format(self._score, best, self._margin)

    def trial(self, name: str, seed: int) -> Trial:
        """A further trial at the tuned setting."""
        factor = self.tuned(name).learning_rate_factor
        return Trial("confirmation", factor, seed, self._first[name].run.tuned)

    def tuned(self, name: str) -> Setting:
        """The setting that tuning chose."""
        run = self._first[name].run
        return run.settings[run.tuned]

    def add(self, name: str, result: TrialResult) -> None:
        row = result.row
        rate: Rate = "tuned" if row.setting == self._first[name].run.tuned else "configured"
        about: dict[str, Any] = {
            "optimizer": name,
            "rate": rate,
            "seed": row.seed,
            "n_steps": row.n_steps,
        }
        if not isinstance(row, Completed):
            self._rows[name].append(Unscored(**about, outcome=row.outcome))
            return
        found = self._scorer.score(result.weights)
        self._rows[name].append(
            Scored(
                **about,
                validation_score=row.validation_score,
                best_validation_score=row.best_validation_score,
                test_score=found.score,
                test_loss=found.loss,
            )
        )
        if rate == "tuned":
            self._scored[name].append(found)

    def confirmed(self) -> Confirmed:
        return Confirmed(
            rows=tuple(row for name in self._first for row in self._rows[name]),
            predictions=gather((self._scored[name] for name in self._first), self._n_test),
        )

    def _tuned_rows(self, name: str) -> list[ConfirmationRow]:
        return [row for row in self._rows[name] if row.rate == "tuned"]
