"""Keras's optimizers and learning-rate schedules, by class name and with Keras's own arguments."""

import difflib
import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules

from stages.common import params
from stages.common.errors import InputError, legible, one_line, quoted, shorten
from stages.common.own import describe, is_own, load_own, place_in_own_code

_REFUSED = {
    "Optimizer": "it is the base class of the others",
    "LossScaleOptimizer": "it wraps another; give that one a loss_scale_factor instead",
    "MultiOptimizer": "it combines others, which params.yaml cannot name",
    "ScheduleFreeAdamW": "its weights in training are not those to be scored",
    "LearningRateSchedule": "it is the base class of the others",
}
# Keras makes up a name where there is none; the learning rate has its own place.
_NOT_ARGUMENTS = {"learning_rate", "name"}
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ScaledRate(schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate or schedule times a factor, which may change between trials."""

    def __init__(
        self, rate: float | schedules.LearningRateSchedule, factor: keras.Variable
    ) -> None:
        self._rate, self._factor = rate, factor

    def __call__(self, step: Any) -> Any:
        rate = self._rate(step) if callable(self._rate) else self._rate
        return self._factor * rate


def build_optimizer(
    name: str, settings: params.Optimizer, factor: keras.Variable | None = None
) -> keras.optimizers.Optimizer:
    """Builds the optimizer as params.yaml configures it.

    Args:
        name: Its key in `optimizers`, for messages.
        settings: Its class, learning rate or schedule, and further arguments of Keras's.
        factor: Multiplies the learning rate at every step; None for the rate as it is.

    Raises:
        InputError: If Keras has no such class, the class no such argument, or the argument no such
            value.
    """
    rate = build_learning_rate(name, settings)
    if factor is not None:
        rate = ScaledRate(rate, factor)
    key = f"optimizers.{name}"
    return _build(key, keras.optimizers, keras.optimizers.Optimizer, settings, learning_rate=rate)


def build_learning_rate(
    name: str, settings: params.Optimizer
) -> float | schedules.LearningRateSchedule:
    """The optimizer's configured rate, or its schedule; arguments and errors as above."""
    rate = settings.learning_rate
    if not isinstance(rate, params.Schedule):
        return rate
    key = f"optimizers.{name}.learning_rate"
    return _build(key, schedules, schedules.LearningRateSchedule, rate)


def peak_learning_rate(rate: float | schedules.LearningRateSchedule, n_steps: int) -> float:
    """The rate itself; of a schedule about its largest, at 101 steps spread over n_steps."""
    if not isinstance(rate, schedules.LearningRateSchedule):
        return rate
    return max(float(rate(step)) for step in np.linspace(0, n_steps - 1, 101).round())


def check_optimizers(optimizers: Mapping[str, params.Optimizer]) -> None:
    """Lets every configured optimizer make one step, before anything is trained.

    Keras looks at some values only when they are used.

    Raises:
        InputError: One line for each that cannot be built or cannot make a step.
    """
    faults = []
    for name, settings in optimizers.items():
        try:
            weight = keras.Variable(np.zeros((2, 2), np.float32), name="kernel")
            optimizer = build_optimizer(name, settings)
            optimizer.apply([keras.ops.ones((2, 2))], [weight])
            json.dumps(optimizer.get_config())
        except InputError as error:
            faults.append(str(error))
        except Exception as error:  # noqa: BLE001, Keras raises many kinds for a wrong value
            told = one_line(error)
            if is_own(settings.class_name):
                told = f"{describe(error)}{place_in_own_code(error)}"
            faults.append(f"params.yaml: optimizers.{name}: {told}")
    if faults:
        raise InputError("\n".join(faults))


def _build(
    key: str,
    module: ModuleType,
    base: type,
    settings: params.Optimizer | params.Schedule,
    **arguments: Any,
) -> Any:
    class_name = settings.class_name
    built = _find_class(f"{key}.class_name", module, base, class_name)
    parameters = _parameters(built)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        parameters = {**_parameters(base), **parameters}
    known = sorted(
        name
        for name, parameter in parameters.items()
        if name not in _NOT_ARGUMENTS and parameter.kind in _NAMED
    )
    for argument, value in settings.arguments.items():
        shown = shorten(legible(argument), 80)
        if argument not in known:
            raise InputError(
                f"params.yaml: {key}.{shown}: not an argument of {class_name}; "
                f"{_suggest(argument, known)}"
            )
        default = parameters[argument].default
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(
                f"params.yaml: {key}.{shown}: should be true or false "
                f"(is {shorten(json.dumps(value), 80)})"
            )
    try:
        return built(**arguments, **settings.arguments)
    except (TypeError, ValueError) as error:
        where = place_in_own_code(error)
        raise InputError(f"params.yaml: {key}: {one_line(error)}{where}") from None


def _parameters(built: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(built).parameters


def _find_class(key: str, module: ModuleType, base: type, class_name: str) -> type:
    """A class of one's own, or Keras's of that name."""
    if is_own(class_name):
        own = load_own(key, class_name)
        if not isinstance(own, type) or not issubclass(own, base):
            raise InputError(f"params.yaml: {key}: should be a subclass of keras's {base.__name__}")
        return own
    classes = {
        name: member
        for name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base)
    }
    if class_name in _REFUSED and class_name in classes:
        raise InputError(f"params.yaml: {key}: not {class_name}: {_REFUSED[class_name]}")
    if class_name not in classes:
        known = sorted(classes.keys() - _REFUSED.keys())
        raise InputError(
            f"params.yaml: {key}: no class {quoted(class_name)} in Keras; "
            f"{_suggest(class_name, known)}"
        )
    return classes[class_name]


def _suggest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
