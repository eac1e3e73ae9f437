"""The textbook's training for timings, here and in Keras, each in a process of its own."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.noise import draw_noise
from stages.common.files import Array
from stages.common.params import BuiltInModel, Params, Train, load_params

BATCH_SIZE = 32


def textbook_params(network: str, n_epochs: int) -> Params:
    """The committed parameters with this network, which has one hidden layer of 100 units."""
    params = load_params()
    train = Train(
        epochs=n_epochs,
        batch_size=BATCH_SIZE,
        schedule=params.train.schedule,
        jit_compile="auto",
    )
    model = BuiltInModel(name=network, hidden_units=(100,), activation="relu", dropout=0)
    return params.model_copy(update={"model": model, "train": train})


def build_in_keras(optimizer: Any, hidden: Sequence[Any] = ()) -> Any:
    """The same as a compiled Keras model, with these layers before the dense ones."""
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            *hidden,
            keras.layers.Flatten(),
            keras.layers.Dense(100, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def draw_arrays(n: int) -> tuple[Array, Array]:
    """Pictures of noise and their classes, as `fit` takes them."""
    examples = draw_noise(n)
    return examples.inputs, examples.targets


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """The number that a Python program prints last."""
    print(*command[1:], file=sys.stderr)
    measured = subprocess.run(  # noqa: S603
        command, env=environment, check=False, capture_output=True, text=True
    )
    if measured.returncode:
        sys.exit(measured.stderr)
    return float(measured.stdout.splitlines()[-1])
