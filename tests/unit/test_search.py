"""Which trials tune an optimizer, and what they decide for."""

from dataclasses import replace

import pytest

from stages.common.params import Tuning
from stages.common.runs import Completed, Failed, TrialRow
from stages.engine.trial import Trial
from stages.train.search import choose_setting, plan_settings, plan_tuning
from tests.examples import COMMITTED, trial_row


def test_tuning_crosses_the_grid_with_its_seeds() -> None:
    tuning = plan_tuning(COMMITTED.tuning)
    assert len(set(tuning)) == len(tuning) == 15
    assert {trial.phase for trial in tuning} == {"tuning"}
    factors = {trial.learning_rate_factor for trial in tuning}
    assert factors == set(COMMITTED.tuning.learning_rate_factors)
    assert {trial.seed for trial in tuning} == set(COMMITTED.tuning.seeds)


def test_a_trial_knows_its_place_among_the_settings() -> None:
    tuning = Tuning(learning_rate_factors=(3.0, 0.5), seeds=(8, 9))
    settings = plan_settings(tuning)
    trials = plan_tuning(tuning)
    assert trials == [
        Trial("tuning", 3.0, 8, 0),
        Trial("tuning", 3.0, 9, 0),
        Trial("tuning", 0.5, 8, 1),
        Trial("tuning", 0.5, 9, 1),
    ]
    assert [trial.setting for trial in trials] == [0, 0, 1, 1]
    assert [settings[trial.setting] for trial in trials] == [3.0, 3.0, 0.5, 0.5]


def test_a_place_is_no_part_of_what_a_trial_is() -> None:
    assert Trial("tuning", 3.0, 8, 0) == Trial("tuning", 3.0, 8, 5)
    assert hash(Trial("tuning", 3.0, 8, 0)) == hash(Trial("tuning", 3.0, 8, 5))


@pytest.mark.parametrize(
    ("factors", "settings"),
    [
        ((0.1, 1.0, 10.0), (0.1, 1.0, 10.0)),
        ((0.1, 10.0), (0.1, 10.0, 1.0)),
        ((1.0,), (1.0,)),
        ((10.0, 0.1), (10.0, 0.1, 1.0)),
    ],
)
def test_the_configured_rate_is_a_setting_in_the_grid_or_after_it(
    factors: tuple[float, ...], settings: tuple[float, ...]
) -> None:
    assert plan_settings(Tuning(learning_rate_factors=factors, seeds=(1,))) == settings


def row(setting: int, accuracy: float | None, loss: float = 1.0) -> TrialRow:
    """None for a trial that diverged."""
    result = trial_row("tuning", setting, 1, accuracy)
    return replace(result, validation_loss=loss) if isinstance(result, Completed) else result


def failed(setting: int) -> TrialRow:
    about = {key: value for key, value in vars(row(setting, None)).items() if key != "outcome"}
    return Failed(**about, reason="no room")


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row(0, 0.5), row(1, 0.7), row(2, 0.6)], 1),
        ([row(0, 0.5), row(1, 0.9), row(0, 0.9), row(1, 0.4)], 0),
        ([row(0, 0.5), row(1, 0.9), row(0, 0.5), row(1, None)], 0),
        ([row(0, 0.5), row(1, 0.9), row(0, 0.5), failed(1)], 0),
        ([row(0, None), row(1, 0.1), failed(0), row(1, None)], 1),
        ([row(0, 0.5, loss=2.0), row(1, 0.5, loss=1.0)], 1),
        ([row(0, 0.0), row(1, None)], 0),
        ([row(0, None), row(1, 0.0)], 1),
        ([row(0, 0.5), row(1, 0.5)], 0),
        ([row(0, None), row(1, None)], 0),
        ([failed(0), row(1, None)], 0),
    ],
    ids=[
        "best",
        "mean",
        "a diverged trial loses",
        "a failed trial loses",
        "fewer lost",
        "loss decides",
        "guessing wrong is better than diverging",
        "whichever comes first",
        "first",
        "all diverged",
        "failing is as bad as diverging",
    ],
)
def test_tuning_chooses_the_best_mean_on_validation(rows: list[TrialRow], chosen: int) -> None:
    assert choose_setting(rows) == chosen
