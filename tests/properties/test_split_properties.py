"""Whatever is split, no image is lost, doubled or on both sides."""

import numpy as np
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.common.errors import InputError
from stages.common.files import UInt8Array
from stages.common.params import MAX_SEED, Split
from stages.preprocess.split import split
from tests.unit.test_split import SOURCE, of_labels

splits = st.builds(
    Split,
    validation_fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, MAX_SEED),
    stratify=st.booleans(),
)


@given(
    labels=arrays(np.uint8, st.integers(2, 200), elements=st.integers(0, 2)),
    settings_of_split=splits,
)
def test_the_parts_are_a_partition_and_the_same_each_time(
    labels: UInt8Array, settings_of_split: Split
) -> None:
    try:
        parts = split(SOURCE, of_labels(labels), settings_of_split)
    except InputError:
        reject()
    train, validation = parts.train.images.ravel(), parts.validation.images.ravel()
    assert len(train) > 0
    assert len(validation) > 0
    numbers = np.concatenate([train, validation])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(1, len(labels) + 1))
    rest = np.concatenate([parts.train.labels, parts.validation.labels])
    np.testing.assert_array_equal(rest, labels[numbers - 1])
    again = split(SOURCE, of_labels(labels), settings_of_split)
    np.testing.assert_array_equal(again.train.images.ravel(), train)
    np.testing.assert_array_equal(again.validation.images.ravel(), validation)
