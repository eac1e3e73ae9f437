"""Encodes the targets as class indices or as numbers."""

from collections import Counter

import numpy as np

from stages.common.data import RawArrays, Source
from stages.common.errors import InputError, legible, quoted, shorten
from stages.common.files import Array


def encode_targets(source: Source, arrays: RawArrays, task: str) -> tuple[Array, tuple[str, ...]]:
    """Encodes the targets of the training part, followed by those of the test part.

    Args:
        source: May name the classes; otherwise their names come from the targets.
        arrays: With targets of any kind.
        task: `classification` or `regression`.

    Returns:
        `(n,) int32` and the class names that they index; or `(n, n_outputs) float32` and no
        names.

    Raises:
        InputError: If the targets are not of the task's kind, a value is missing, or there are too
            few examples of a class.
    """
    targets = arrays.train_targets
    if len(arrays.test_targets):
        targets = np.concatenate([targets, arrays.test_targets])
    if task == "regression":
        return _encode_numbers(source, targets), ()
    if source.class_names:
        return targets.astype(np.int32), source.class_names
    return _encode_classes(targets)


def _encode_numbers(source: Source, targets: Array) -> Array:
    if source.class_names or targets.dtype.kind not in "iuf":
        raise InputError(
            f"params.yaml: task.name: {source.dataset} has classes to be predicted, not numbers; "
            "should be classification"
        )
    with np.errstate(over="ignore"):
        numbers = targets.reshape(len(targets), -1).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise InputError(
            f"data/raw: the value to be predicted of example {bad[0]} is missing or not finite; "
            "remove the example"
        )
    return numbers


def _encode_classes(targets: Array) -> tuple[Array, tuple[str, ...]]:
    if targets.ndim > 1:
        raise InputError(
            f"data/raw: targets have the shape {targets.shape}; should be one class per example"
        )
    if targets.dtype.kind == "f":
        # From 2**53 on, a float cannot tell neighbouring whole numbers apart.
        is_whole = (np.abs(targets) < 2**53) & (targets == np.round(targets))
        if not is_whole.all():
            raise InputError(
                "params.yaml: task.name: the targets are numbers with fractions, or some are "
                "missing; should be regression, or the targets should be class names"
            )
        targets = targets.astype(np.int64)
    values, codes = np.unique(targets, return_inverse=True)
    names = tuple(shorten(legible(str(value)), 80) for value in values.tolist())
    if len(set(names)) < len(names):
        raise InputError(
            "data/raw: two class names differ only in invisible characters, or only after the "
            "first 80 characters; rename one"
        )
    if len(names) < 2:
        raise InputError(
            f"data/raw: every example is of class {quoted(names[0])}; needs two classes"
        )
    for code, n in sorted(Counter(codes.tolist()).items()):
        if n == 1:
            raise InputError(
                f"data/raw: class {quoted(names[code])} has only one example; add more, or leave "
                "it out; if these are numbers to be predicted, set task.name to regression"
            )
    return codes.astype(np.int32), names
