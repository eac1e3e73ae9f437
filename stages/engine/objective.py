"""What is minimised and what is measured: losses and scores of examples, by Keras's names."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages.common.data import Scaling
from stages.common.errors import InputError, quoted
from stages.common.files import Array
from stages.common.params import Task
from stages.common.score import ACCURACY, R2, score_of

PerExample = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Objective:
    """Functions of targets and of the network's outputs that give a value for each example.

    Targets are `(n,) int32` classes with outputs `(n, n_classes)`, logits; or `(n, n_outputs)`
    floats with as many outputs, in scaled units. `losses` are in scaled units, `scores` in those
    of the targets; the score of a split is the mean of its `scores`.
    """

    losses: PerExample
    scores: PerExample


def build_objective(task: Task, scaling: Scaling, targets: Array) -> Objective:
    """The objective of one split.

    Args:
        task: Names loss and score.
        scaling: How the targets are scaled.
        targets: The split's targets; R² is relative to their variance.

    Raises:
        InputError: If Keras has no such loss or metric, or it does not give a value per example.
    """
    if task.name == "classification":
        losses, scores = _of_classes(task)
    else:
        losses, scores = _of_numbers(task, scaling, targets)
    return Objective(losses, scores)


def _of_classes(task: Task) -> tuple[PerExample, PerExample]:
    # XLA makes a slow scatter of the sparse one, whose gradients are the same to the bit.
    is_auto = task.loss in ("auto", "sparse_categorical_crossentropy")
    name = "categorical_crossentropy" if is_auto else task.loss
    losses = _on_classes(_find("task.loss", keras.losses, name))
    score = score_of(task).keras_name
    if score == ACCURACY:
        return losses, _is_right
    return losses, _on_classes(_find("task.score", keras.metrics, score))


def _is_right(targets: Any, logits: Any) -> Any:
    return tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), targets), tf.float32)


def _on_classes(function: Callable[..., Any]) -> PerExample:
    """Adapts a Keras function for classes: passes logits if it takes them, else probabilities.

    Labels are indices if its name begins with `sparse_`, else one-hot.
    """
    is_sparse = function.__name__.startswith("sparse_")
    arguments = {}
    if "from_logits" in inspect.signature(function).parameters:
        arguments["from_logits"] = True

    def per_example(targets: Any, logits: Any) -> Any:
        n_classes = logits.shape[-1]
        labels = targets if is_sparse else tf.one_hot(targets, n_classes, dtype=logits.dtype)
        return function(labels, logits if arguments else tf.nn.softmax(logits), **arguments)

    return per_example


def _of_numbers(task: Task, scaling: Scaling, targets: Array) -> tuple[PerExample, PerExample]:
    scale, offset = np.array(scaling.target_scale), np.array(scaling.target_offset)
    name = "mean_squared_error" if task.loss == "auto" else task.loss
    loss = _find("task.loss", keras.losses, name)

    def losses(values: Any, outputs: Any) -> Any:
        return loss((values - _like(outputs, offset)) / _like(outputs, scale), outputs)

    def in_units(outputs: Any) -> Any:
        return outputs * _like(outputs, scale) + _like(outputs, offset)

    score = score_of(task).keras_name
    if score == R2:
        variance = np.var(targets, axis=0, dtype=np.float64)
        if not variance.all():
            raise InputError(
                f"params.yaml: task.score: R² needs values that differ, and the {len(targets)} "
                "examples of one part all have the same; hold out more, or set another score"
            )

        def scores(values: Any, outputs: Any) -> Any:
            errors = tf.square(values - in_units(outputs)) / _like(outputs, variance)
            return 1 - tf.reduce_mean(errors, axis=-1)

        return losses, scores
    metric = _find("task.score", keras.metrics, score)
    return losses, lambda values, outputs: metric(values, in_units(outputs))


def _like(outputs: Any, numbers: Array) -> Any:
    return tf.constant(numbers, outputs.dtype)


def _find(key: str, module: Any, name: str) -> Callable[..., Any]:
    """Keras's function behind the loss or metric of that name, which is the function's mean."""
    try:
        found = module.get(name)
    except ValueError:
        known = [ACCURACY, R2, *(entry for entry in dir(module) if entry.islower())]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"params.yaml: {key}: Keras has no {quoted(name)}{hint}") from None
    function = getattr(found, "fn", None) or getattr(found, "_fn", found)
    if not inspect.isfunction(function):
        raise InputError(
            f"params.yaml: {key}: {quoted(name)} is not an average over examples, so there is no "
            "telling how much other examples would change it"
        )
    return function


def check_objective(task: Task, n_outputs: int) -> None:
    """Tries loss and score on a few numbers, before anything is trained.

    Raises:
        InputError: If they do not fit the task.
    """
    targets: Array = np.arange(4, dtype=np.int32) % n_outputs
    scaling = Scaling((), (), (1.0,) * n_outputs, (0.0,) * n_outputs)
    if task.name == "regression":
        targets = np.arange(4.0 * n_outputs, dtype=np.float32).reshape(4, n_outputs)
    outputs = tf.zeros((4, n_outputs))
    objective = build_objective(task, scaling, targets)
    for key, function in (("loss", objective.losses), ("score", objective.scores)):
        try:
            found = function(tf.constant(targets), outputs).shape
        except Exception as error:  # noqa: BLE001, Keras raises many kinds
            found = str(error).split("\n")[0]
        if found != (4,):
            raise InputError(
                f"params.yaml: task.{key}: {quoted(getattr(task, key))} does not fit a "
                f"{task.name} with {n_outputs} outputs ({found})"
            )
