"""Holding out examples, and a scaling that knows the training split only."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages.common.data import Dataset, Examples, RawArrays, Scaling, Source
from stages.common.errors import InputError
from stages.common.files import Array, IntArray
from stages.common.params import Split
from stages.preprocess.split import Parts, fit_scaling
from stages.preprocess.split import split as split_for

SOURCE = Source("tiny", "npz", ("a",), ("a", "b", "c"), ())
TEXTBOOK = Split(validation_fraction=0.2, seed=42, stratify=False, test_fraction=0.25, test_seed=43)
STRATIFIED = TEXTBOOK.model_copy(update={"stratify": True})


def split(source: Source, arrays: RawArrays, settings: Split) -> Parts:
    return split_for(source, arrays, settings, "classification")


def make_arrays(n: int = 50, pixel: int = 1) -> RawArrays:
    """Black images but for their first pixel, and classes in turn."""
    images = np.zeros((n, 3, 2, 1), np.uint8)
    images[:, 0, 0, 0] = pixel
    labels = (np.arange(n) % 3).astype(np.int32)
    return RawArrays(images, labels, images[:7].copy(), labels[:7].copy())


def of_labels(labels: Array) -> RawArrays:
    """Images of one pixel each: 1, 2, ... in the order of the labels."""
    images = np.arange(1, len(labels) + 1, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return RawArrays(images, labels, images, labels)


def count(examples: Examples) -> tuple[int, ...]:
    return tuple(int((examples.targets == label).sum()) for label in range(3))


def test_the_parts_are_those_of_the_textbook_s_own_call() -> None:
    arrays = make_arrays()
    arrays.train_inputs[:, 1, 1, 0] = np.arange(50)
    parts = split(SOURCE, arrays, TEXTBOOK)
    expected = train_test_split(
        arrays.train_inputs, arrays.train_targets, test_size=0.2, random_state=42
    )
    found = (
        parts.train.inputs,
        parts.validation.inputs,
        parts.train.targets,
        parts.validation.targets,
    )
    for array, textbook in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, textbook, strict=True)
    np.testing.assert_array_equal(parts.test.inputs, arrays.test_inputs, strict=True)
    np.testing.assert_array_equal(parts.test.targets, arrays.test_targets, strict=True)


def test_what_the_later_stages_are_told() -> None:
    parts = split(SOURCE, make_arrays(pixel=16), TEXTBOOK)
    assert parts.dataset == Dataset(
        name="tiny",
        input_shape=(3, 2, 1),
        input_dtype="uint8",
        n_outputs=3,
        class_names=("a", "b", "c"),
        features=(),
        n_train=40,
        n_validation=10,
        n_test=7,
        train_counts=count(parts.train),
        validation_counts=count(parts.validation),
        test_counts=(3, 2, 2),
        files=SOURCE.files,
        scaling=Scaling((1 / 16,), (0.0,), (), ()),
    )


def test_a_class_that_no_image_shows_is_counted_as_none() -> None:
    source = replace(SOURCE, class_names=("a", "b", "c", "never"))
    dataset = split(source, make_arrays(), TEXTBOOK).dataset
    counts = dataset.train_counts, dataset.validation_counts, dataset.test_counts
    assert [(len(each), each[3]) for each in counts] == [(4, 0)] * 3


def test_stratified_parts_keep_the_classes_proportions() -> None:
    labels = np.repeat(np.array([0, 1, 2], np.int32), [50, 30, 20])
    dataset = split(SOURCE, of_labels(labels), STRATIFIED).dataset
    assert dataset.train_counts == (40, 24, 16)
    assert dataset.validation_counts == (10, 6, 4)


def test_another_seed_holds_out_other_examples() -> None:
    arrays = of_labels(make_arrays().train_targets)
    held_out = split(SOURCE, arrays, TEXTBOOK).validation.inputs
    other = split(SOURCE, arrays, TEXTBOOK.model_copy(update={"seed": 43})).validation.inputs
    assert set(held_out.ravel()) != set(other.ravel())


@pytest.mark.parametrize(
    ("labels", "settings", "told"),
    [
        ([0, 0, 0, 0, 0, 1], STRATIFIED, "least populated class"),
        ([0, 0, 1, 1, 2, 2], STRATIFIED, "should be greater or equal to the number of classes"),
        ([0], TEXTBOOK, "train set will be empty"),
    ],
    ids=["class-of-one", "fewer-than-classes", "one-example"],
)
def test_an_impossible_split_is_told(labels: list[int], settings: Split, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        split(SOURCE, of_labels(np.array(labels, np.int32)), settings)
    assert str(caught.value).startswith("params.yaml: split.validation_fraction: ")


def test_the_scaling_is_fitted_on_the_training_split_alone() -> None:
    arrays = make_arrays(pixel=7)
    numbered = split(SOURCE, of_labels(arrays.train_targets), TEXTBOOK)
    arrays.train_inputs[numbered.validation.inputs.ravel() - 1] = 255
    arrays.test_inputs[:] = 254
    assert split(SOURCE, arrays, TEXTBOOK).dataset.scaling == Scaling((1 / 7,), (0.0,), (), ())


def test_bytes_that_are_all_0_are_refused() -> None:
    with pytest.raises(InputError, match="every byte of the training inputs is 0"):
        split(SOURCE, make_arrays(pixel=0), TEXTBOOK)


def test_splitting_leaves_the_raw_arrays_alone() -> None:
    arrays = make_arrays()
    split(SOURCE, arrays, STRATIFIED)
    np.testing.assert_equal(asdict(arrays), asdict(make_arrays()))


def without_a_test_part(n: int = 100) -> RawArrays:
    arrays = of_labels((np.arange(n) % 3).astype(np.int32))
    return replace(arrays, test_inputs=arrays.test_inputs[:0], test_targets=arrays.test_targets[:0])


def places(examples: Examples) -> set[int]:
    return set(examples.inputs.ravel().tolist())


def test_without_a_test_part_the_test_examples_are_held_out_first() -> None:
    arrays = without_a_test_part()
    parts = split(SOURCE, arrays, TEXTBOOK)
    rest, test = train_test_split(arrays.train_inputs, test_size=0.25, random_state=43)
    train, validation = train_test_split(rest, test_size=0.2, random_state=42)
    for part, textbook in (
        (parts.train, train),
        (parts.validation, validation),
        (parts.test, test),
    ):
        np.testing.assert_array_equal(part.inputs, textbook, strict=True)
    dataset = parts.dataset
    assert (dataset.n_train, dataset.n_validation, dataset.n_test) == (60, 15, 25)
    assert sum(dataset.test_counts) == 25


def test_the_seed_of_validation_leaves_the_test_part_as_it_is() -> None:
    one, other = (
        split(SOURCE, without_a_test_part(), TEXTBOOK.model_copy(update={"seed": seed}))
        for seed in (1, 2)
    )
    assert places(one.test) == places(other.test)
    assert places(one.validation) != places(other.validation)


def test_a_test_part_that_is_there_is_not_touched_by_its_settings() -> None:
    changes = {"test_fraction": 0.9, "test_seed": 7}
    one, other = (
        split(SOURCE, make_arrays(), settings)
        for settings in (TEXTBOOK, TEXTBOOK.model_copy(update=changes))
    )
    assert one.dataset == other.dataset
    np.testing.assert_equal(asdict(one.test), asdict(other.test))


def test_stratified_test_examples_keep_the_classes_proportions() -> None:
    arrays = of_labels(np.repeat(np.array([0, 1, 2], np.int32), [100, 60, 40]))
    arrays = replace(arrays, test_inputs=arrays.test_inputs[:0], test_targets=np.zeros(0, np.int32))
    dataset = split(SOURCE, arrays, STRATIFIED).dataset
    assert dataset.test_counts == (25, 15, 10)
    assert dataset.validation_counts == (15, 9, 6)


def test_a_test_fraction_that_leaves_nothing_is_told() -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: split\.test_fraction: .*will be empty"):
        split(SOURCE, without_a_test_part(1), TEXTBOOK)


def test_a_regression_has_no_classes_to_stratify_and_a_scaling_of_its_targets() -> None:
    inputs = np.linspace(-5, 90, 60, dtype=np.float32).reshape(20, 3)
    targets = np.linspace(10, 20, 20)
    arrays = RawArrays(inputs, targets, inputs[:4], targets[:4])
    parts = split_for(replace(SOURCE, class_names=()), arrays, STRATIFIED, "regression")
    dataset = parts.dataset
    assert (dataset.task, dataset.n_outputs, dataset.class_names) == ("regression", 1, ())
    assert (dataset.input_shape, dataset.input_dtype) == ((3,), "float32")
    assert (dataset.train_counts, dataset.validation_counts, dataset.test_counts) == ((), (), ())
    assert parts.train.targets.shape == (16, 1)
    assert parts.train.targets.dtype == np.float32
    assert dataset.scaling.target_scale == pytest.approx((parts.train.targets.std(),))
    assert dataset.scaling.target_offset == pytest.approx((parts.train.targets.mean(),))


class Counting:
    """Columns that note which examples they were fitted on."""

    def __init__(self, n_given: int, n_test: int) -> None:
        self.n_given, self.n_test = n_given, n_test
        self.fitted_on: list[int] = []

    def encode(self, train: IntArray) -> tuple[Array, Array, tuple[str, ...]]:
        self.fitted_on = train.tolist()
        numbers = np.arange(self.n_given + self.n_test, dtype=np.float32)
        encoded = np.stack([numbers, -numbers], axis=1)
        return encoded[: self.n_given], encoded[self.n_given :], ("plus", "minus")

    def medians(self, train: IntArray) -> tuple[float, ...]:
        assert train.tolist() == self.fitted_on
        return (0.0, 0.0)


def test_columns_are_fitted_on_the_training_examples_alone() -> None:
    arrays = make_arrays()
    columns: Any = Counting(50, 7)
    parts = split_for(SOURCE, arrays, TEXTBOOK, "classification", columns)
    assert len(columns.fitted_on) == 40
    assert sorted(columns.fitted_on) == sorted(parts.train.inputs[:, 0].tolist())
    np.testing.assert_array_equal(parts.test.inputs[:, 0], np.arange(50, 57))
    assert (parts.dataset.features, parts.dataset.input_shape) == (("plus", "minus"), (2,))


def numbers(*targets: float) -> Examples:
    values = np.array(targets, np.float32).reshape(-1, 1)
    return Examples(np.zeros((len(values), 2), np.int32), values)


def test_numbers_are_brought_to_mean_0_and_deviation_1_each_column_by_itself() -> None:
    inputs = np.random.default_rng(0).normal([5, -900, 3], [0.1, 40, 2], (200, 3))
    inputs[:, 2] = 3
    found = fit_scaling(Examples(inputs.astype(np.float32), np.zeros(200, np.int32)))
    scaled = inputs.astype(np.float32) * found.input_scale + found.input_offset
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    # A column that does not vary is only shifted.
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-5)
    assert (found.target_scale, found.target_offset) == ((), ())


def test_a_picture_of_numbers_is_scaled_channel_by_channel() -> None:
    inputs = np.random.default_rng(0).normal([1, 50], [1, 9], (20, 4, 4, 2)).astype(np.float32)
    found = fit_scaling(Examples(inputs, np.zeros(20, np.int32)))
    np.testing.assert_allclose(found.input_scale, 1 / inputs.std(axis=(0, 1, 2)), rtol=1e-5)


def test_integers_are_left_alone() -> None:
    found = fit_scaling(Examples(np.arange(6, dtype=np.int32).reshape(3, 2), np.zeros(3)))
    assert found == Scaling((), (), (), ())


def test_the_scaling_of_targets_turns_them_back_into_their_units() -> None:
    train = numbers(1.0, 2.0, 6.0)
    found = fit_scaling(train)
    scaled = np.array([-0.9258, -0.4629, 1.3887])  # of mean 3 and deviation sqrt(14 / 3)
    np.testing.assert_allclose(scaled * found.target_scale + found.target_offset, [1, 2, 6], 1e-4)


def test_values_to_be_predicted_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="output 1 of 1 to be predicted has the same value"):
        fit_scaling(numbers(2.0, 2.0))
