"""Compares the training engine with `keras.Model.fit` and bare matrix products: `make bench`.

The network is the textbook's, 784-100-10, on 48,000 simulated images in batches of 32; the
convolutional network gets a tenth of them. The engine runs as many trials side by side as there are
cores, `fit` runs one training on all of them, and the floor is the matrix products of the dense
network alone, in BLAS on all cores. Each measurement runs in a process of its own; those of a row
alternate, ratios are taken round by round, and medians are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import joblib
import numpy as np
from tabulate import tabulate

from benchmarks.noise import describe_noise, draw_noise
from stages.common.files import Array
from stages.common.params import BuiltInModel, Train, load_params
from stages.engine.determinism import set_up_tensorflow
from stages.engine.trial import Data, Trial
from stages.engine.workers import open_threads

N_ROUNDS, N_EPOCHS = 3, 1
N_TRAIN, N_VALIDATION, BATCH_SIZE, SEED = 48_000, 12_000, 32, 42
SHARE_OF_CNN = 10
N_CORES: int = joblib.cpu_count()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "NETWORK", "OPTIMIZER"))
    arguments = parser.parse_args()
    if arguments.measure:
        what, network, optimizer = arguments.measure
        print({"engine": engine_s, "fit": fit_s, "floor": floor_s}[what](network, optimizer))
        return
    rows = [compare("mlp", optimizer) for optimizer in load_params().optimizers]
    rows.append(compare("cnn", "adam"))
    headers = ("network", "optimizer", "fit, s", "engine, s", "fit/engine", "floor/engine")
    print(f"Seconds per epoch of one training, {N_CORES} cores, medians of {N_ROUNDS} rounds")
    print(tabulate(rows, headers, floatfmt=".3g"))


def compare(network: str, optimizer: str) -> tuple[object, ...]:
    whats = ("fit", "engine", "floor") if network == "mlp" else ("fit", "engine")
    rounds = [{what: _measure(what, network, optimizer) for what in whats} for _ in range(N_ROUNDS)]

    def median(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(value, rounds))

    return (
        network,
        optimizer,
        median(lambda times: times["fit"]),
        median(lambda times: times["engine"]),
        median(lambda times: times["fit"] / times["engine"]),
        median(lambda times: times["floor"] / times["engine"]) if "floor" in whats else None,
    )


def engine_s(network: str, name: str) -> float:
    """Seconds per epoch and training, validation included, with one trial on each core."""
    set_up_tensorflow()
    from stages.engine.training import plan_work

    n_train, n_validation = _n(network, N_TRAIN), _n(network, N_VALIDATION)
    data = Data(draw_noise(n_train), draw_noise(n_validation))
    dataset = describe_noise(n_train, n_validation)
    params = load_params()
    changes = {
        "model": BuiltInModel(name=network, hidden_units=(100,), activation="relu", dropout=0),
        "train": Train(
            epochs=N_EPOCHS,
            batch_size=BATCH_SIZE,
            schedule=params.train.schedule,
            jit_compile="auto",
        ),
    }
    trial = Trial("tuning", 1.0, SEED, setting=0)
    with open_threads(N_CORES) as workers:
        params = params.model_copy(update=changes)
        work = plan_work(name, params, dataset, "", workers.environment)

        def run_epochs() -> None:
            for future in [workers.submit(work, data, trial) for _ in range(N_CORES)]:
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
    data = {
        "batch_size": BATCH_SIZE,
        "epochs": N_EPOCHS,
        "validation_data": _arrays(network, N_VALIDATION),
        "verbose": 0,
    }
    return _run_s(lambda: model.fit(*_arrays(network, N_TRAIN), **data)) / N_EPOCHS


def floor_s(network: str, name: str) -> float:
    """Seconds per epoch and training of the matrix products alone, one training per core."""
    del network, name
    generator = np.random.default_rng(SEED)
    images = generator.standard_normal((N_TRAIN, 784), dtype=np.float32)
    shapes = ((784, 100), (100, 10), (BATCH_SIZE, 100), (BATCH_SIZE, 10))
    first, second, of_hidden, of_logits = (
        generator.standard_normal(shape, dtype=np.float32) for shape in shapes
    )

    def run_epoch() -> None:
        for start in range(0, N_TRAIN, BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            hidden = batch @ first
            hidden @ second
            hidden.T @ of_logits
            of_logits @ second.T
            batch.T @ of_hidden

    pool = joblib.Parallel(N_CORES, "threading")
    return _run_s(lambda: pool(joblib.delayed(run_epoch)() for _ in range(N_CORES))) / N_CORES


def _measure(what: str, network: str, optimizer: str) -> float:
    print(f"{what} {network} {optimizer}", file=sys.stderr)
    measured = subprocess.run(  # noqa: S603
        (sys.executable, "-m", "benchmarks.engine", "--measure", what, network, optimizer),
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "2",
            # The floor starts one thread per core itself.
            **({"OPENBLAS_NUM_THREADS": "1"} if what == "floor" else {}),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if measured.returncode:
        sys.exit(measured.stderr)
    return float(measured.stdout.splitlines()[-1])


def _n(network: str, n: int) -> int:
    return n // (SHARE_OF_CNN if network == "cnn" else 1)


def _arrays(network: str, n: int) -> tuple[Array, Array]:
    examples = draw_noise(_n(network, n))
    return examples.inputs, examples.targets


def _run_s(run: Callable[[], object]) -> float:
    run()  # compiles
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
