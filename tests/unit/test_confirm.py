"""The race with fresh seeds: who goes on, with which seeds, and always the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.confirmation import PREDICTIONS, ROWS, Scored
from stages.common.data import Dataset
from stages.common.errors import InputError
from stages.common.optimizer_params import Optimizer
from stages.common.params import Params
from stages.common.runs import RUN, TRIALS, WEIGHTS, Completed, Run, Setting, Weights
from stages.confirm import race, scoring
from stages.confirm.race import Confirmed, confirm, read_first_looks, remove_stale_runs
from stages.engine.environment import Environment, describe_environment
from stages.engine.trial import Data, Trial, TrialResult, Work, Workers
from stages.engine.workers import open_threads
from stages.inference.race import Rules, run_race
from stages.train.tuning import train
from tests.examples import DATA, DATASET, TASK, TEST, trial_row, write_trained
from tests.parameters import optimizer, small_params

FIRST_SEED = 100
TINY = 1e-6
# Place of each factor; what tuning chose is not what is configured.
FACTORS = {1.0: 0, 3.16: 1}
TUNED = 3.16

# Test accuracy by the name of the optimizer, factor and seed; None for a diverged trial.
AccuracyOf = Callable[[str, float, int], float | None]


def noise(name: str, seed: int) -> float:
    key = [*name.encode(), seed]
    return float(np.random.default_rng(key).normal(0, 0.02))


def by_means(means: Mapping[str, float | None]) -> AccuracyOf:
    """Seeds differ by noise; at the configured rate all is a tenth lower."""

    def accuracy_of(name: str, factor: float, seed: int) -> float | None:
        mean = means[name]
        if mean is None:
            return None
        return mean + noise(name, seed) - (0 if factor == TUNED else 0.1)

    return accuracy_of


CLOSE = by_means({"a": 0.8, "b": 0.8, "far": 0.4})
CLEAR = by_means({"a": 0.8, "b": 0.5, "far": 0.3})


def result_of(trial: Trial, accuracy: float | None) -> TrialResult:
    """Weights that tell accuracy and seed, as `ScriptedScorer` reads them."""
    row = trial_row("confirmation", trial.setting, trial.seed, accuracy)
    weights = (np.array([accuracy, trial.seed]),) if isinstance(row, Completed) else ()
    return TrialResult(row, (), weights)


def predicted(seed: int) -> list[int]:
    """What the network of this seed predicts."""
    classes: list[int] = np.random.default_rng(seed).integers(0, 4, DATASET.n_test).tolist()
    return classes


class ScriptedScorer:
    def __init__(
        self, params: Params, dataset: Dataset, test: object, *, jit_compile: bool
    ) -> None:
        assert (params.task, dataset) == (TASK, DATASET)
        assert test is TEST
        assert jit_compile

    def score(self, weights: Sequence[Any]) -> scoring.TestScore:
        accuracy, seed = weights[0].tolist()
        classes = np.array(predicted(int(seed)), np.uint8)
        scores = np.full(DATASET.n_test, accuracy)
        return scoring.TestScore(classes, scores, accuracy, 1 - accuracy)


@dataclass(frozen=True)
class Script:
    """Runs in a folder, a store, and workers that end each trial as they are told."""

    folder: Path
    accuracy_of: AccuracyOf

    def confirm(
        self, params: Params, workers: Workers | None = None, store: str = "store"
    ) -> tuple[Confirmed, list[tuple[str, int]]]:
        """What the race gives, and which trials were trained in their order."""
        scripted = ScriptedWorkers(self.accuracy_of)
        confirmed = confirm(
            params,
            DATASET,
            DATA,
            TEST,
            read_first_looks(params, self.folder / "runs", self.folder / "runs"),
            store_folder=self.folder / store,
            open_workers=lambda: nullcontext(workers or scripted),
        )
        return confirmed, scripted.trained


class ScriptedWorkers:
    def __init__(self, accuracy_of: AccuracyOf) -> None:
        self._accuracy_of = accuracy_of
        self.trained: list[tuple[str, int]] = []

    @property
    def environment(self) -> Environment:
        return describe_environment()

    def submit(self, work: Work, data: Data, trial: Trial) -> Future[TrialResult]:
        assert data is DATA
        assert (trial.phase, trial.learning_rate_factor) == ("confirmation", TUNED)
        self.trained.append((work.name, trial.seed))
        future: Future[TrialResult] = Future()
        accuracy = self._accuracy_of(work.name, trial.learning_rate_factor, trial.seed)
        future.set_result(result_of(trial, accuracy))
        return future

    def collect(self, future: Future[TrialResult]) -> TrialResult:
        return future.result(timeout=0)


class NoWorkers:
    """Workers for a race that needs none."""

    @property
    def environment(self) -> Environment:
        raise AssertionError("nothing is to be trained")

    def submit(self, work: Work, data: Data, trial: Trial) -> Future[TrialResult]:  # noqa: ARG002
        raise AssertionError(f"{work.name} is trained with seed {trial.seed}")

    def collect(self, future: Future[TrialResult]) -> TrialResult:  # noqa: ARG002
        raise AssertionError("nothing is to be trained")


def write_run(folder: Path, name: str, accuracy_of: AccuracyOf, *, tuned: float = TUNED) -> None:
    """What `train` would have left of one optimizer, with a tuning trial before."""
    settings = tuple(Setting(factor, 0.1 * factor) for factor in FACTORS)
    trials = [
        Trial("confirmation", factor, seed, FACTORS[factor])
        for factor in dict.fromkeys((tuned, 1.0))
        for seed in range(FIRST_SEED, FIRST_SEED + 10)
    ]
    results = [result_of(t, accuracy_of(name, t.learning_rate_factor, t.seed)) for t in trials]
    kept = [result for result in results if result.weights]
    TRIALS.write(folder, [trial_row("tuning", 0, 1, 0.5), *(result.row for result in results)])
    WEIGHTS.write(
        folder,
        Weights(
            np.array([result.row.setting for result in kept], np.int64),
            np.array([result.row.seed for result in kept], np.int64),
            tuple(map(np.stack, zip(*(result.weights for result in kept), strict=True))),
        ),
    )
    run = Run("SGD", {}, settings, FACTORS[tuned], FACTORS[1.0], True, 100, 0, {})
    RUN.write(folder, run)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    monkeypatch.setattr(race, "_build_scorer", ScriptedScorer)

    def written(accuracy_of: AccuracyOf, names: Sequence[str] = ("a", "b", "far")) -> Script:
        for name in names:
            write_run(tmp_path / "runs" / name, name, accuracy_of)
        return Script(tmp_path, accuracy_of)

    return written


def parameters(
    margin: float = TINY, at_most: int = 20, names: Sequence[str] = ("a", "b", "far")
) -> Params:
    # Each with a rate of its own, since equal entries share their trials in the store.
    entries = {
        name: optimizer(class_name="SGD", learning_rate=0.001 * sum(name.encode()))
        for name in names
    }
    return small_params(
        entries,
        comparison={"margin": margin},
        confirmation={"first_seed": FIRST_SEED, "at_most": at_most},
    )


def encoded(confirmed: Confirmed) -> tuple[bytes, bytes]:
    return ROWS.encode(confirmed.rows), PREDICTIONS.encode(confirmed.predictions)


def tuned_seeds(confirmed: Confirmed) -> dict[str, list[int]]:
    seeds: dict[str, list[int]] = {}
    for row in confirmed.rows:
        if row.rate == "tuned":
            seeds.setdefault(row.optimizer, []).append(row.seed)
    return seeds


def fresh(first: int, last: int) -> list[int]:
    """The seeds in these places, counted from 0, the last one not included."""
    return list(range(FIRST_SEED + first, FIRST_SEED + last))


def in_both(seeds: Sequence[int]) -> list[tuple[str, int]]:
    return [(name, seed) for seed in seeds for name in ("a", "b")]


def test_where_the_first_ten_seeds_suffice_nothing_is_trained(
    script: Callable[..., Script],
) -> None:
    confirmed, _ = script(CLEAR).confirm(parameters(margin=0.1, at_most=160), NoWorkers())
    assert tuned_seeds(confirmed) == {name: fresh(0, 10) for name in ("a", "b", "far")}
    rates = [(row.optimizer, row.rate) for row in confirmed.rows]
    assert {rate: rates.count(rate) for rate in rates} == {
        (name, rate): 10 for name in ("a", "b", "far") for rate in ("tuned", "configured")
    }


def test_one_optimizer_alone_needs_no_race(
    script: Callable[..., Script], capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed, _ = script(CLOSE, ("a",)).confirm(parameters(names=("a",)), NoWorkers())
    assert tuned_seeds(confirmed) == {"a": fresh(0, 10)}
    assert "still in" not in capsys.readouterr().err


def test_a_close_race_trains_those_who_are_still_in_with_further_seeds_in_order(
    script: Callable[..., Script],
) -> None:
    confirmed, trained = script(CLOSE).confirm(parameters(at_most=20))
    assert trained == in_both(fresh(10, 20))
    assert tuned_seeds(confirmed) == {"a": fresh(0, 20), "b": fresh(0, 20), "far": fresh(0, 10)}


def test_a_round_goes_to_the_next_look_and_no_further(script: Callable[..., Script]) -> None:
    scores = {
        name: np.array([CLOSE(name, TUNED, seed) for seed in fresh(0, 20)]) for name in ("a", "b")
    }
    scores["far"] = np.array([CLOSE("far", TUNED, seed) for seed in fresh(0, 10)])
    rules = Rules(TINY, 0.95, 1 / DATASET.n_test, 20)
    first, second, _ = run_race(scores, rules).looks
    assert first.bound is not None
    assert second.bound is not None
    assert second.bound < first.bound
    running = script(CLOSE)
    # Half way between, so that the second look of at most three suffices.
    margin = (first.bound + second.bound) / 2
    confirmed, trained = running.confirm(parameters(margin))
    assert trained == in_both(fresh(10, 15))

    # Another margin asks for nothing, or for what it lacks alone.
    stricter, trained = running.confirm(parameters(TINY))
    assert trained == in_both(fresh(15, 20))
    easier, trained = running.confirm(parameters(margin))
    assert trained == []
    assert encoded(easier) == encoded(confirmed) != encoded(stricter)
    loose, _ = running.confirm(parameters(0.9), NoWorkers())
    assert tuned_seeds(loose) == {name: fresh(0, 10) for name in ("a", "b", "far")}


@pytest.mark.parametrize(("earlier", "n_seeds"), [(10, 10), (14, 10), (15, 15), (29, 20)])
def test_going_on_to_more_seeds_trains_the_new_ones_to_the_same_bytes(
    script: Callable[..., Script], earlier: int, n_seeds: int
) -> None:
    running = script(CLOSE)
    _, trained = running.confirm(parameters(at_most=earlier))
    assert trained == in_both(fresh(10, n_seeds))  # to the last look that they allow
    confirmed, trained = running.confirm(parameters(at_most=30))
    assert trained == in_both(fresh(n_seeds, 30))
    at_once, trained = running.confirm(parameters(at_most=30), store="another")
    assert trained == in_both(fresh(10, 30))
    assert encoded(confirmed) == encoded(at_once)


def test_a_diverging_optimizer_has_no_scores_and_leaves(script: Callable[..., Script]) -> None:
    accuracy_of = by_means({"a": 0.8, "b": 0.8, "far": None})
    confirmed, trained = script(accuracy_of).confirm(parameters())
    assert {name for name, _ in trained} == {"a", "b"}
    lost = [row for row in confirmed.rows if row.optimizer == "far"]
    assert [(row.rate, row.outcome) for row in lost].count(("tuned", "diverged")) == 10
    assert len(lost) == 20
    assert [len(classes) for classes in confirmed.predictions.values] == [20, 20, 0]
    assert confirmed.predictions.values[2].shape == (0, DATASET.n_test)


def test_a_trial_that_diverges_in_the_race_is_a_row_without_scores(
    script: Callable[..., Script],
) -> None:
    def accuracy_of(name: str, factor: float, seed: int) -> float | None:
        return None if (name, seed) == ("a", FIRST_SEED + 12) else CLOSE(name, factor, seed)

    confirmed, _ = script(accuracy_of).confirm(parameters(at_most=15))
    rows = [row for row in confirmed.rows if (row.optimizer, row.rate) == ("a", "tuned")]
    assert [row.seed for row in rows] == fresh(0, 15)
    assert [row.outcome == "diverged" for row in rows] == [i == 12 for i in range(15)]
    predicted_by_a = confirmed.predictions.values[0].tolist()
    assert predicted_by_a == [predicted(row.seed) for row in rows if row.outcome == "completed"]


def test_where_every_trial_diverges_the_race_is_over(script: Callable[..., Script]) -> None:
    accuracy_of = by_means(dict.fromkeys(("a", "b", "far")))
    confirmed, _ = script(accuracy_of).confirm(parameters(), NoWorkers())
    assert {row.outcome for row in confirmed.rows} == {"diverged"}
    assert [len(classes) for classes in confirmed.predictions.values] == [0, 0, 0]


def test_predictions_are_of_the_tuned_rate_in_the_order_of_the_rows(
    script: Callable[..., Script],
) -> None:
    confirmed, _ = script(CLOSE).confirm(parameters())
    for name, classes in zip(("a", "b", "far"), confirmed.predictions.values, strict=True):
        seeds = tuned_seeds(confirmed)[name]
        assert classes.tolist() == [predicted(seed) for seed in seeds]
        assert classes.dtype == np.uint8


def test_an_example_s_score_is_its_mean_over_the_trials_at_the_tuned_rate(
    script: Callable[..., Script],
) -> None:
    confirmed, _ = script(CLOSE).confirm(parameters())
    for name, scores in zip(("a", "b", "far"), confirmed.predictions.scores, strict=True):
        expected = np.mean([CLOSE(name, TUNED, seed) for seed in tuned_seeds(confirmed)[name]])
        np.testing.assert_allclose(scores.tolist(), [expected] * DATASET.n_test)


def test_rows_tell_the_scores_of_their_trials(script: Callable[..., Script]) -> None:
    confirmed, _ = script(CLOSE).confirm(parameters())
    for row in confirmed.rows:
        assert isinstance(row, Scored)
        factor = TUNED if row.rate == "tuned" else 1.0
        accuracy = CLOSE(row.optimizer, factor, row.seed)
        assert accuracy is not None
        assert (row.test_score, row.test_loss) == (accuracy, 1 - accuracy)
        assert row.validation_score == pytest.approx(accuracy, rel=1e-5)


def test_optimizers_stand_by_name_whatever_their_order_in_the_parameters(
    script: Callable[..., Script],
) -> None:
    running = script(CLOSE)
    one, _ = running.confirm(parameters(names=("a", "b", "far")))
    other, _ = running.confirm(parameters(names=("far", "b", "a")), store="another")
    assert encoded(one) == encoded(other)
    assert list(tuned_seeds(one)) == ["a", "b", "far"]


def test_a_configured_rate_that_tuning_chose_is_called_tuned(
    tmp_path: Path, script: Callable[..., Script]
) -> None:
    running = script(CLOSE, ())
    write_run(tmp_path / "runs" / "a", "a", CLOSE, tuned=1.0)
    confirmed, _ = running.confirm(parameters(names=("a",)), NoWorkers())
    assert [(row.rate, row.seed) for row in confirmed.rows] == [("tuned", s) for s in fresh(0, 10)]


def drop_weights(folder: Path) -> None:
    weights = WEIGHTS.read(folder)
    arrays = tuple(array[1:] for array in weights.arrays)
    WEIGHTS.write(folder, Weights(weights.settings[1:], weights.seeds[1:], arrays))


def swap_seeds(folder: Path) -> None:
    weights = WEIGHTS.read(folder)
    WEIGHTS.write(folder, replace(weights, seeds=weights.seeds[::-1]))


def drop_trials(folder: Path) -> None:
    TRIALS.write(folder, [row for row in TRIALS.read(folder) if row.setting == 0])
    weights = WEIGHTS.read(folder)
    kept = weights.settings == 0
    arrays = tuple(array[kept] for array in weights.arrays)
    WEIGHTS.write(folder, Weights(weights.settings[kept], weights.seeds[kept], arrays))


def damage(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-20])

    return cut


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_weights, "the trials that they should have; run `dvc repro --force`"),
        (swap_seeds, "the trials that they should have; run `dvc repro --force`"),
        (drop_trials, "the trials that they should have; run `dvc repro --force`"),
        (damage("weights.npz"), r"weights\.npz: missing or damaged; run `dvc repro`"),
        (damage("run.json"), r"run\.json: missing or damaged; run `dvc repro`"),
        (damage("trials.csv"), r"trials\.csv: missing or damaged; run `dvc repro`"),
        (remove("weights.npz"), r"weights\.npz: missing or damaged; run `dvc repro`"),
        (remove("run.json"), r"run\.json: missing or damaged; run `dvc repro`"),
        (remove("trials.csv"), r"trials\.csv: missing or damaged; run `dvc repro`"),
    ],
)
def test_a_run_that_is_damaged_or_does_not_fit_is_refused(
    script: Callable[..., Script], spoil: Callable[[Path], None], message: str
) -> None:
    running = script(CLOSE)
    spoil(running.folder / "runs" / "b")
    with pytest.raises(InputError, match=message) as caught:
        running.confirm(parameters(), NoWorkers())
    assert "\n" not in str(caught.value)


def test_runs_that_no_parameter_names_are_removed_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path / "runs", tmp_path / "weights"):
        for name in ("kept", "stale"):
            write_run(folder / name, name, by_means({"kept": 0.5, "stale": 0.5}))
        (folder / "notes").mkdir()
        (folder / "notes" / "mine.txt").write_text("mine")
    remove_stale_runs(["kept", "new"], tmp_path)
    told = capsys.readouterr().err
    for folder in (tmp_path / "runs", tmp_path / "weights"):
        assert {path.name for path in folder.iterdir()} == {"kept", "notes"}
        assert f"{folder.name}/stale: removed" in told


# From here on with networks that are trained.
REAL = small_params(
    {
        "sgd": optimizer(class_name="SGD", learning_rate=0.05),
        "momentum": optimizer(class_name="SGD", learning_rate=0.05, momentum=0.1),
    },
    train={"epochs": 1},
    tuning={"learning_rate_factors": [3.0]},
    comparison={"margin": TINY},
    confirmation={"first_seed": FIRST_SEED, "at_most": 15},
)


def train_real(name: str, params: Params, store: Path, workers: Workers) -> Any:
    trained = train([name], params, DATASET, DATA, store_folder=store, workers=workers)
    return trained[name]


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with open_threads(1) as workers:
        for name in REAL.optimizers:
            write_trained(folder / name, train_real(name, REAL, folder / ".store", workers))
    return folder


def confirm_real(runs: Path, store: Path, n_workers: int, params: Params = REAL) -> Confirmed:
    with open_threads(n_workers) as workers:
        return confirm(
            params,
            DATASET,
            DATA,
            TEST,
            read_first_looks(params, runs, runs),
            store_folder=store,
            open_workers=lambda: nullcontext(workers),
        )


def test_the_number_of_workers_changes_no_byte(real_runs: Path, tmp_path: Path) -> None:
    alone, together = (confirm_real(real_runs, tmp_path / str(n), n) for n in (1, 2))
    assert tuned_seeds(alone) == {name: fresh(0, 15) for name in ("momentum", "sgd")}
    assert encoded(alone) == encoded(together)


def test_the_race_goes_on_with_the_arguments_that_tuning_chose(tmp_path: Path) -> None:
    def searching(low: float, high: float) -> Optimizer:
        return optimizer(
            class_name="SGD",
            learning_rate=0.05,
            learning_rate_factors=[1.0],
            search={"momentum": {"choices": [low, high]}},
        )

    entry = searching(0.1, 0.12)
    searched = REAL.model_copy(
        update={"optimizers": {"sgd": entry, "momentum": searching(0.11, 0.13)}}
    )
    tuning = searched.tuning.model_copy(update={"n_settings": 3, "learning_rate_factors": (1.0,)})
    searched = searched.model_copy(update={"tuning": tuning})
    with open_threads(1) as workers:
        for name in searched.optimizers:
            trained = train_real(name, searched, tmp_path / ".store", workers)
            write_trained(tmp_path / name, trained)

    def arguments_of(name: str) -> Mapping[str, Any]:
        run = RUN.read(tmp_path / name)
        return run.settings[run.tuned].arguments

    assert set(arguments_of("sgd")) == {"momentum"}
    given = {name: entry.with_arguments(arguments_of(name)) for name in searched.optimizers}
    typed = searched.model_copy(update={"optimizers": given})
    found = confirm_real(tmp_path, tmp_path / "searched", 1, searched)
    assert tuned_seeds(found) == {name: fresh(0, 15) for name in ("momentum", "sgd")}
    assert encoded(found) == encoded(confirm_real(tmp_path, tmp_path / "typed", 1, typed))
