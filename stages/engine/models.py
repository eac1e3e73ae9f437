"""The networks: how they are built, initialised and saved.

A network takes unscaled inputs: its first layer scales them, as fitted to the training split. For
classes it ends in logits, because the cross-entropy of logits is exact where that of a softmax
output must clip; for numbers it ends in values of about the size of 1. `encode_model` adds a layer
that turns these into probabilities, or into the units of the targets. To add a network here, write
a function like `mlp` and name it in `MODELS`; a user's own network needs none of this.
"""

import hashlib
import math
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import layers

from stages.common.data import Dataset
from stages.common.errors import InputError, quoted
from stages.common.files import write_archive
from stages.common.memory import check_fits
from stages.common.own import load_own, told_in_own_code
from stages.common.params import BuiltInModel, Model, OwnModel

_BUILDING = threading.Lock()


def mlp(inputs: keras.KerasTensor, settings: BuiltInModel) -> keras.KerasTensor:
    """Dense hidden layers on the flattened input; with `[100]` the textbook's 784-100-10."""
    return _dense(layers.Flatten(name="flatten")(inputs), settings)


def cnn(inputs: keras.KerasTensor, settings: BuiltInModel) -> keras.KerasTensor:
    """Two convolutions, each with pooling that halves the picture, then dense hidden layers.

    Source: `2c2d` of DeepOBS, F. Schneider, L. Balles and P. Hennig, 2019, arXiv:1903.05499, which
        has hidden_units [1024], relu and no dropout. Initial weights are Keras's defaults here.
    """
    if len(inputs.shape) != 4:
        raise InputError(
            f"params.yaml: model.name: cnn needs pictures, (height, width, channels), not examples "
            f"of the shape {inputs.shape[1:]}; should be mlp or a network of your own"
        )
    hidden = inputs
    for index, filters in enumerate((32, 64), start=1):
        hidden = layers.Conv2D(
            filters, 5, padding="same", activation=settings.activation, name=f"convolution_{index}"
        )(hidden)
        hidden = layers.MaxPooling2D(3, strides=2, padding="same", name=f"pooling_{index}")(hidden)
    return _dense(layers.Flatten(name="flatten")(hidden), settings)


def _dense(hidden: keras.KerasTensor, settings: BuiltInModel) -> keras.KerasTensor:
    for index, units in enumerate(settings.hidden_units, start=1):
        hidden = layers.Dense(units, settings.activation, name=f"hidden_{index}")(hidden)
        if settings.dropout:
            hidden = layers.Dropout(settings.dropout, name=f"dropout_{index}")(hidden)
    return hidden


MODELS: dict[str, Callable[[keras.KerasTensor, BuiltInModel], keras.KerasTensor]] = {
    "mlp": mlp,
    "cnn": cnn,
}


@dataclass(frozen=True)
class Network:
    """A model with what is needed to reset its weights.

    `initializers` are those of `model.weights`, `random_states` the states of dropout and the like.
    Both are in the order of the model, which does not depend on names.
    """

    model: keras.Model
    initializers: tuple[Callable[..., Any], ...]
    random_states: tuple[keras.Variable, ...]


def build_network(settings: Model, dataset: Dataset, n_copies: int = 1) -> Network:
    """The network from `(n, *input_shape)` to `(n, n_outputs) float32`: logits, or scaled values.

    Args:
        settings: Which network.
        dataset: The shapes of its input and output, and the scaling of its input.
        n_copies: How many copies of its weights must fit into memory.

    Raises:
        InputError: If there is no such network, it does not fit the data, a weight has no
            initializer, or the weights do not fit into memory.
    """
    if isinstance(settings, BuiltInModel) and settings.name not in MODELS:
        known = ", ".join(MODELS)
        raise InputError(
            f"params.yaml: model.name: no model {quoted(settings.name)}; known: {known}, or one of "
            "your own, models/FILE.py:FUNCTION"
        )
    build = load_own("model.name", settings.name) if isinstance(settings, OwnModel) else None
    recorded: dict[int, _Recorded] = {}
    # Keras numbers automatic names by thread; in a fresh thread every model gets the same names.
    with _BUILDING, _recording_initializers(recorded, n_copies), ThreadPoolExecutor(1) as fresh:
        model = fresh.submit(_build_model, settings, dataset, build).result()
    bare = [weight.path for weight in model.weights if id(weight) not in recorded]
    if bare:
        raise InputError(
            f"params.yaml: model.name: {settings.name} has a weight without an initializer, "
            f"{bare[0]}; make it with the layer's add_weight"
        )
    for weight in model.weights:
        if isinstance(settings, OwnModel) and recorded[id(weight)].value != _bytes(weight):
            raise InputError(
                f"params.yaml: model.name: {settings.name} changes the weight {weight.path} after "
                "creating it, such as to a trained one; trials begin with initial weights, so that "
                "seeds make a difference (weights=None in keras.applications)"
            )
    return Network(
        model=model,
        initializers=tuple(recorded[id(weight)].initializer for weight in model.weights),
        random_states=tuple(v for v in model.non_trainable_variables if id(v) not in recorded),
    )


def _build_model(
    settings: Model, dataset: Dataset, build: Callable[..., Any] | None
) -> keras.Model:
    inputs = layers.Input(dataset.input_shape, dtype=dataset.input_dtype, name="inputs")
    scaled, scaling = inputs, dataset.scaling
    if scaling.input_scale:
        scale, offset = map(_plain, (scaling.input_scale, scaling.input_offset))
        scaled = layers.Rescaling(scale, offset, name="scale")(inputs)
    if isinstance(settings, OwnModel):
        outputs = _build_own(settings, dataset, scaled, build)
        return keras.Model(inputs, outputs, name=settings.name.rpartition(":")[2])
    if not scaling.input_scale:
        raise InputError(
            f"params.yaml: model.name: {settings.name} needs uint8 or float32 inputs; int32 ones "
            "are for a network of your own, with an embedding. Are they quantities? Give them as "
            'float32: train_x.astype("float32")'
        )
    hidden = MODELS[settings.name](scaled, settings)
    name = "logits" if dataset.class_names else "values"
    outputs = layers.Dense(dataset.n_outputs, name=name)(hidden)
    return keras.Model(inputs, outputs, name=settings.name)


def _plain(numbers: tuple[float, ...]) -> float | list[float]:
    return numbers[0] if len(numbers) == 1 else list(numbers)


def _build_own(
    settings: OwnModel, dataset: Dataset, scaled: keras.KerasTensor, build: Any
) -> keras.KerasTensor:
    """The outputs of the user's own network for scaled inputs, after checking that it fits."""
    fault = f"params.yaml: model.name: {settings.name}"
    with told_in_own_code("model.name", settings.name):
        model = build(dataset.input_shape, dataset.n_outputs, **settings.arguments)
        if not isinstance(model, keras.Model):
            raise InputError(f"{fault} returns {type(model).__name__}; should be a keras.Model")
        outputs = model(scaled)
    shape = getattr(outputs, "shape", type(outputs).__name__)
    if shape != (None, dataset.n_outputs):
        raise InputError(
            f"{fault} gives {shape}; should be {(None, dataset.n_outputs)}: for each example "
            f"{dataset.n_outputs} {'logits' if dataset.class_names else 'values'}"
        )
    ends = keras.activations.softmax, keras.activations.sigmoid
    for last in model.layers[-1:]:
        activation = getattr(last, "activation", None)
        if dataset.class_names and (isinstance(last, layers.Softmax) or activation in ends):
            raise InputError(
                f"{fault} ends in probabilities; should end in logits, without an activation"
            )
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001, no public way
        function = getattr(layer, "function", None)
        if isinstance(layer, layers.Lambda) and getattr(function, "__name__", "") == "<lambda>":
            raise InputError(
                f"{fault} has a Lambda layer with a lambda, which saves this machine's paths; give "
                "it a named function, or write a layer"
            )
    return outputs


@dataclass(frozen=True)
class _Recorded:
    """A weight as it was created; `value` is a digest of its numbers."""

    weight: keras.Variable
    initializer: Callable[..., Any]
    value: bytes


def _bytes(weight: keras.Variable) -> bytes:
    return hashlib.sha256(weight.numpy().tobytes()).digest()


@contextmanager
def _recording_initializers(recorded: dict[int, _Recorded], n_copies: int) -> Iterator[None]:
    """Records each weight that a layer adds, by its id, with the initializer that Keras forgets.

    Before each one is created, checks that all weights up to it fit into memory.
    """
    add_weight = layers.Layer.add_weight
    n_weights = 0

    def add_and_record(layer: layers.Layer, *args: Any, **kwargs: Any) -> keras.Variable:
        nonlocal n_weights
        n_weights += math.prod(args[0] if args else kwargs.get("shape") or ())
        check_fits(4 * n_copies * n_weights, "model", f"a network of {n_weights:.3g} weights")
        weight = add_weight(layer, *args, **kwargs)
        initializer = args[1] if len(args) > 1 else kwargs.get("initializer")
        if initializer is None:  # Keras's own defaults
            initializer = "glorot_uniform" if "float" in weight.dtype else "zeros"
        recorded[id(weight)] = _Recorded(
            weight, keras.initializers.get(initializer), _bytes(weight)
        )
        return weight

    layers.Layer.add_weight = add_and_record
    try:
        yield
    finally:
        layers.Layer.add_weight = add_weight


def initialise(network: Network, seed: int) -> None:
    """Resets every weight and random state; they depend on the seed alone.

    Each random initializer gets its own seed, derived from the trial's seed and the weight's
    position in the model. No names and no global state are involved, so a thread's second model
    equals its first, and trials that run in parallel cannot disturb each other.
    """
    weights = zip(network.model.weights, network.initializers, strict=True)
    for position, (weight, initializer) in enumerate(weights):
        value = _with_seed(initializer, _derive_seed(seed, 0, position))
        weight.assign(value(weight.shape, dtype=weight.dtype))
    for position, state in enumerate(network.random_states):
        state.assign([_derive_seed(seed, 2, position), 0])


def _with_seed(initializer: Callable[..., Any], seed: int) -> Callable[..., Any]:
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if "seed" in config:
        initializer = type(initializer).from_config(config | {"seed": seed})
    return initializer


def _derive_seed(seed: int, *position: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=position).generate_state(1)[0] >> 1)


def is_slow_in_xla(network: Network) -> bool:
    """Whether a layer is among those that XLA makes many times slower on a CPU."""
    nested = network.model._flatten_layers(include_self=False)  # noqa: SLF001, no public way
    has_convolution = any("Conv" in type(layer).__name__ for layer in nested)
    return has_convolution or bool(network.random_states)


def encode_model(model: keras.Model, dataset: Dataset) -> bytes:
    """The network as the content of a `.keras` file that holds no date.

    The saved network outputs probabilities of the classes, or values in the units of the targets.

    Args:
        model: A network that outputs logits or scaled values.
        dataset: Has the scaling of the targets.
    """
    scaling = dataset.scaling
    if scaling.target_scale:
        scale, offset = map(_plain, (scaling.target_scale, scaling.target_offset))
        last = layers.Rescaling(scale, offset, name="units")
    else:
        last = layers.Softmax(name="probabilities")
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        keras.Model(model.input, last(model.output), name=model.name).save(path)
        with zipfile.ZipFile(path) as saved:
            members = {name: _undated(name, saved.read(name)) for name in saved.namelist()}
    return write_archive(members)


def check_can_be_saved(settings: Model, dataset: Dataset) -> None:
    """Saves an untrained network of the user's own, before any time is spent on it.

    Raises:
        InputError: If it cannot be saved.
    """
    if isinstance(settings, OwnModel):
        model = build_network(settings, dataset).model
        with told_in_own_code("model.name", settings.name):
            encode_model(model, dataset)


def _undated(name: str, content: bytes) -> bytes:
    if name == "metadata.json":
        return re.sub(rb'"date_saved": "[^"]*"', b'"date_saved": "1980-01-01@00:00:00"', content)
    return _numbered(content.decode()).encode() if name == "config.json" else content


def _numbered(keras_json: str) -> str:
    """Replaces each `shared_object_id`, for which Keras uses a memory address, by a count."""
    counts: dict[str, int] = {}
    return re.sub(
        r'(?<="shared_object_id": )\d+',
        lambda match: str(counts.setdefault(match[0], len(counts))),
        keras_json,
    )
