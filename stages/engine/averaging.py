"""The weights that a network is evaluated with, for optimizers that train with others.

Schedule-free methods take gradients at one point and are judged at another, an average.
"""

from collections.abc import Sequence
from typing import Any

import keras


def evaluation_point(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list[Any] | None:
    """The values at which the network is to be validated, tested and saved.

    A user's own optimizer gives them by a method `evaluation_point(variables)`, which returns a
    tensor for each variable; `MultiOptimizer` has such a point if one of its optimizers does.

    Keras's `ScheduleFreeAdamW` needs none: in Keras 3.15 with TensorFlow, `momentum_old` in its
    step is the variable itself and not a copy of its old value. So x is recovered with the new z,
    and the weights in training are themselves the mean of all z, whatever beta_1 is. A test fails
    once that is no longer so.

    With `use_ema` there is none: as in `Model.fit`, validation uses the weights as they are, and
    their moving average replaces them at the end (`finalize_variable_values`) or every
    `ema_overwrite_frequency` steps. Gradient accumulation needs nothing: between two updates the
    weights and all state stay as they are.

    Args:
        optimizer: Built; its state is read, not changed.
        variables: All or some of those that it was built with, with their values in training.

    Returns:
        A tensor for each variable, in their order; None if they are evaluated as they are.
    """
    if optimizer.use_ema:
        return None
    if hasattr(optimizer, "evaluation_point"):
        return list(optimizer.evaluation_point(variables))
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return _points_of_several(optimizer, variables)
    return None


def begin_at(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Tells a built optimizer that training starts from the current values of the variables.

    `ScheduleFreeAdamW` copies the weights when it is built, and would continue from that copy after
    the weights are reset. All other optimizers begin with zeros or at their first step.

    Args:
        optimizer: Built, with its other state as if it were new.
        variables: All the variables that it was built with.
    """
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        for inner, own in _by_optimizer(optimizer, variables):
            begin_at(inner, own)
    elif isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW):
        for variable in variables:
            index = optimizer._get_variable_index(variable)  # noqa: SLF001, no public way
            if (momentum := optimizer._momentums[index]) is not None:  # noqa: SLF001
                momentum.assign(variable)


def _points_of_several(
    optimizer: keras.optimizers.MultiOptimizer, variables: Sequence[keras.Variable]
) -> list[Any] | None:
    points: dict[int, Any] = {}
    for inner, own in _by_optimizer(optimizer, variables):
        values = evaluation_point(inner, own)
        if values is not None:
            points |= {id(v): value for v, value in zip(own, values, strict=True)}
    if not points:
        return None
    return [points.get(id(variable), variable.value) for variable in variables]


def _by_optimizer(
    optimizer: keras.optimizers.MultiOptimizer, variables: Sequence[keras.Variable]
) -> list[tuple[keras.optimizers.Optimizer, list[keras.Variable]]]:
    """Each inner optimizer with its own variables, if it has any."""
    own: list[list[keras.Variable]] = [[] for _ in optimizer.optimizers]
    for variable in variables:
        key = optimizer._var_key(variable)  # noqa: SLF001, no public way
        own[optimizer._var_to_optimizer_idx[key]].append(variable)  # noqa: SLF001
    return [(inner, v) for inner, v in zip(optimizer.optimizers, own, strict=True) if v]
