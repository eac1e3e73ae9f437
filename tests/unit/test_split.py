"""Holding out validation images, and a scaling that knows the training split only."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages.common.data import Dataset, Examples, RawArrays, Source
from stages.common.errors import InputError
from stages.common.files import UInt8Array
from stages.common.params import Split
from stages.preprocess.split import split

SOURCE = Source("tiny", "npz", ("a",), ("a", "b", "c"), ())
TEXTBOOK = Split(validation_fraction=0.2, seed=42, stratify=False)
STRATIFIED = TEXTBOOK.model_copy(update={"stratify": True})


def make_arrays(n: int = 50, pixel: int = 1) -> RawArrays:
    """Black images but for their first pixel, and classes in turn."""
    images = np.zeros((n, 3, 2, 1), np.uint8)
    images[:, 0, 0, 0] = pixel
    labels = (np.arange(n) % 3).astype(np.uint8)
    return RawArrays(images, labels, images[:7].copy(), labels[:7].copy())


def of_labels(labels: UInt8Array) -> RawArrays:
    """Images of one pixel each: 1, 2, ... in the order of the labels."""
    images = np.arange(1, len(labels) + 1, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return RawArrays(images, labels, images, labels)


def count(examples: Examples) -> tuple[int, ...]:
    return tuple(int((examples.labels == label).sum()) for label in range(3))


def test_the_parts_are_those_of_the_textbook_s_own_call() -> None:
    arrays = make_arrays()
    arrays.train_images[:, 1, 1, 0] = np.arange(50)
    parts = split(SOURCE, arrays, TEXTBOOK)
    expected = train_test_split(
        arrays.train_images, arrays.train_labels, test_size=0.2, random_state=42
    )
    found = parts.train.images, parts.validation.images, parts.train.labels, parts.validation.labels
    for array, textbook in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, textbook, strict=True)
    np.testing.assert_array_equal(parts.test.images, arrays.test_images, strict=True)
    np.testing.assert_array_equal(parts.test.labels, arrays.test_labels, strict=True)


def test_what_the_later_stages_are_told() -> None:
    parts = split(SOURCE, make_arrays(pixel=16), TEXTBOOK)
    assert parts.dataset == Dataset(
        name="tiny",
        class_names=("a", "b", "c"),
        height=3,
        width=2,
        channels=1,
        pixel_maximum=16,
        train_counts=count(parts.train),
        validation_counts=count(parts.validation),
        test_counts=(3, 2, 2),
        files=SOURCE.files,
    )
    counts = parts.dataset.n_train, parts.dataset.n_validation, parts.dataset.n_test
    assert counts == (40, 10, 7)


def test_a_class_that_no_image_shows_is_counted_as_none() -> None:
    source = replace(SOURCE, class_names=("a", "b", "c", "never"))
    dataset = split(source, make_arrays(), TEXTBOOK).dataset
    counts = dataset.train_counts, dataset.validation_counts, dataset.test_counts
    assert [(len(each), each[3]) for each in counts] == [(4, 0)] * 3


def test_stratified_parts_keep_the_classes_proportions() -> None:
    labels = np.repeat(np.array([0, 1, 2], np.uint8), [50, 30, 20])
    dataset = split(SOURCE, of_labels(labels), STRATIFIED).dataset
    assert dataset.train_counts == (40, 24, 16)
    assert dataset.validation_counts == (10, 6, 4)


def test_another_seed_holds_out_other_images() -> None:
    arrays = of_labels(make_arrays().train_labels)
    held_out = split(SOURCE, arrays, TEXTBOOK).validation.images
    other = split(SOURCE, arrays, TEXTBOOK.model_copy(update={"seed": 43})).validation.images
    assert set(held_out.ravel()) != set(other.ravel())


@pytest.mark.parametrize(
    ("labels", "settings", "told"),
    [
        ([0, 0, 0, 0, 0, 1], STRATIFIED, "least populated class"),
        ([0, 0, 1, 1, 2, 2], STRATIFIED, "should be greater or equal to the number of classes"),
        ([0], TEXTBOOK, "train set will be empty"),
    ],
    ids=["class-of-one", "fewer-than-classes", "one-image"],
)
def test_an_impossible_split_is_told(labels: list[int], settings: Split, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        split(SOURCE, of_labels(np.array(labels, np.uint8)), settings)
    assert str(caught.value).startswith("params.yaml: split: ")


def test_the_scaling_is_fitted_on_the_training_split_alone() -> None:
    arrays = make_arrays(pixel=7)
    numbered = split(SOURCE, of_labels(arrays.train_labels), TEXTBOOK)
    arrays.train_images[numbered.validation.images.ravel() - 1] = 255
    arrays.test_images[:] = 254
    assert split(SOURCE, arrays, TEXTBOOK).dataset.pixel_maximum == 7


def test_black_images_are_refused() -> None:
    with pytest.raises(InputError, match="every pixel of the training images is 0"):
        split(SOURCE, make_arrays(pixel=0), TEXTBOOK)


def test_splitting_leaves_the_raw_arrays_alone() -> None:
    arrays = make_arrays()
    split(SOURCE, arrays, STRATIFIED)
    np.testing.assert_equal(asdict(arrays), asdict(make_arrays()))
