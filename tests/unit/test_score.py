"""What a task is judged by, and which way is better."""

from math import inf
from typing import Any

import pytest

from stages.common.params import Task
from stages.common.score import Score, score_of


def task(name: str, **changes: Any) -> Task:
    auto = {"loss": "auto", "score": "auto", "direction": "auto"}
    return Task.model_validate({"name": name, **auto, **changes})


def test_by_itself_a_task_is_judged_by_accuracy_or_r2() -> None:
    assert score_of(task("classification")) == Score("accuracy", "accuracy", 1, True)
    assert score_of(task("regression")) == Score("r2_score", "R²", 1, False)


@pytest.mark.parametrize(
    ("name", "shown", "sign", "is_count"),
    [
        ("sparse_top_k_categorical_accuracy", "sparse top k categorical accuracy", 1, True),
        ("cosine_similarity", "cosine similarity", 1, False),
        ("mean_absolute_error", "mean absolute error", -1, False),
        ("mean_squared_logarithmic_error", "mean squared logarithmic error", -1, False),
        ("sparse_categorical_crossentropy", "sparse categorical crossentropy", -1, False),
        ("huber", "huber", -1, False),
    ],
)
def test_of_keras_s_metrics_it_is_known_which_way_is_better(
    name: str, shown: str, sign: int, is_count: bool
) -> None:
    found = score_of(task("regression", score=name))
    assert (found.keras_name, found.name) == (name, shown)
    assert (found.sign, found.is_count) == (sign, is_count)


@pytest.mark.parametrize(("direction", "sign"), [("higher", 1), ("lower", -1)])
@pytest.mark.parametrize("name", ["auto", "mean_absolute_error"])
def test_a_direction_that_is_set_counts(name: str, direction: str, sign: int) -> None:
    assert score_of(task("regression", score=name, direction=direction)).sign == sign


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("accuracy", (0, 1)),
        ("binary_accuracy", (0, 1)),
        ("r2_score", (-inf, 1)),
        ("mean_absolute_error", (0, inf)),
        ("categorical_crossentropy", (0, inf)),
        ("cosine_similarity", (-1, 1)),
        ("kl_divergence", (0, inf)),
        ("poisson", (-inf, inf)),
    ],
)
def test_a_score_knows_its_ends(name: str, ends: tuple[float, float]) -> None:
    found = score_of(task("regression", score=name))
    assert (found.lowest, found.highest) == ends


def test_an_example_is_the_step_of_a_score_that_counts_and_others_have_none() -> None:
    assert score_of(task("classification")).resolution(60) == 1 / 60
    assert score_of(task("regression")).resolution(60) == 0


def test_the_greater_merit_is_the_better_score() -> None:
    higher = score_of(task("regression"))
    lower = score_of(task("regression", score="mean_absolute_error"))
    assert higher.merit(0.9) > higher.merit(0.1) > higher.merit(-3.0)
    assert lower.merit(0.1) > lower.merit(0.9)
