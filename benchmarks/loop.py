"""Our training loop beside `keras.Model.fit` on the same work: `make bench`.

The work is an epoch of the textbook's network, 784-100-10, on 48,000 simulated images in batches of
32. Ours trains one trial on one thread; `fit` may use every core. Each measurement has a process of
its own; the two alternate, and the ratio is taken pair by pair.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from stages.common.artifacts import Dataset, Examples, UInt8Array
from stages.common.params import Model

OPTIMIZERS = ("SGD", "Adam")
N_PAIRS = 3
N_EPOCHS = 3
N_TRAIN, BATCH_SIZE, SEED = 48_000, 32, 42


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "OPTIMIZER"))
    arguments = parser.parse_args()
    if arguments.measure:
        engine, optimizer = arguments.measure
        print({"loop": measure_loop, "fit": measure_fit}[engine](optimizer))
    else:
        headers = ("optimizer", "fit, s per epoch", "loop, s per epoch", "fit / loop")
        print(tabulate(map(compare, OPTIMIZERS), headers, floatfmt=".3g"))


def compare(optimizer: str) -> tuple[str, float, float, float]:
    """Medians over the pairs: seconds per epoch of both, and how many times as fast ours is."""
    pairs = [(_measure("fit", optimizer), _measure("loop", optimizer)) for _ in range(N_PAIRS)]
    fit_s, loop_s = (statistics.median(times_s) for times_s in zip(*pairs, strict=True))
    return optimizer, fit_s, loop_s, statistics.median(fit / loop for fit, loop in pairs)


def _measure(engine: str, optimizer: str) -> float:
    print(f"{engine} with {optimizer} ...", file=sys.stderr)
    output = subprocess.run(  # noqa: S603
        (sys.executable, "-m", "benchmarks.loop", "--measure", engine, optimizer),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return float(output.splitlines()[-1])


def measure_loop(class_name: str) -> float:
    """Seconds per epoch of the compiled loop, on one thread as the stage runs it."""
    import keras

    from stages.train.loop import Slot
    from stages.train.models import build_model

    images, labels = _examples()
    examples = Examples(images, labels)
    dataset = Dataset("simulated", tuple("0123456789"), 28, 28, 1, 255, N_TRAIN, N_TRAIN, 0)
    textbook = Model(name="mlp", hidden_units=(100,), activation="relu", dropout=0)
    slot = Slot(
        build_model(textbook, dataset),
        keras.optimizers.get(class_name),
        examples,
        examples,
        batch_size=BATCH_SIZE,
        jit_compile=True,
    )
    slot.reset(SEED)
    order = np.random.default_rng(SEED).permutation(N_TRAIN).astype(np.int32)
    return _epoch_s(lambda: slot.train_epoch(order))


def measure_fit(class_name: str) -> float:
    """Seconds per epoch of the textbook's program, TensorFlow's settings as they come."""
    import keras

    images, labels = _examples()
    network = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(100, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    network.compile(class_name, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return _epoch_s(lambda: network.fit(images, labels, batch_size=BATCH_SIZE, verbose=0))


def _examples() -> tuple[UInt8Array, UInt8Array]:
    generator = np.random.default_rng(SEED)
    labels = generator.integers(10, size=N_TRAIN, dtype=np.uint8)
    return generator.integers(256, size=(N_TRAIN, 28, 28, 1), dtype=np.uint8), labels


def _epoch_s(run_epoch: Callable[[], object]) -> float:
    run_epoch()  # compiles
    times_s = []
    for _ in range(N_EPOCHS):
        started_s = time.perf_counter()
        run_epoch()
        times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s)


if __name__ == "__main__":
    main()
