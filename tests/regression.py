"""What tests train on where numbers are predicted: two of them, from a table of five columns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.data import Dataset, Examples
from stages.common.optimizer_params import Optimizer
from stages.common.params import Params
from stages.engine.environment import describe_environment
from stages.preprocess.split import fit_scaling
from tests.parameters import small_params

if TYPE_CHECKING:
    from stages.engine.loop import Slot
    from stages.engine.models import Network


def draw_numbers(n: int, seed: int) -> Examples:
    """Targets are linear in the inputs, with noise; neither of the two is near the size of 1."""
    weights = np.random.default_rng(0).normal(0, 1, (5, 2))
    generator = np.random.default_rng(seed)
    inputs = generator.normal([0, 3, -200, 1000, 0.5], [1, 2, 30, 100, 0.1], (n, 5))
    standard = (inputs - [0, 3, -200, 1000, 0.5]) / [1, 2, 30, 100, 0.1]
    targets = (standard @ weights + generator.normal(0, 0.3, (n, 2))) * [50, 0.02] + [400, -7]
    return Examples(inputs.astype(np.float32), targets.astype(np.float32))


TRAIN, VALIDATION, TEST = draw_numbers(75, 1), draw_numbers(40, 2), draw_numbers(60, 3)
DATASET = Dataset(
    name="houses",
    input_shape=(5,),
    input_dtype="float32",
    n_outputs=2,
    class_names=(),
    features=("a", "b", "c", "d", "e"),
    n_train=75,
    n_validation=40,
    n_test=60,
    train_counts=(),
    validation_counts=(),
    test_counts=(),
    files=(),
    scaling=fit_scaling(TRAIN),
)


def numbers_params(entries: Mapping[str, Optimizer], **sections: Mapping[str, Any]) -> Params:
    task = {"name": "regression", **sections.pop("task", {})}
    return small_params(entries, task=task, **sections)


def numbers_network(**model: Any) -> "Network":
    from stages.engine.models import build_network

    params = numbers_params({"it": Optimizer(class_name="SGD", learning_rate=0.1)}, model=model)
    return build_network(params.model, DATASET)


def numbers_slot(
    entry: Optimizer, validation: Examples = VALIDATION, **sections: Mapping[str, Any]
) -> "Slot":
    """A slot that trains on TRAIN."""
    from stages.engine.loop import to_tensors
    from stages.engine.training import build_slot, plan_work

    params = numbers_params({"it": entry}, **sections)
    work = plan_work("it", params, DATASET, "", describe_environment())
    train, validating = (
        to_tensors(split, params.task, DATASET.scaling) for split in (TRAIN, validation)
    )
    return build_slot(work, train, validating)
