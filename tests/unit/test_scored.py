"""One optimizer's trials, read from the files of its run and of the race."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from stages.common.confirmation import (
    PREDICTIONS,
    ROWS,
    ConfirmationRow,
    Scored,
    Unscored,
)
from stages.common.errors import InputError
from stages.common.runs import EPOCHS, RUN, TRIALS
from stages.common.score import score_of
from stages.evaluate.scored import Group, ScoredRun, read_runs
from tests.examples import (
    DATASET,
    SCORE,
    TASK,
    TEST,
    group,
    scored_run,
    small_training,
    write_confirmed,
    write_trained,
)
from tests.parameters import optimizer, small_params

SEEDS = list(range(100, 110))
OPTIMIZERS = {
    # Ten times the configured rate is better, 1e31 times diverges.
    "moved": optimizer(class_name="SGD", learning_rate=0.05),
    "lost": optimizer(class_name="SGD", learning_rate=1e30),
}
TUNING = {
    "moved": {"learning_rate_factors": [10.0, 1e31], "n_settings": 2},
    "lost": {"learning_rate_factors": [1.0], "n_settings": 1},
}


@dataclass(frozen=True)
class Project:
    """A folder with `runs` and `confirmation`."""

    folder: Path

    def read(self, *names: str) -> dict[str, ScoredRun]:
        return read_runs(
            names or tuple(OPTIMIZERS), self.folder / "runs", self.folder / "confirmation"
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("trained")
    for name, entry in OPTIMIZERS.items():
        write_trained(folder / "runs" / name, small_training(entry, tuning=TUNING[name]))
    write_confirmed(folder / "confirmation", folder / "runs", small_params(OPTIMIZERS))
    return Project(folder)


@pytest.fixture
def copy(trained: Project, tmp_path: Path) -> Project:
    """One that a test may damage."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return Project(tmp_path / "copy")


def test_a_run_is_read_with_its_trials_in_their_groups(trained: Project) -> None:
    scored = trained.read()["moved"]
    assert (scored.tuned.learning_rate, scored.configured.learning_rate) == (0.5, 0.05)
    assert [row.outcome for row in scored.tuning] == ["completed", "diverged"]
    rows = ROWS.read(trained.folder / "confirmation")
    for found, rate in ((scored.tuned, "tuned"), (scored.configured, "configured")):
        assert [(row.optimizer, row.rate, row.seed) for row in found.rows] == [
            ("moved", rate, seed) for seed in SEEDS
        ]
        assert found.completed == found.rows
        assert {*found.rows} <= {*rows}
    assert scored.tuned.scores.tolist() != scored.configured.scores.tolist()


def test_curves_are_of_the_tuned_rate_in_the_order_of_the_seeds(trained: Project) -> None:
    scored = trained.read()["moved"]
    assert [[row.seed for row in curve] for curve in scored.curves] == [[s, s] for s in SEEDS]
    assert {row.setting for curve in scored.curves for row in curve} == {scored.run.tuned}
    assert [curve[-1].validation_score for curve in scored.curves] == [
        row.validation_score for row in scored.tuned.completed
    ]


def test_predictions_are_those_that_the_scores_count(trained: Project) -> None:
    found = trained.read()
    scored = found["moved"]
    accuracies = (scored.predictions == TEST.targets).mean(axis=1)
    assert accuracies == pytest.approx(scored.tuned.scores, abs=1e-6)
    assert found["lost"].predictions.shape == (0, len(TEST.targets))
    shares = (scored.predictions == TEST.targets).mean(axis=0)
    assert scored.example_scores == pytest.approx(shares)
    assert found["lost"].example_scores.shape == (0,)


def test_every_trial_is_one_of_the_trials_once(trained: Project) -> None:
    for name, scored in trained.read().items():
        rows = TRIALS.read(trained.folder / "runs" / name)
        assert len(scored.trials) == len(rows)
        assert sum(r.n_steps for r in scored.trials) == sum(r.n_steps for r in rows)


def test_an_optimizer_that_always_diverged_has_no_scores_and_no_curves(trained: Project) -> None:
    scored = trained.read()["lost"]
    assert (scored.tuned.n_failed, scored.tuned.completed) == (10, ())
    assert np.isnan(scored.tuned.scores).tolist() == [True] * 10
    assert (scored.curves, scored.n_curves) == ((), 10)
    assert scored.configured == scored.tuned


def test_an_epoch_has_as_many_steps_as_it_was_trained_with(trained: Project) -> None:
    # 75 examples in batches of 16
    assert trained.read()["moved"].n_steps_per_epoch == 5


def test_other_optimizers_than_those_of_the_parameters_are_refused(trained: Project) -> None:
    for names in (("moved",), ("moved", "lost", "new"), ("moved", "new")):
        with pytest.raises(
            InputError, match=r"other optimizers than params\.yaml; run `dvc repro`"
        ):
            trained.read(*names)


def test_the_order_of_the_names_does_not_matter(trained: Project) -> None:
    found = trained.read("moved", "lost")
    assert list(found) == list(trained.read("lost", "moved")) == ["lost", "moved"]


def test_a_run_that_is_missing_is_named(copy: Project) -> None:
    shutil.rmtree(copy.folder / "runs" / "lost")
    with pytest.raises(InputError, match=r"lost/run\.json"):
        copy.read()


def without_a_trial(rows: Sequence[ConfirmationRow]) -> list[ConfirmationRow]:
    """The last of moved's at the tuned rate is lacking."""
    last = [row for row in rows if (row.optimizer, row.rate) == ("moved", "tuned")][-1]
    return [row for row in rows if row != last]


def of_other_seeds(rows: Sequence[ConfirmationRow]) -> list[ConfirmationRow]:
    return [replace(row, seed=row.seed + 1) for row in rows]


def in_another_order(rows: Sequence[ConfirmationRow]) -> list[ConfirmationRow]:
    return list(reversed(rows))


@pytest.mark.parametrize("change", [without_a_trial, of_other_seeds, in_another_order])
def test_scores_of_other_trials_than_the_runs_are_refused(
    copy: Project, change: Callable[[Sequence[ConfirmationRow]], list[ConfirmationRow]]
) -> None:
    confirmation = copy.folder / "confirmation"
    ROWS.write(confirmation, change(ROWS.read(confirmation)))
    with pytest.raises(InputError, match="of other trials; run `dvc repro --force`"):
        copy.read()


def test_predictions_of_fewer_trials_or_optimizers_are_refused(copy: Project) -> None:
    confirmation = copy.folder / "confirmation"
    found = PREDICTIONS.read(confirmation)
    lost, moved = found.values
    PREDICTIONS.write(confirmation, replace(found, values=(lost, moved[:-1])))
    with pytest.raises(InputError, match="of other trials"):
        copy.read()
    for changes in ({"values": (moved,)}, {"scores": found.scores[1:]}):
        PREDICTIONS.write(confirmation, replace(found, **changes))
        with pytest.raises(InputError, match="has other optimizers"):
            copy.read()


def test_curves_that_lack_a_trial_are_refused(copy: Project) -> None:
    folder = copy.folder / "runs" / "moved"
    epochs = EPOCHS.read(folder)
    EPOCHS.write(folder, [row for row in epochs if row.seed != SEEDS[0]])
    with pytest.raises(InputError, match="moved and confirmation are of other trials"):
        copy.read()


@pytest.mark.parametrize("which", ["never confirmed", "configured"])
def test_a_tuned_rate_that_is_not_the_one_of_the_race_is_refused(copy: Project, which: str) -> None:
    folder = copy.folder / "runs" / "moved"
    run = RUN.read(folder)
    (diverged,) = {0, 1, 2} - {run.tuned, run.configured}
    other = run.configured if which == "configured" else diverged
    RUN.write(folder, replace(run, tuned=other))
    with pytest.raises(InputError, match="of other trials"):
        copy.read()


def test_scores_are_by_seed_with_none_for_a_trial_that_failed() -> None:
    scored, failed = group([0.9, 0.8], n_failed=1).group.rows[:2], group([], n_failed=1).group.rows
    found = Group(0.1, (scored[0], *failed, scored[1]))
    assert [type(row) for row in found.rows] == [Scored, Unscored, Scored]
    np.testing.assert_array_equal(found.scores, [0.9, np.nan, 0.8])
    assert (found.n_failed, len(found.completed)) == (1, 2)


def test_a_summary_counts_the_failed_and_takes_the_mean_of_the_others() -> None:
    curves = [[0.5, 0.9, 0.8], [0.5, 0.7, 0.6]]
    found = group([0.9, 0.8], curves, n_failed=3).group.summarise(0.95, SCORE, DATASET.n_test)
    assert (found.learning_rate, found.n_trials, found.n_failed) == (0.1, 5, 3)
    assert found.test_score.mean == pytest.approx(0.85)
    assert found.test_loss.mean == pytest.approx(0.15)
    assert found.validation_score.mean == pytest.approx(0.7)
    assert found.best_validation_score.mean == pytest.approx(0.8)


def test_seeds_that_agree_by_chance_still_leave_an_interval_of_test_accuracy() -> None:
    found = group([0.9] * 10).group.summarise(0.95, SCORE, n_test=100).test_score
    # Student's t of nine degrees is 2.262; an example is 0.01.
    half_width = 2.262157 * 0.01 / 10**0.5
    assert (found.low, found.high) == pytest.approx((0.9 - half_width, 0.9 + half_width))
    assert found.standard_deviation == 0


def test_an_interval_of_accuracy_ends_at_0_and_1() -> None:
    found = group([0.0, 1.0]).group.summarise(0.95, SCORE, 100).test_score
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize(
    ("name", "scores", "ends"),
    [
        ("r2_score", [1.0, -30.0], (None, 1.0)),
        ("mean_absolute_error", [0.0, 30.0], (0.0, None)),
        ("cosine_similarity", [1.0, -1.0], (-1.0, 1.0)),
        ("poisson", [1.0, -1.0], (None, None)),
    ],
)
def test_an_interval_ends_where_the_score_does(
    name: str, scores: list[float], ends: tuple[float | None, float | None]
) -> None:
    score = score_of(TASK.model_copy(update={"name": "regression", "score": name}))
    found = group(scores).group.summarise(0.95, score, 100).test_score
    mean, half_width = np.mean(scores), 12.7062 * np.std(scores, ddof=1) / 2**0.5
    low, high = ends
    assert found.low == pytest.approx(mean - half_width if low is None else low)
    assert found.high == pytest.approx(mean + half_width if high is None else high)


def test_seeds_that_agree_leave_no_interval_where_a_score_has_no_step() -> None:
    score = score_of(TASK.model_copy(update={"name": "regression"}))
    found = group([0.9] * 10).group.summarise(0.95, score, n_test=100).test_score
    assert (found.low, found.high) == pytest.approx((0.9, 0.9))


def test_where_tuning_chose_the_configured_rate_its_trials_count_once() -> None:
    same = scored_run(group([0.9] * 3))
    assert len(same.trials) == 6 + 3
    other = scored_run(group([0.9] * 3), group([0.8] * 2, setting=0))
    assert len(other.trials) == 6 + 3 + 2
