"""From what data hold to classes or numbers."""

from typing import Any

import numpy as np
import pytest

from stages.common.data import RawArrays, Source
from stages.common.errors import InputError
from stages.common.files import Array
from stages.preprocess.targets import encode_targets

UNNAMED = Source("mine", "npz", ("me",), (), ())
NAMED = Source("mine", "npz", ("me",), ("shoe", "bag", "hat"), ())


def encode(
    train: Any, test: Any = (), task: str = "classification", source: Source = UNNAMED
) -> tuple[Array, tuple[str, ...]]:
    targets, others = np.array(train), np.array(test)
    inputs = [np.zeros((len(part), 1), np.uint8) for part in (targets, others)]
    return encode_targets(source, RawArrays(inputs[0], targets, inputs[1], others), task)


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        (["cat", "dog", "cat"], ["dog"], ("cat", "dog")),
        (["b", "a", "b"], ["a", "c", "c"], ("a", "b", "c")),
        ([7, -1, 7], [-1], ("-1", "7")),
        ([3.0, 1.0, 1.0], [3.0], ("1", "3")),
        ([True, False, True], [False], ("False", "True")),
        (["10", "9", "10", "9"], (), ("10", "9")),
    ],
    ids=["names", "one of the test alone", "integers", "whole floats", "truth", "no test part"],
)
def test_classes_are_what_the_targets_hold_in_their_order(
    train: list[Any], test: list[Any], names: tuple[str, ...]
) -> None:
    targets, found = encode(train, test)
    assert found == names
    assert targets.dtype == np.int32
    given = [int(value) if isinstance(value, float) else value for value in (*train, *test)]
    assert [names[code] for code in targets] == [str(value) for value in given]


def test_classes_that_have_names_stay_as_they_are() -> None:
    targets, names = encode(np.array([2, 0, 2], np.uint8), np.array([0], np.uint8), source=NAMED)
    assert names == NAMED.class_names
    assert (targets.tolist(), targets.dtype) == ([2, 0, 2, 0], np.dtype("int32"))


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([1, 2], [3], [[1], [2], [3]]),
        ([1.5, -2.0], (), [[1.5], [-2.0]]),
        ([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]], [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_numbers_are_a_column_for_each_output(
    train: list[Any], test: list[Any], expected: list[list[float]]
) -> None:
    targets, names = encode(train, test, "regression")
    assert (targets.tolist(), targets.dtype, names) == (expected, np.dtype("float32"), ())


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ([0.5, 1.0], "numbers with fractions, or some are missing; should be regression"),
        ([1.0, np.nan], "numbers with fractions, or some are missing; should be regression"),
        ([1.0, np.inf], "numbers with fractions, or some are missing; should be regression"),
        (["a", "a"], "every example is of class 'a'; needs two classes"),
        (["a", "a", "b"], "class 'b' has only one example; add more, or leave it out"),
        (
            list(range(200)),
            "class '0' has only one example; .* set task.name to r",
        ),
        (
            [[1, 0], [0, 1]],
            r"targets have the shape \(2, 2\); should be one class per example",
        ),
    ],
)
def test_what_cannot_be_classes_is_told(train: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=f"(?i){told}"):
        encode(train)


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        (
            ["a", "b"],
            (),
            "task.name: mine has classes to be predicted, .* should be classification",
        ),
        ([True, False], (), "mine has classes to be predicted, not numbers"),
        ([1.0, np.nan, 2.0], (), "the value to be predicted of example 1 is missing or not finite"),
        ([1.0, 2.0], [np.inf], "the value to be predicted of example 2 is missing or not finite"),
        ([1.0, 1e300], (), "the value to be predicted of example 1 is missing or not finite"),
    ],
)
def test_what_cannot_be_predicted_as_a_number_is_told(
    train: list[Any], test: list[Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        encode(train, test, "regression")


def test_classes_that_have_names_are_no_numbers() -> None:
    with pytest.raises(InputError, match="should be classification"):
        encode([0, 1], [1], "regression", NAMED)
