"""What is shown of the networks' predictions."""

from dataclasses import replace

import numpy as np
import pytest

from stages.common.data import Examples, Scaling
from stages.evaluate.predictions import N_FITTED, N_MISTAKES, confuse, find_mistakes, fit
from stages.evaluate.scored import ScoredRun
from tests import regression
from tests.examples import CLASS_NAMES, DATASET, TEST, group, scored_run

NONE = Scaling((), (), (), ())


def predicting(predictions: np.ndarray) -> ScoredRun:
    return replace(scored_run(group([0.9] * len(predictions))), predictions=predictions)


def numbers(n: int, n_outputs: int = 1) -> Examples:
    """Targets from n - 1 down to 0, and negative ones for further outputs."""
    column = np.arange(n, dtype=np.float32)[::-1]
    targets = np.stack([column * (-1) ** output for output in range(n_outputs)], axis=1)
    return Examples(np.zeros((n, 1), np.float32), targets)


def test_a_fitted_point_is_the_mean_over_trials_with_its_range() -> None:
    test = numbers(3)
    predictions = np.array([[[2.0], [1.0], [0.0]], [[4.0], [1.5], [-3.0]]], np.float32)
    points = fit("it", predicting(predictions), test)
    assert [(p.optimizer, p.output, p.actual) for p in points] == [
        ("it", 0, 0.0), ("it", 0, 1.0), ("it", 0, 2.0),
    ]  # fmt: skip
    found = [(p.predicted, p.predicted_low, p.predicted_high) for p in points]
    assert found == [(-1.5, -3.0, 0.0), (1.25, 1.0, 1.5), (3.0, 2.0, 4.0)]


@pytest.mark.parametrize(("n", "n_outputs"), [(5, 1), (5000, 1), (5000, 2), (1, 3), (10, 1000)])
def test_fitted_points_are_few_and_reach_from_the_lowest_to_the_highest(
    n: int, n_outputs: int
) -> None:
    test = numbers(n, n_outputs)
    points = fit("it", predicting(test.targets[np.newaxis]), test)
    assert len(points) <= max(N_FITTED, n_outputs)
    assert len({(p.output, p.actual) for p in points}) == len(points)
    for output in range(n_outputs):
        actual = [p.actual for p in points if p.output == output]
        assert actual == sorted(actual)
        if n_outputs < N_FITTED:
            column = test.targets[:, output]
            assert (actual[0], actual[-1]) == (column.min(), column.max())
    assert all(p.actual == p.predicted for p in points)


def test_nothing_is_fitted_of_classes_or_without_a_trial() -> None:
    assert fit("it", scored_run(group([0.9])), TEST) == ()
    assert fit("it", predicting(np.zeros((0, 60), np.uint8)), regression.TEST) == ()


def test_numbers_are_not_confused_and_are_no_mistakes() -> None:
    run = predicting(regression.TEST.targets[np.newaxis])
    assert confuse("it", run, regression.TEST, ()) == []
    assert len(find_mistakes(run, regression.TEST, regression.DATASET.scaling).pictures) == 0


def test_without_a_trial_nothing_is_confused() -> None:
    assert confuse("it", scored_run(group([], n_failed=2)), TEST, CLASS_NAMES) == []


def test_more_than_256_classes_are_confused_by_their_own_names() -> None:
    names = tuple(map(str, range(300)))
    test = Examples(np.zeros((4, 1), np.uint8), np.array([0, 299, 299, 44], np.int32))
    run = predicting(np.array([[0, 299, 44, 299], [0, 299, 299, 299]], np.uint16))
    cells = {(c.actual, c.predicted): c.share for c in confuse("it", run, test, names) if c.share}
    assert cells == {("0", "0"): 1, ("299", "299"): 0.75, ("299", "44"): 0.25, ("44", "299"): 1}


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((60, 36), np.uint8),
        np.zeros((60, 6, 6), np.uint8),
        np.zeros((60, 6, 6, 2), np.uint8),
        np.zeros((60, 6, 6, 1), np.float32),
    ],
    ids=["rows", "no-channels", "two-channels", "numbers"],
)
def test_what_is_no_picture_is_not_shown(inputs: np.ndarray) -> None:
    run = scored_run(group([0.1] * 3))
    found = find_mistakes(run, Examples(inputs, TEST.targets), NONE)
    assert len(found.pictures) == len(found.actual) == len(found.n_wrong) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_brightened_by_the_scaling_of_the_training_examples(channels: int) -> None:
    inputs = np.full((60, 6, 6, channels), 8, np.uint8)
    inputs[0] = 100  # brighter than any that was trained on
    run = scored_run(group([0.0] * 3))
    scaling = replace(DATASET.scaling, input_scale=(1 / 16,))
    found = find_mistakes(run, Examples(inputs, TEST.targets), scaling)
    assert found.pictures.shape == (N_MISTAKES, 6, 6, channels)
    assert found.pictures.dtype == np.uint8
    assert set(found.pictures[0].ravel()) == {255}
    assert set(found.pictures[1:].ravel()) == {127}
