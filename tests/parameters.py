"""Small parameters for the tests; without TensorFlow, so that a conftest may import them."""

import json
from collections.abc import Mapping
from typing import Any

from stages.common.optimizer_params import Optimizer
from stages.common.params import Params, load_params
from tests.conftest import PROJECT

COMMITTED = load_params(PROJECT / "params.yaml")
SMALL: dict[str, dict[str, Any]] = {
    "model": {"name": "mlp", "hidden_units": [8], "activation": "relu", "dropout": 0.0},
    "train": {"epochs": 2, "batch_size": 16, "jit_compile": False},
    "tuning": {
        "learning_rate_factors": [1.0],
        "n_settings": 1,
        "seeds": [1],
        "final_seeds": [],
    },
    "confirmation": {"first_seed": 100, "at_most": 10},
}


def optimizer(**entry: Any) -> Optimizer:
    """An entry of `optimizers` as params.yaml would give it; its learning rate is 0.1."""
    return Optimizer.model_validate_json(json.dumps({"learning_rate": 0.1, **entry}))


def small_params(optimizers: Mapping[str, Optimizer], **sections: Mapping[str, Any]) -> Params:
    """The committed parameters with little work; `sections` hold what else differs."""
    content = COMMITTED.model_dump(mode="json")
    for section in SMALL.keys() | sections.keys():
        content[section] |= {**SMALL.get(section, {}), **sections.get(section, {})}
    content["optimizers"] = {name: entry.model_dump() for name, entry in optimizers.items()}
    return Params.model_validate_json(json.dumps(content))
