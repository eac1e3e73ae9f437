"""Compares the training engine with `keras.Model.fit` and bare matrix products: `make bench`.

The network is the textbook's, 784-100-10, on 48,000 simulated images in batches of 32; the
convolutional network gets a tenth of them. The engine runs as many trials side by side as there are
cores, `fit` runs one training on all of them, and the floor is the matrix products (and
convolutions) of training alone, on all cores. Each measurement runs in a process of its own; those
of a row alternate, ratios are taken round by round, and medians are printed. In a round the engine
and the floor give the median of three epochs, `fit` one, which takes twenty times as long.

`make bench PEER="PYTHON PROGRAM"` adds a program that trains the dense network in the same way: it
is given the optimizer's name, and prints the seconds per epoch and training last.
"""

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import joblib
import numpy as np
from tabulate import tabulate

from benchmarks.noise import describe_noise, draw_noise
from benchmarks.textbook import (
    BATCH_SIZE,
    build_in_keras,
    draw_arrays,
    measure,
    textbook_params,
)
from stages.common.files import Array
from stages.common.params import load_params
from stages.engine.determinism import allow_avx512, set_up_tensorflow
from stages.engine.trial import Data, Trial
from stages.engine.workers import open_processes

N_ROUNDS, N_EPOCHS = 5, 1
N_TRAIN, N_VALIDATION, SEED = 48_000, 12_000, 42
SHARE_OF_CNN = 10
N_CORES: int = joblib.cpu_count()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "NETWORK", "OPTIMIZER"))
    parser.add_argument("--peer", type=shlex.split, default=[], metavar="COMMAND")
    arguments = parser.parse_args()
    if arguments.measure:
        what, network, optimizer = arguments.measure
        print({"engine": engine_s, "fit": fit_s, "floor": floor_s}[what](network, optimizer))
        return
    others = ("fit", "peer", "floor") if arguments.peer else ("fit", "floor")
    rows = [compare("mlp", name, others, arguments.peer) for name in load_params().optimizers]
    without_peer = [other for other in others if other != "peer"]
    *row, fit, floor = compare("cnn", "adam", without_peer, [])
    rows.append((*row, fit, *[None] * (len(others) - 2), floor))
    headers = ("network", "optimizer", "engine, s", *(f"{other}/engine" for other in others))
    print(f"Seconds per epoch of one training, {N_CORES} cores, medians of {N_ROUNDS} rounds")
    print(tabulate(rows, headers, floatfmt=".3g"))


def compare(
    network: str, optimizer: str, others: Sequence[str], peer: Sequence[str]
) -> tuple[object, ...]:
    """The network, the optimizer, the engine's seconds and the ratio of each other's to them."""
    rounds = [
        {what: _measure(what, network, optimizer, peer) for what in ("engine", *others)}
        for _ in range(N_ROUNDS)
    ]
    ratios = [[times[other] / times["engine"] for times in rounds] for other in others]
    engine = statistics.median(times["engine"] for times in rounds)
    row = (network, optimizer, engine, *map(statistics.median, ratios))
    print(*row, file=sys.stderr)
    return row


def engine_s(network: str, name: str) -> float:
    """Seconds per epoch and training, validation included, with one trial on each core."""
    n_train, n_validation = _n(network, N_TRAIN), _n(network, N_VALIDATION)
    data = Data(draw_noise(n_train), draw_noise(n_validation))
    dataset = describe_noise(n_train, n_validation)
    params = textbook_params(network, N_EPOCHS)
    trial = Trial("tuning", 1.0, SEED, setting=0)
    with open_processes(N_CORES) as workers:
        from stages.engine.training import plan_work

        work = plan_work(name, params, dataset, "", workers.environment)
        # Of different keys, so that every process compiles one.
        works = [replace(work, key=str(core)) for core in range(N_CORES)]

        def run_epochs() -> None:
            for future in [workers.submit(each, data, trial) for each in works]:
                workers.collect(future)

        return _run_s(run_epochs) / (N_EPOCHS * N_CORES)


def fit_s(network: str, name: str) -> float:
    """Seconds per epoch of the textbook's program, with TensorFlow's default settings."""
    import keras

    settings = load_params().optimizers[name]
    optimizer = getattr(keras.optimizers, settings.class_name)(
        learning_rate=settings.learning_rate, **settings.arguments
    )
    hidden = {
        "mlp": [],
        "cnn": [
            layer
            for filters in (32, 64)
            for layer in (
                keras.layers.Conv2D(filters, 5, padding="same", activation="relu"),
                keras.layers.MaxPooling2D(3, strides=2, padding="same"),
            )
        ],
    }[network]
    model = build_in_keras(optimizer, hidden)
    train, validation = (draw_arrays(_n(network, n)) for n in (N_TRAIN, N_VALIDATION))
    options = {"batch_size": BATCH_SIZE, "epochs": N_EPOCHS, "verbose": 0}
    few = tuple(array[:BATCH_SIZE] for array in train)
    return (
        _run_s(
            lambda: model.fit(*train, validation_data=validation, **options),
            lambda: model.fit(*few, validation_data=few, **options),
            n_runs=1,
        )
        / N_EPOCHS
    )


def floor_s(network: str, name: str) -> float:
    """Seconds per epoch and training of what no implementation can do without.

    That is the matrix products of the dense network in BLAS, or the convolutions and products of
    the convolutional one in TensorFlow's operations, which call oneDNN; one training per core.
    """
    del name
    kind = "threading" if network == "mlp" else "loky"
    run_epoch = _multiply if network == "mlp" else _convolve
    with joblib.parallel_config(kind, n_jobs=N_CORES):
        pool = joblib.Parallel()
        return _run_s(lambda: pool(joblib.delayed(run_epoch)() for _ in range(N_CORES))) / N_CORES


@cache
def _draw_matrices() -> tuple[Array, ...]:
    generator = np.random.default_rng(SEED)
    shapes = ((N_TRAIN, 784), (784, 100), (100, 10), (BATCH_SIZE, 100), (BATCH_SIZE, 10))
    return tuple(generator.standard_normal(shape, dtype=np.float32) for shape in shapes)


def _multiply() -> None:
    """The products of an epoch; of its training, not of its validation."""
    images, first, second, of_hidden, of_logits = _draw_matrices()
    for start in range(0, N_TRAIN, BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        hidden = batch @ first
        hidden @ second
        hidden.T @ of_logits
        of_logits @ second.T
        batch.T @ of_hidden


def _convolve() -> None:
    """The same for the convolutional network."""
    set_up_tensorflow()
    allow_avx512()
    import tensorflow as tf

    tf.random.set_seed(SEED)
    random, same = tf.random.normal, {"strides": [1, 1, 1, 1], "padding": "SAME"}
    image, first = random((BATCH_SIZE, 28, 28, 1)), random((5, 5, 1, 32))
    pooled, second = random((BATCH_SIZE, 14, 14, 32)), random((5, 5, 32, 64))
    flat, third, fourth = random((BATCH_SIZE, 3136)), random((3136, 100)), random((100, 10))
    of_hidden, of_logits = random((BATCH_SIZE, 100)), random((BATCH_SIZE, 10))
    for _ in range(_n("cnn", N_TRAIN) // BATCH_SIZE):
        of_first = tf.nn.conv2d(image, first, **same)
        of_second = tf.nn.conv2d(pooled, second, **same)
        hidden = tf.matmul(flat, third)
        tf.matmul(hidden, fourth)
        tf.matmul(hidden, of_logits, transpose_a=True)
        tf.matmul(of_logits, fourth, transpose_b=True)
        tf.matmul(flat, of_hidden, transpose_a=True)
        tf.matmul(of_hidden, third, transpose_b=True)
        tf.raw_ops.Conv2DBackpropFilter(
            input=pooled, filter_sizes=second.shape, out_backprop=of_second, **same
        )
        tf.raw_ops.Conv2DBackpropInput(
            input_sizes=pooled.shape, filter=second, out_backprop=of_second, **same
        )
        tf.raw_ops.Conv2DBackpropFilter(
            input=image, filter_sizes=first.shape, out_backprop=of_first, **same
        )


def _measure(what: str, network: str, optimizer: str, peer: Sequence[str]) -> float:
    here = (sys.executable, "-m", "benchmarks.engine", "--measure", what, network, optimizer)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if what == "floor":  # which starts one thread per core itself
        environment["OPENBLAS_NUM_THREADS"] = "1"
    return measure((*peer, optimizer) if what == "peer" else here, environment)


def _n(network: str, n: int) -> int:
    return n // (SHARE_OF_CNN if network == "cnn" else 1)


def _run_s(
    run: Callable[[], object], warm_up: Callable[[], object] | None = None, n_runs: int = 3
) -> float:
    """The median of the seconds that the runs take, after one that compiles."""
    (warm_up or run)()
    times_s = []
    for _ in range(n_runs):
        started_s = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s)


if __name__ == "__main__":
    main()
