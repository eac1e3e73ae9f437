"""The networks.

A network takes raw `uint8` pixels: its first layer divides by the largest pixel of the training
split. It ends in logits, since the cross-entropy of logits is exact where that of a softmax output
must clip; `save_model` adds the softmax. To add a network, write a function like `mlp` and name it
in `MODELS`.
"""

import io
import re
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
from keras import layers

from stages.common.artifacts import Dataset, replacing
from stages.common.console import InputError
from stages.common.params import Model


def mlp(pixels: keras.KerasTensor, settings: Model) -> keras.KerasTensor:
    """Dense hidden layers on the flattened image; with `[100]` the textbook's 784-100-10."""
    return _dense(layers.Flatten(name="flatten")(pixels), settings)


def cnn(pixels: keras.KerasTensor, settings: Model) -> keras.KerasTensor:
    """Two convolutions, each halved by pooling, then dense hidden layers.

    Source: `2c2d` of DeepOBS, F. Schneider, L. Balles and P. Hennig, 2019, arXiv:1903.05499, which
        has hidden_units [1024], relu and no dropout. Initial weights are Keras's defaults here.
    """
    hidden = pixels
    for index, filters in enumerate((32, 64), start=1):
        hidden = layers.Conv2D(
            filters, 5, padding="same", activation=settings.activation, name=f"convolution_{index}"
        )(hidden)
        hidden = layers.MaxPooling2D(3, strides=2, padding="same", name=f"pooling_{index}")(hidden)
    return _dense(layers.Flatten(name="flatten")(hidden), settings)


def _dense(hidden: keras.KerasTensor, settings: Model) -> keras.KerasTensor:
    for index, units in enumerate(settings.hidden_units, start=1):
        hidden = layers.Dense(units, settings.activation, name=f"hidden_{index}")(hidden)
        if settings.dropout:
            hidden = layers.Dropout(settings.dropout, name=f"dropout_{index}")(hidden)
    return hidden


MODELS: dict[str, Callable[[keras.KerasTensor, Model], keras.KerasTensor]] = {
    "mlp": mlp,
    "cnn": cnn,
}


def build_model(settings: Model, dataset: Dataset) -> keras.Model:
    """The network from `(n, height, width, channels) uint8` to `(n, n_classes) float32` logits.

    Raises:
        InputError: If `model.name` is in no catalogue.
    """
    if settings.name not in MODELS:
        known = ", ".join(MODELS)
        raise InputError(f"params.yaml: model.name: no model {settings.name!r}; known: {known}")
    shape = (dataset.height, dataset.width, dataset.channels)
    pixels = layers.Input(shape, dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1 / dataset.pixel_maximum, name="scale")(pixels)
    hidden = MODELS[settings.name](scaled, settings)
    logits = layers.Dense(len(dataset.class_names), name="logits")(hidden)
    return keras.Model(pixels, logits, name=settings.name)


def initialise(model: keras.Model, seed: int) -> None:
    """Sets every weight and every dropout's random state afresh, as the seed alone decides.

    Each random initializer gets a seed of its own, made of the trial's and the weight's name: no
    global state, so trials side by side cannot disturb each other, and a layer more or less leaves
    the others' weights as they are.

    Raises:
        TypeError: If a layer has a weight that no initializer of its accounts for.
    """
    for layer in model.layers:
        weights = {id(weight) for weight in layer.weights}
        for attribute, initializer in vars(layer).items():
            name, is_initializer, _ = attribute.partition("_initializer")
            weight = getattr(layer, name, None)
            if not is_initializer or weight is None:
                continue
            config = initializer.get_config()
            if "seed" in config:
                config["seed"] = _derive_seed(seed, f"{layer.name}/{name}")
            weight.assign(type(initializer).from_config(config)(weight.shape, weight.dtype))
            weights.discard(id(weight))
        if weights:
            raise TypeError(f"layer {layer.name}: no initializer for {len(weights)} of its weights")
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([_derive_seed(seed, f"{layer.name}/seed_generator"), 0])


def _derive_seed(seed: int, name: str) -> int:
    words = np.frombuffer(sha256(name.encode()).digest(), "<u4").tolist()
    return int(np.random.SeedSequence(seed, spawn_key=words).generate_state(1)[0] >> 1)


def is_slow_in_xla(model: keras.Model) -> bool:
    """Whether a layer is among those that XLA makes many times slower on a CPU."""
    return any(
        "Conv" in type(layer).__name__ or hasattr(layer, "seed_generator") for layer in model.layers
    )


def save_model(model: keras.Model, path: Path) -> None:
    """Saves the network, softmax added, as a `.keras` file whose bytes hold no date.

    Args:
        model: A network that gives logits.
        path: Ends in `.keras`; `keras.models.load_model` reads it.
    """
    probabilities = layers.Softmax(name="probabilities")(model.output)
    with replacing(path) as temporary:
        keras.Model(model.input, probabilities, name=model.name).save(temporary)
        content = temporary.read_bytes()
        with (
            zipfile.ZipFile(io.BytesIO(content)) as saved,
            zipfile.ZipFile(temporary, "w") as stable,
        ):
            for name in saved.namelist():
                stable.writestr(zipfile.ZipInfo(name), _undated(name, saved.read(name)))


def architecture(model: keras.Model) -> str:
    """The network as Keras's JSON, the same in every process."""
    return _numbered(model.to_json())


def _undated(name: str, content: bytes) -> bytes:
    if name == "metadata.json":
        return re.sub(rb'"date_saved": "[^"]*"', b'"date_saved": "1980-01-01@00:00:00"', content)
    return _numbered(content.decode()).encode() if name == "config.json" else content


def _numbered(keras_json: str) -> str:
    """Puts counts in the place of `shared_object_id`, for which Keras takes memory addresses."""
    counts: dict[str, int] = {}
    return re.sub(
        r'(?<="shared_object_id": )\d+',
        lambda match: str(counts.setdefault(match[0], len(counts))),
        keras_json,
    )
