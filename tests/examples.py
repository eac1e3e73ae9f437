"""Small data, parameters and runs for the tests of training, evaluation and report."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.common.artifacts import (
    Dataset,
    Estimate,
    Examples,
    Standing,
    write_architecture,
    write_epochs,
    write_run,
    write_trials,
    write_weights,
)
from stages.common.params import Optimizer, Params, load_params
from stages.train.sweep import Sweep, sweep
from tests.conftest import PROJECT

CLASS_NAMES = ("circle", "square", "triangle", "star")
COMMITTED = load_params(PROJECT / "params.yaml")


def draw_examples(n: int, seed: int) -> Examples:
    """Images of 6 x 6 pixels: a prototype for each of four classes, and noise."""
    prototypes = np.random.default_rng(0).uniform(0, 200, (len(CLASS_NAMES), 6, 6, 1))
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % len(CLASS_NAMES)).astype(np.uint8)
    images = prototypes[labels] + generator.uniform(0, 50, (n, 6, 6, 1))
    return Examples(images.astype(np.uint8), labels)


# Batches of 16 leave 11 images for the last minibatch.
TRAIN, VALIDATION, TEST = draw_examples(75, 1), draw_examples(40, 2), draw_examples(60, 3)
DATASET = Dataset(
    name="shapes",
    class_names=CLASS_NAMES,
    height=6,
    width=6,
    channels=1,
    pixel_maximum=250,
    n_train=len(TRAIN.labels),
    n_validation=len(VALIDATION.labels),
    n_test=len(TEST.labels),
)
SMALL: dict[str, dict[str, Any]] = {
    "model": {"name": "mlp", "hidden_units": [8], "activation": "relu", "dropout": 0.0},
    "train": {"epochs": 2, "batch_size": 16, "jit_compile": False},
    "tuning": {"learning_rate_factors": [1.0], "seeds": [91]},
    "confirmation": {"seeds": [1, 2]},
}


def bits(arrays: Iterable[Any]) -> list[bytes]:
    """Equal for arrays that are equal to the last bit."""
    return [np.asarray(array).tobytes() for array in arrays]


def optimizer(**entry: Any) -> Optimizer:
    """An entry of `optimizers` as params.yaml would give it; its learning rate is 0.1."""
    return Optimizer.model_validate_json(json.dumps({"learning_rate": 0.1, **entry}))


def small_params(optimizers: Mapping[str, Optimizer], **sections: Mapping[str, Any]) -> Params:
    """The committed parameters with little work; `sections` hold what else differs."""
    content = COMMITTED.model_dump(mode="json")
    for section, values in SMALL.items():
        content[section] |= values | dict(sections.get(section, {}))
    content["optimizers"] = {name: entry.model_dump() for name, entry in optimizers.items()}
    return Params.model_validate_json(json.dumps(content))


def small_sweep(
    entry: Optimizer, store: Path | None = None, n_workers: int = 1, **sections: Mapping[str, Any]
) -> Sweep:
    """Trains one optimizer; without a store, as if nothing had ever been trained."""
    params = small_params({"it": entry}, **sections)
    with TemporaryDirectory() as nowhere:
        return sweep(
            "it",
            params,
            DATASET,
            TRAIN,
            VALIDATION,
            store_folder=store or Path(nowhere),
            n_workers=n_workers,
        )


def write_sweep(folder: Path, result: Sweep) -> None:
    """What evaluate reads of `runs/NAME`."""
    write_trials(folder, result.trials)
    write_epochs(folder, result.epochs)
    write_weights(folder, result.weights)
    write_architecture(folder, result.architecture)
    write_run(folder, result.run)


def standing(
    accuracy: float | None, half_width: float | None = 0.01, n_diverged: int = 0
) -> Standing:
    """Of ten trials, as the verdict and the summary see them."""
    if accuracy is None or half_width is None:
        estimate = Estimate(accuracy, None, None, None)
    else:
        estimate = Estimate(accuracy, accuracy - half_width, accuracy + half_width, half_width)
    return Standing(
        class_name="SGD",
        learning_rate=0.001,
        configured_learning_rate=0.01,
        n_trials=10,
        n_diverged=n_diverged,
        test_accuracy=estimate,
        configured_test_accuracy=estimate,
        test_loss=estimate,
        validation_accuracy=estimate,
    )
