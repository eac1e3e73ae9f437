"""Every optimizer of Keras and of `optimizers/` on three kinds of network."""

import ast
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import pytest

from stages.engine import models
from stages.engine.optimizers import REFUSED
from stages.engine.training import train_trial
from stages.engine.trial import Trial
from tests.conftest import PROJECT, mainly
from tests.examples import DATA, bits, small_work, unnamed_network
from tests.parameters import optimizer

OF_KERAS = [
    name
    for name, member in inspect.getmembers(keras.optimizers, inspect.isclass)
    if issubclass(member, keras.optimizers.Optimizer) and name not in REFUSED
]
OWN = [
    f"optimizers/{path.name}:{node.name}"
    for path in sorted((PROJECT / "optimizers").glob("*.py"))
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
]
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp"},
    "cnn": {"name": "cnn"},
    "batch normalisation": {"name": "unnamed", "dropout": 0.2},
}


# As in Model.fit: Keras's Adafactor divides zero by zero where a kernel has no gradient.
DIVERGES = [("Adafactor", "cnn")]


@pytest.mark.parametrize("network", mainly(["mlp"], NETWORKS))
@pytest.mark.parametrize("class_name", [*OF_KERAS, *OWN])
def test_an_optimizer_trains_to_the_same_bits_in_any_thread(
    class_name: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS, "unnamed", unnamed_network)
    entry = optimizer(class_name=class_name, learning_rate=0.01)
    work = small_work(entry, model=NETWORKS[network])

    def train(seed: int) -> Any:
        return train_trial(work, DATA, Trial("confirmation", 1.0, seed, 0))

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        first, second = one.submit(train, 1), another.submit(train, 2)
        repeated = one.submit(train, 2).result()
        if (class_name, network) in DIVERGES:
            assert repeated.row.outcome == "diverged"
            return
        assert [r.row.outcome for r in (first.result(), repeated)] == ["completed"] * 2
        assert repeated.row == second.result().row
        assert bits(repeated.weights) == bits(second.result().weights)
        assert bits(repeated.weights) != bits(first.result().weights)
        # A thread that has trained leaves no trace in what it trains next.
        assert bits(another.submit(train, 1).result().weights) == bits(first.result().weights)
