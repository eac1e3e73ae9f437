"""Whatever is split, no example is lost, doubled or on both sides."""

from dataclasses import replace

import numpy as np
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.common.errors import InputError
from stages.common.fields import MAX_SEED
from stages.common.files import Array
from stages.common.params import Split
from tests.unit.test_split import SOURCE, of_labels, split

splits = st.builds(
    Split,
    validation_fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, MAX_SEED),
    stratify=st.booleans(),
    test_fraction=st.floats(0.05, 0.95),
    test_seed=st.integers(0, MAX_SEED),
)


@given(
    labels=arrays(np.int32, st.integers(2, 200), elements=st.integers(0, 2)),
    settings_of_split=splits,
)
def test_the_parts_are_a_partition_and_the_same_each_time(
    labels: Array, settings_of_split: Split
) -> None:
    try:
        parts = split(SOURCE, of_labels(labels), settings_of_split)
    except InputError:
        reject()
    train, validation = parts.train.inputs.ravel(), parts.validation.inputs.ravel()
    assert len(train) > 0
    assert len(validation) > 0
    numbers = np.concatenate([train, validation])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(1, len(labels) + 1))
    rest = np.concatenate([parts.train.targets, parts.validation.targets])
    np.testing.assert_array_equal(rest, labels[numbers - 1])
    again = split(SOURCE, of_labels(labels), settings_of_split)
    np.testing.assert_array_equal(again.train.inputs.ravel(), train)
    np.testing.assert_array_equal(again.validation.inputs.ravel(), validation)


@given(
    labels=arrays(np.int32, st.integers(3, 200), elements=st.integers(0, 2)),
    settings_of_split=splits,
)
def test_three_parts_of_data_without_a_test_part_are_a_partition(
    labels: Array, settings_of_split: Split
) -> None:
    given = of_labels(labels)
    given = replace(given, test_inputs=given.test_inputs[:0], test_targets=labels[:0])
    try:
        parts = split(SOURCE, given, settings_of_split)
    except InputError:
        reject()
    three = parts.train, parts.validation, parts.test
    assert all(len(part.targets) for part in three)
    numbers = np.concatenate([part.inputs.ravel() for part in three])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(1, len(labels) + 1))
    rest = np.concatenate([part.targets for part in three])
    np.testing.assert_array_equal(rest, labels[numbers - 1])
