"""Keras's optimizers and learning-rate schedules, by class name and with Keras's own arguments."""

import difflib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers import schedules

from stages.common import optimizer_params as params
from stages.common.errors import InputError, legible, one_line, quoted, shorten
from stages.common.files import FloatArray
from stages.common.own import describe, is_own, load_own, place_in_own_code

REFUSED = {
    "Optimizer": "it is the base class of the others",
    "LossScaleOptimizer": "it wraps another; give that one a loss_scale_factor instead",
    "MultiOptimizer": "it combines others, which params.yaml cannot name",
    "LearningRateSchedule": "it is the base class of the others",
}
# Keras makes up a name if there is none; the learning rate has its own key.
_NOT_ARGUMENTS = {"learning_rate", "name"}
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ScaledRate(schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate or schedule, times a factor that trials may change, times a relative rate by step."""

    def __init__(
        self,
        rate: float | schedules.LearningRateSchedule,
        factor: keras.Variable,
        relative_rates: FloatArray | None = None,
    ) -> None:
        self._rate, self._factor = rate, factor
        self._by_step = None if relative_rates is None else ops.convert_to_tensor(relative_rates)

    def __call__(self, step: Any) -> Any:
        rate = self._rate(step) if callable(self._rate) else self._rate
        scaled = self._factor * rate
        if self._by_step is None:
            return scaled
        last = self._by_step.shape[0] - 1
        return scaled * ops.take(self._by_step, ops.minimum(ops.cast(step, "int32"), last))


def relative_rates(schedule: params.RateSchedule, n_steps: int) -> FloatArray | None:
    """The learning rate at each step of a training, as a fraction of its peak.

    A table, because processors disagree in the last digit of a cosine. Step s of the first
    w = warmup * n_steps has (s + 1) / (w + 1); then, at p = (s - w) / (n_steps - w), the rate is
    final + (1 - final) * (1 - p) where it falls linearly, with (1 + cos(pi p)) / 2 instead of
    1 - p for a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Returns:
        Shape (n_steps,) float32 in (0, 1]; None for a constant rate.
    """
    if schedule.is_constant:
        return None
    n_warmup = round(schedule.warmup * n_steps)
    steps = np.arange(n_steps)
    place = np.maximum(steps - n_warmup, 0) / (n_steps - n_warmup)
    match schedule.decay:
        case "none":
            left = np.ones(n_steps)
        case "linear":
            left = 1 - place
        case "cosine":
            left = (1 + np.cos(np.pi * place)) / 2
    decayed = schedule.final + (1 - schedule.final) * left
    rising = (steps + 1) / (n_warmup + 1)
    rates: FloatArray = np.where(steps < n_warmup, rising, decayed).astype(np.float32)
    return rates


def leave_out_output_layer(settings: params.Optimizer, model: keras.Model) -> params.Optimizer:
    """Makes Muon leave the output layer to AdamW, as Keras's documentation requires.

    The output layer is the last one with a matrix of weights, whatever its name. Muon leaves out
    embeddings by itself; `exclude_layers` in `params.yaml` overrides this.
    """
    if settings.class_name != "Muon" or "exclude_layers" in settings.arguments:
        return settings
    matrices = [weight for weight in model.trainable_variables if len(weight.shape) == 2]
    paths = [f"^{re.escape(weight.path)}$" for weight in matrices[-1:]]
    return settings.with_arguments({"exclude_layers": paths})


def build_optimizer(
    name: str,
    settings: params.Optimizer,
    factor: keras.Variable | None = None,
    relative_rates: FloatArray | None = None,
) -> keras.optimizers.Optimizer:
    """Builds the optimizer as params.yaml configures it.

    Args:
        name: Its key in `optimizers`, for messages.
        settings: Its class, learning rate or schedule, and further arguments.
        factor: Multiplies the learning rate at every step; None for the rate as it is.
        relative_rates: Multiply it as well, step by step; see the function of that name.

    Raises:
        InputError: If there is no such class or argument, or the class refuses a value.
    """
    rate = build_learning_rate(name, settings)
    if factor is not None:
        rate = ScaledRate(rate, factor, relative_rates)
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
    """The rate itself; for a schedule, the highest at 101 steps spread over n_steps."""
    if not isinstance(rate, schedules.LearningRateSchedule):
        return rate
    return max(float(rate(step)) for step in np.linspace(0, n_steps - 1, 101).round())


def check_optimizers(optimizers: Mapping[str, params.Optimizer]) -> None:
    """Lets every configured optimizer make one step, before anything is trained.

    Keras checks some values only when they are used.

    Raises:
        InputError: One line for each that cannot be built or cannot make a step.
    """
    faults = []
    for name, settings in optimizers.items():
        try:
            for tried in (settings, *_extremes(name, settings)):
                weight = keras.Variable(np.zeros((2, 2), np.float32), name="kernel")
                optimizer = build_optimizer(name, tried)
                optimizer.apply([ops.ones((2, 2))], [weight])
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


def _extremes(name: str, settings: params.Optimizer) -> Iterator[params.Optimizer]:
    """The optimizer at both ends of each searched range, and with each searched choice."""
    for argument, dimension in settings.search.items():
        if argument in _NOT_ARGUMENTS:
            raise InputError(
                f"params.yaml: optimizers.{name}.search.{argument}: the rate is searched by "
                "learning_rate_factors; name another argument"
            )
        values: Sequence[Any] = (
            (dimension.low, dimension.high)
            if isinstance(dimension, params.Range)
            else dimension.choices
        )
        for value in values:
            yield settings.with_arguments({argument: value})


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
        for ancestor in base.__mro__:
            parameters = {**_parameters(ancestor), **parameters}
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
    """The user's own class, or the Keras class of that name."""
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
    if class_name in REFUSED and class_name in classes:
        raise InputError(f"params.yaml: {key}: not {class_name}: {REFUSED[class_name]}")
    if class_name not in classes:
        known = sorted(classes.keys() - REFUSED.keys())
        raise InputError(
            f"params.yaml: {key}: no class {quoted(class_name)} in Keras; "
            f"{_suggest(class_name, known)}"
        )
    return classes[class_name]


def _suggest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
