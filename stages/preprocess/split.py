"""Holds out the validation and the test examples, and fits the scaling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from sklearn.model_selection import train_test_split

from stages.common.data import Dataset, Examples, InputDtype, RawArrays, Scaling, Source
from stages.common.errors import InputError, one_line
from stages.common.files import Array, IntArray
from stages.common.params import Split
from stages.preprocess.table import TableColumns
from stages.preprocess.targets import encode_targets


@dataclass(frozen=True)
class Parts:
    """The content of data/processed."""

    train: Examples
    validation: Examples
    test: Examples
    dataset: Dataset


def split(
    source: Source,
    arrays: RawArrays,
    settings: Split,
    task: str,
    columns: TableColumns | None = None,
) -> Parts:
    """Holds out examples for validation, and for the test if there is no test part.

    Scaling and encoding are fitted only on the examples left for training. The parts are shuffled,
    exactly as scikit-learn's `train_test_split` gives them.

    Args:
        source: Where the data come from.
        arrays: All examples.
        settings: How much to hold out.
        task: `classification` or `regression`.
        columns: The columns of a table, from which inputs are made instead of those in `arrays`.

    Raises:
        InputError: If the fraction leaves a part empty, a class is too rare, or all inputs or
            targets are the same.
    """
    targets, class_names = encode_targets(source, arrays, task)
    n_given = len(arrays.train_targets)
    train, test = np.arange(n_given), np.arange(n_given, len(targets))
    if not len(test):
        held_out = settings.test_fraction, settings.test_seed
        train, test = _hold_out(train, targets, *held_out, "test_fraction", settings)
    held_out = settings.validation_fraction, settings.seed
    train, validation = _hold_out(train, targets, *held_out, "validation_fraction", settings)
    features: tuple[str, ...] = ()
    given, others = arrays.train_inputs, arrays.test_inputs
    if columns:
        given, others, features = columns.encode(train)
    inputs = np.concatenate([given, others]) if len(others) else given

    def part(places: IntArray) -> Examples:
        return Examples(np.ascontiguousarray(inputs[places]), targets[places])

    def count(places: IntArray) -> tuple[int, ...]:
        if not class_names:
            return ()
        return tuple(np.bincount(targets[places], minlength=len(class_names)).tolist())

    trained = part(train)
    return Parts(
        train=trained,
        validation=part(validation),
        test=part(test),
        dataset=Dataset(
            name=source.dataset,
            input_shape=inputs.shape[1:],
            input_dtype=cast("InputDtype", inputs.dtype.name),
            n_outputs=len(class_names) or targets.shape[1],
            class_names=class_names,
            features=features,
            n_train=len(train),
            n_validation=len(validation),
            n_test=len(test),
            train_counts=count(train),
            validation_counts=count(validation),
            test_counts=count(test),
            files=source.files,
            scaling=fit_scaling(trained),
            medians=columns.medians(train) if columns else (),
        ),
    )


def _hold_out(
    places: IntArray, targets: Array, fraction: float, seed: int, key: str, settings: Split
) -> Sequence[IntArray]:
    is_stratified = settings.stratify and targets.ndim == 1
    try:
        parts: Sequence[IntArray] = train_test_split(
            places,
            test_size=fraction,
            random_state=seed,
            stratify=targets[places] if is_stratified else None,
        )
    except ValueError as error:
        raise InputError(f"params.yaml: split.{key}: {one_line(error)}") from None
    return parts


def fit_scaling(train: Examples) -> Scaling:
    """Fits the scaling to the training examples.

    Bytes are divided by the largest one, so that 0 stays 0. Numbers get a mean of 0 and a standard
    deviation of 1, separately for each entry of the last axis, such as a column of a table or a
    channel of a picture. Integers are left alone, since they may be indices of an embedding.

    Raises:
        InputError: If every byte is 0, or all numbers to be predicted are the same.
    """
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    if train.inputs.dtype == np.uint8:
        largest = int(train.inputs.max())
        if largest == 0:
            raise InputError("data/raw: every byte of the training inputs is 0")
        scale, offset = (1 / largest,), (0.0,)
    elif train.inputs.dtype.kind == "f":
        scale, offset = _standardise(train.inputs)
    if train.targets.ndim == 1:
        return Scaling(scale, offset, (), ())
    same = np.flatnonzero(train.targets.min(axis=0) == train.targets.max(axis=0))
    if len(same):
        raise InputError(
            f"data/raw: output {same[0] + 1} of {train.targets.shape[1]} to be predicted "
            "has the same value in all training examples; there is nothing to learn"
        )
    factors, shifts = _standardise(train.targets)
    deviations = tuple(1 / factor for factor in factors)
    means = tuple(-shift * d for shift, d in zip(shifts, deviations, strict=True))
    return Scaling(scale, offset, deviations, means)


def _standardise(values: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factor and offset for each entry of the last axis; a constant entry is only shifted."""
    axes = tuple(range(values.ndim - 1))
    mean = values.mean(axis=axes, dtype=np.float64)
    deviation = values.std(axis=axes, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    return tuple((1 / deviation).tolist()), tuple((-mean / deviation).tolist())
