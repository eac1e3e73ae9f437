"""The networks: their weights, their first layer, their initial values, their files."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from stages.common.data import Dataset, Scaling
from stages.common.errors import InputError
from stages.common.params import BuiltInModel
from stages.engine import models
from stages.engine.models import build_network, encode_model, initialise
from tests import regression
from tests.examples import DATASET, TEST, bits, unnamed_network
from tests.regression import numbers_network

MNIST = replace(DATASET, input_shape=(28, 28, 1), n_outputs=10, class_names=tuple("0123456789"))


def settings(**changes: Any) -> BuiltInModel:
    defaults: dict[str, Any] = {
        "name": "mlp",
        "hidden_units": (8,),
        "activation": "relu",
        "dropout": 0.0,
    }
    return BuiltInModel(**(defaults | changes))


def initialised(seed: int, dataset: Dataset = DATASET, **changes: Any) -> keras.Model:
    network = build_network(settings(**changes), dataset)
    initialise(network, seed)
    return network.model


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name in MODELS of a network whose layers have none."""
    monkeypatch.setitem(models.MODELS, "unnamed", unnamed_network)
    return "unnamed"


def logits_of(model: keras.Model, *, training: bool = False) -> np.ndarray:
    logits: np.ndarray = model(TEST.inputs, training=training).numpy()
    return logits


@pytest.mark.parametrize(
    ("name", "hidden_units", "n_parameters"),
    [
        ("mlp", (), 784 * 10 + 10),
        ("mlp", (100,), 79_510),
        ("mlp", (32, 16), 784 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10),
        ("cnn", (1024,), 3_274_634),  # DeepOBS's 2c2d
    ],
)
def test_a_network_has_the_parameters_of_its_publication(
    name: str, hidden_units: tuple[int, ...], n_parameters: int
) -> None:
    network = build_network(settings(name=name, hidden_units=hidden_units), MNIST)
    assert network.model.count_params() == n_parameters


@pytest.mark.parametrize(
    ("activation", "function"), [("relu", lambda x: np.maximum(x, 0)), ("sigmoid", expit)]
)
def test_an_mlp_divides_pixels_by_their_maximum_and_gives_logits(
    activation: str, function: Any
) -> None:
    model = initialised(1, activation=activation, dropout=0.5)
    kernel, bias, last_kernel, last_bias = model.get_weights()
    pixels = TEST.inputs.reshape(len(TEST.inputs), -1) / 250
    expected = function(pixels @ kernel + bias) @ last_kernel + last_bias
    np.testing.assert_allclose(logits_of(model), expected, atol=1e-5)


@pytest.mark.parametrize(("dropout", "changes_training"), [(0.0, False), (0.5, True)])
def test_dropout_acts_in_training_alone(dropout: float, *, changes_training: bool) -> None:
    model = initialised(1, dropout=dropout)
    in_training = logits_of(model, training=True)
    assert bool(np.any(in_training != logits_of(model))) == changes_training


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"model\.name: no model 'resnet'; known: mlp, cnn"):
        build_network(settings(name="resnet"), DATASET)


def test_a_network_is_added_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    def pooled(pixels: keras.KerasTensor, _: BuiltInModel) -> keras.KerasTensor:
        return keras.layers.GlobalAveragePooling2D()(pixels)

    monkeypatch.setitem(models.MODELS, "pooled", pooled)
    assert logits_of(initialised(1, name="pooled")).shape == (DATASET.n_test, 4)


def test_the_seed_alone_decides_the_initial_weights() -> None:
    network = build_network(settings(hidden_units=(8, 8, 8)), DATASET)
    initialise(network, 1)
    first = network.model.get_weights()
    keras.utils.set_random_seed(7)
    initialise(network, 2)
    others = network.model.get_weights()
    initialise(network, 1)
    assert bits(first) == bits(network.model.get_weights())
    kernels = bits([*first[::2], *others[::2]])
    assert len(set(kernels)) == len(kernels)


def test_a_network_without_names_is_the_same_whoever_builds_it_and_however_often(
    unnamed: str, tmp_path: Path
) -> None:
    def build(place: str) -> tuple[bytes, list[bytes], list[bytes]]:
        network = build_network(settings(name=unnamed, dropout=0.5), DATASET)
        initialise(network, 1)
        states = bits(state.numpy() for state in network.random_states)
        weights = bits(network.model.get_weights())
        path = tmp_path / f"{place}.keras"
        path.write_bytes(encode_model(network.model, DATASET))
        return path.read_bytes(), weights, states

    here = build("here")
    with ThreadPoolExecutor(2) as threads:
        side_by_side = list(threads.map(build, "abc"))
    assert side_by_side == [here] * 3


def test_weights_within_nested_and_added_layers_come_from_the_seed(unnamed: str) -> None:
    drawn: list[np.ndarray] = []
    states: list[np.ndarray] = []
    for seed in (1, 2):
        network = build_network(settings(name=unnamed, dropout=0.5), DATASET)
        initialise(network, seed)
        (stretch,) = (layer for layer in network.model.layers if type(layer).__name__ == "Stretch")
        assert (stretch.scale.numpy() == 1).all()
        kernels = [weight for weight in network.model.get_weights() if weight.ndim == 2]
        drawn += [stretch.shift.numpy(), *kernels]
        states += [state.numpy() for state in network.random_states]
    assert len(drawn) == 2 * (1 + 4)
    assert len(set(bits(drawn))) == len(drawn)  # two kernels of the same shape included
    assert len(states) == 2 * 2
    assert len(set(bits(states))) == len(states)


def test_initial_weights_are_distributed_as_keras_does() -> None:
    kernel, bias, *_ = initialised(1, MNIST, hidden_units=(100,)).get_weights()
    limit = (6 / (784 + 100)) ** 0.5  # Glorot and Bengio 2010, uniform
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / 3**0.5, rel=0.01)
    assert not bias.any()


@pytest.mark.parametrize("trainable", [True, False])
def test_a_weight_without_an_initializer_is_refused(
    monkeypatch: pytest.MonkeyPatch, *, trainable: bool
) -> None:
    class Scale(keras.layers.Layer):  # type: ignore[misc]
        def build(self, _: Any) -> None:
            self.scale = keras.Variable(1.0, trainable=trainable, name="scale")

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale

    def scaled(pixels: keras.KerasTensor, _: BuiltInModel) -> keras.KerasTensor:
        return keras.Sequential([keras.layers.Flatten(), Scale(name="odd")])(pixels)

    monkeypatch.setitem(models.MODELS, "scaled", scaled)
    message = r"model\.name: scaled has a weight without an initializer, .*scale; .*add_weight"
    with pytest.raises(InputError, match=message):
        build_network(settings(name="scaled"), DATASET)


def test_building_a_network_leaves_keras_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> keras.KerasTensor:
        raise ZeroDivisionError

    add_weight = keras.layers.Layer.add_weight
    build_network(settings(), DATASET)
    monkeypatch.setitem(models.MODELS, "faulty", faulty)
    with pytest.raises(ZeroDivisionError):
        build_network(settings(name="faulty"), DATASET)
    assert keras.layers.Layer.add_weight is add_weight


def test_a_saved_network_takes_raw_pixels_and_gives_probabilities(tmp_path: Path) -> None:
    model = initialised(1)
    (tmp_path / "model.keras").write_bytes(encode_model(model, DATASET))
    probabilities = keras.models.load_model(tmp_path / "model.keras")(TEST.inputs).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities, softmax(logits_of(model), axis=1), atol=1e-6)


def test_a_saved_network_holds_no_date(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(encode_model(initialised(1), DATASET))
    with zipfile.ZipFile(tmp_path / "model.keras") as saved:
        assert {entry.date_time for entry in saved.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        metadata = json.loads(saved.read("metadata.json"))
    assert metadata["date_saved"] == "1980-01-01@00:00:00"


def test_a_network_for_numbers_standardises_its_inputs_and_gives_scaled_values() -> None:
    network = numbers_network()
    initialise(network, 1)
    kernel, bias, last_kernel, last_bias = network.model.get_weights()
    scaling = regression.DATASET.scaling
    inputs = regression.TEST.inputs * scaling.input_scale + scaling.input_offset
    expected = np.maximum(inputs @ kernel + bias, 0) @ last_kernel + last_bias
    outputs = network.model(regression.TEST.inputs, training=False).numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_a_saved_network_for_numbers_gives_them_in_their_units(tmp_path: Path) -> None:
    network, scaling = numbers_network(), regression.DATASET.scaling
    initialise(network, 1)
    saved = encode_model(network.model, regression.DATASET)
    (tmp_path / "model.keras").write_bytes(saved)
    units = keras.models.load_model(tmp_path / "model.keras")(regression.TEST.inputs).numpy()
    outputs = network.model(regression.TEST.inputs, training=False).numpy()
    expected = outputs * scaling.target_scale + scaling.target_offset
    np.testing.assert_allclose(units, expected, rtol=1e-5)


def test_a_convolution_needs_pictures() -> None:
    with pytest.raises(
        InputError, match=r"cnn needs pictures, .* not examples of the shape \(5,\)"
    ):
        numbers_network(name="cnn")


def test_integers_need_a_network_of_one_s_own() -> None:
    tokens = replace(
        DATASET, input_shape=(7,), input_dtype="int32", scaling=Scaling((), (), (), ())
    )
    with pytest.raises(InputError, match="mlp needs uint8 or float32 inputs; int32 ones are for"):
        build_network(settings(), tokens)
