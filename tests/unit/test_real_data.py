"""Real data, from a person's files to test scores: what trains here also learns."""

import csv
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import keras
import numpy as np
import pytest
from sklearn import datasets, linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.common.data import Examples
from stages.common.optimizer_params import Optimizer
from stages.common.params import FIRST_LOOK, Params
from stages.confirm.network import NetworkScorer
from stages.download.custom import obtain_custom
from stages.engine.models import build_network, initialise
from stages.engine.optimizers import build_optimizer
from stages.engine.trial import Data
from stages.engine.workers import open_threads
from stages.preprocess.decode import decode
from stages.preprocess.split import Parts, split
from stages.preprocess.table import read_table
from stages.train.tuning import train
from tests.conftest import mainly
from tests.parameters import COMMITTED, optimizer, small_params


def prepare(params: Params, folder: Path) -> Parts:
    """What download and preprocess make of `dataset.path`."""
    source = obtain_custom(params.dataset, folder)
    if source.format == "table":
        columns, arrays = read_table(folder, source)
        return split(source, arrays, params.split, params.task.name, columns)
    return split(source, decode(folder, source), params.split, params.task.name)


def own_params(
    path: Path, optimizers: Mapping[str, Optimizer], **sections: Mapping[str, Any]
) -> Params:
    dataset = {"name": "custom", "path": str(path), **sections.pop("dataset", {})}
    return small_params(optimizers, dataset=dataset, **sections)


def mean_test_scores(params: Params, parts: Parts, store: Path) -> dict[str, float]:
    """Over the first fresh seeds at the tuned rate, by optimizer."""
    data = Data(parts.train, parts.validation)
    model = build_network(params.model, parts.dataset).model
    scorer = NetworkScorer(model, params.task, parts.dataset.scaling, parts.test, jit_compile=True)
    means = {}
    with open_threads(1) as workers:
        for name in params.optimizers:
            trained = train(
                [name], params, parts.dataset, data, store_folder=store, workers=workers
            )[name]
            at_tuned = trained.weights.settings == trained.run.tuned
            all_weights = list(zip(*trained.weights.arrays, strict=True))
            scores = [
                scorer.score(weights).score
                for weights, is_tuned in zip(all_weights, at_tuned, strict=True)
                if is_tuned
            ]
            assert len(scores) == FIRST_LOOK
            means[name] = fmean(scores)
    return means


def keras_fit_score(params: Params, parts: Parts, name: str, seed: int) -> float:
    """Test accuracy of Keras's own loop, with its own initial weights and order of examples."""
    keras.utils.set_random_seed(seed)
    network = build_network(params.model, parts.dataset)
    initialise(network, seed)
    network.model.compile(
        build_optimizer(name, params.optimizers[name]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    network.model.fit(
        parts.train.inputs,
        parts.train.targets,
        batch_size=params.train.batch_size,
        epochs=params.train.epochs,
        verbose=0,
    )
    found = network.model.evaluate(parts.test.inputs, parts.test.targets, verbose=0)
    return float(found[1])


def test_a_sample_of_fashion_mnist_is_learned_as_keras_fit_does(
    shared_data: Path, tmp_path: Path
) -> None:
    params = own_params(
        shared_data / "fashion-mnist-sample",
        COMMITTED.optimizers,
        model={"hidden_units": [100]},
        train={"epochs": 5, "batch_size": 32, "jit_compile": "auto"},
    )
    parts = prepare(params, tmp_path / "raw")
    assert parts.dataset.class_names == tuple("0123456789")
    assert (len(parts.train.targets), len(parts.test.targets)) == (1600, 1909)
    fit = {
        name: fmean(keras_fit_score(params, parts, name, seed) for seed in range(3))
        for name in params.optimizers
    }
    assert mean_test_scores(params, parts, tmp_path) == pytest.approx(fit, abs=0.02)


def write_table(path: Path, table: Any) -> None:
    names = [*table.feature_names, "outcome"]
    targets = table.target.tolist()
    if hasattr(table, "target_names"):
        targets = [str(table.target_names[target]) for target in targets]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([*row, it] for row, it in zip(table.data.tolist(), targets, strict=True))


def sklearn_score(parts: Parts, model: Any) -> float:
    fitted = make_pipeline(StandardScaler(), model)

    def flat(examples: Examples) -> tuple[Any, Any]:
        return examples.inputs, np.squeeze(examples.targets)

    return float(fitted.fit(*flat(parts.train)).score(*flat(parts.test)))


TABLES = {
    "breast_cancer": (datasets.load_breast_cancer, linear_model.LogisticRegression()),
    "wine": (datasets.load_wine, linear_model.LogisticRegression()),
    "diabetes": (lambda: datasets.load_diabetes(scaled=False), linear_model.Ridge()),
}


@pytest.mark.parametrize("name", mainly(["diabetes"], TABLES))
def test_a_table_is_learned_as_well_as_by_a_linear_model_of_scikit_learn(
    name: str, tmp_path: Path
) -> None:
    load, linear = TABLES[name]
    write_table(tmp_path / "table.csv", load())
    params = own_params(
        tmp_path / "table.csv",
        {"adam": optimizer(class_name="Adam", learning_rate=0.003)},
        dataset={"custom": {"format": "auto", "target": "outcome", "resize": []}},
        task={"name": "regression" if name == "diabetes" else "classification"},
        split={"test_fraction": 0.3},
        model={"hidden_units": [] if name == "diabetes" else [8]},
        train={"epochs": 40, "jit_compile": "auto"},
        tuning={
            "learning_rate_factors": [0.316, 1.0, 3.16],
            "n_settings": 3,
            "seeds": [1, 2, 3],
            "final_seeds": [],
        },
    )
    parts = prepare(params, tmp_path / "raw")
    found = mean_test_scores(params, parts, tmp_path)["adam"]
    assert found > sklearn_score(parts, linear) - 0.02
