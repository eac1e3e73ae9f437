"""Networks of the user's own: any layer, trained as Keras's own loop does, faults told once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import softmax

from stages.common.data import Examples, Scaling
from stages.common.errors import InputError
from stages.common.own import own_files, place_in_own_code
from stages.common.params import OwnModel, Params
from stages.common.runs import Completed, Failed
from stages.engine.environment import describe_environment
from stages.engine.loop import to_tensors
from stages.engine.models import (
    build_network,
    check_can_be_saved,
    encode_model,
    initialise,
)
from stages.engine.optimizers import build_optimizer
from stages.engine.training import build_slot, plan_work, train_trial
from stages.engine.trial import Trial, Work
from stages.engine.workers import open_threads
from stages.train.finished import Trained
from stages.train.tuning import train
from tests.examples import DATA, DATASET, TASK, TRAIN, VALIDATION, bits, train_epochs
from tests.parameters import optimizer, small_params

ADAM = optimizer(class_name="Adam", learning_rate=0.01)
RESIDUAL = """
import keras
from keras import layers


class Scale(layers.Layer):
    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.factor


def build(input_shape, n_outputs, width):
    inputs = keras.Input(input_shape)
    hidden = layers.Dense(width)(layers.Flatten()(inputs))
    for _ in range(2):
        inner = keras.Sequential([layers.BatchNormalization(), layers.Dense(width, "relu")])
        hidden = layers.Add()([hidden, Scale()(layers.Dropout(0.2)(inner(hidden)))])
    return keras.Model(inputs, layers.Dense(n_outputs)(hidden))
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module that can be imported; gives what `model.name` calls a function of it."""
    monkeypatch.syspath_prepend(tmp_path)
    n_written = 0

    def write(content: str, name: str = "build") -> str:
        nonlocal n_written
        n_written += 1
        module = f"own_network_{tmp_path.name}_{n_written}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(content)
        return f"{module}:{name}"

    return write


def own_params(name: str, **arguments: Any) -> Params:
    model = OwnModel.model_validate({"name": name, **arguments})
    return small_params({"it": ADAM}).model_copy(update={"model": model})


def own_work(name: str, **arguments: Any) -> Work:
    return plan_work("it", own_params(name, **arguments), DATASET, "", describe_environment())


@pytest.mark.thorough
def test_a_residual_network_trains_as_keras_fit_does(write: Any) -> None:
    work = own_work(write(RESIDUAL), width=8)
    assert not work.jit_compile
    train, validation = (to_tensors(split, TASK, DATASET.scaling) for split in (TRAIN, VALIDATION))
    slot = build_slot(work, train, validation)
    slot.reset(1, 1.0)
    reference = build_network(work.params.model, DATASET)
    initialise(reference, 1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    reference.model.compile(build_optimizer("it", ADAM), loss, jit_compile=False)
    order = np.random.default_rng(5).permutation(len(TRAIN.targets)).astype(np.int32)
    scores = train_epochs(slot, order, 2)
    fit = reference.model.fit(
        TRAIN.inputs[order],
        TRAIN.targets[order],
        batch_size=16,
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    assert len(slot.model.weights) == 18
    for ours, theirs in zip(slot.model.get_weights(), reference.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert [score.loss for score in scores] == pytest.approx(fit.history["loss"], abs=1e-5)


def test_it_gives_the_same_bytes_with_any_number_of_workers(write: Any, tmp_path: Path) -> None:
    params = own_params(write(RESIDUAL), width=8)
    params = params.model_copy(
        update={"tuning": params.tuning.model_copy(update={"seeds": (1, 2, 3)})}
    )

    def run(n: int) -> Trained:
        with open_threads(n) as workers:
            store = tmp_path / str(n)
            trained = train(["it"], params, DATASET, DATA, store_folder=store, workers=workers)
            return trained["it"]

    one, two = run(1), run(2)
    assert one.trials == two.trials
    assert all(isinstance(row, Completed) for row in one.trials)
    assert bits(one.weights.arrays) == bits(two.weights.arrays)


def test_the_saved_model_takes_raw_inputs_and_gives_probabilities(
    write: Any, tmp_path: Path
) -> None:
    name = write(RESIDUAL)
    model = build_network(own_params(name, width=8).model, DATASET).model
    (tmp_path / "model.keras").write_bytes(encode_model(model, DATASET))
    module = __import__(name.partition(":")[0])
    loaded = keras.models.load_model(
        tmp_path / "model.keras", custom_objects={"Scale": module.Scale}
    )
    given = loaded.predict(TRAIN.inputs, verbose=0)
    expected = softmax(model(TRAIN.inputs, training=False).numpy(), axis=1)
    np.testing.assert_allclose(given, expected, atol=1e-6)


TOKENS = """
import keras
from keras import layers


def build(input_shape, n_outputs):
    tokens = keras.Input(input_shape, dtype="int32")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(tokens))
    return keras.Model(tokens, layers.Dense(n_outputs)(hidden))
"""


def test_integers_reach_an_embedding_as_they_are(write: Any) -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(20, size=(75, 5)).astype(np.int32)
    dataset = replace(
        DATASET, input_shape=(5,), input_dtype="int32", scaling=Scaling((), (), (), ())
    )
    network = build_network(own_params(write(TOKENS)).model, dataset)
    assert network.model(tokens).shape == (75, 4)
    with pytest.raises(InputError, match=r"model\.name: mlp needs uint8 or float32 inputs; int32"):
        build_network(small_params({"it": ADAM}).model, dataset)


FAULTS = {
    "a wrong argument": (
        RESIDUAL,
        {"depth": 3},
        r"build: TypeError: build\(\) got an unexpected keyword argument 'depth'",
    ),
    "no model": (
        "def build(shape, n):\n    return 3\n",
        {},
        "returns int; should be a keras.Model",
    ),
    "other outputs": (
        RESIDUAL.replace("Dense(n_outputs)", "Dense(n_outputs + 1)"),
        {"width": 8},
        r"gives \(None, 5\); should be \(None, 4\): for each example 4 logits",
    ),
    "probabilities": (
        RESIDUAL.replace("Dense(n_outputs)", "Dense(n_outputs, 'softmax')"),
        {"width": 8},
        "ends in probabilities; should end in logits, without an activation",
    ),
    "an error": (
        "def build(shape, n):\n    raise RuntimeError('no\\nway')\n",
        {},
        r"build: RuntimeError: no way \(.*own_network_.*\.py, line 2\)",
    ),
    "weights that were trained before": (
        RESIDUAL.replace(
            "    return keras.Model(inputs, layers.Dense(n_outputs)(hidden))",
            "    model = keras.Model(inputs, layers.Dense(n_outputs)(hidden))\n"
            "    model.layers[-1].kernel.assign(model.layers[-1].kernel * 2)\n    return model",
        ),
        {"width": 8},
        "changes the weight .*kernel after creating it, such as to a trained one",
    ),
    "a lambda": (
        RESIDUAL.replace("Scale()(", "layers.Lambda(lambda x: x * 2)("),
        {"width": 8},
        "has a Lambda layer with a lambda, which saves this machine's paths",
    ),
    "no Python": (
        "def build(\n",
        {},
        r"own_network_.*\.py: cannot be imported: SyntaxError: .*line",
    ),
    "no function": ("X = 1\n", {}, r"own_network_.*\.py has no 'build'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_on_one_line_with_its_place(write: Any, fault: str) -> None:
    content, arguments, message = FAULTS[fault]
    with pytest.raises(InputError, match=message) as error:
        build_network(own_params(write(content), **arguments).model, DATASET)
    assert "\n" not in str(error.value)


def test_an_error_in_training_names_the_line_of_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "models")
    content = RESIDUAL.replace(
        "        return inputs * self.factor",
        "        if inputs.shape[0] == 16:\n            raise ValueError('not sixteen')\n"
        "        return inputs * self.factor",
    )
    (tmp_path / "models" / "sixteen.py").write_text(content)
    work = own_work("sixteen:build", width=8)
    result = train_trial(work, DATA, Trial("tuning", 1.0, 1, 0))
    assert isinstance(result.row, Failed)
    assert result.row.reason.startswith("ValueError: ")
    assert "not sixteen" in result.row.reason
    train, validation = (to_tensors(split, TASK, DATASET.scaling) for split in (TRAIN, VALIDATION))
    with pytest.raises(ValueError, match="not sixteen") as error:
        build_slot(work, train, validation)
    monkeypatch.setattr("stages.common.own.PROJECT", tmp_path)
    assert place_in_own_code(error.value) == " (models/sixteen.py, line 12)"


def test_random_numbers_without_a_seed_are_refused(write: Any) -> None:
    content = RESIDUAL.replace(
        "return inputs * self.factor",
        "return inputs * self.factor + keras.random.normal(keras.ops.shape(inputs))",
    )
    work = own_work(write(content), width=8)
    train, validation = (to_tensors(split, TASK, DATASET.scaling) for split in (TRAIN, VALIDATION))
    with pytest.raises(InputError, match="draws random numbers without a seed; make a keras"):
        build_slot(work, train, validation)


def test_a_variable_that_no_trial_could_set_afresh_is_refused(write: Any) -> None:
    content = "import tensorflow as tf\n" + RESIDUAL.replace(
        "return inputs * self.factor",
        "return inputs * self.factor * self.calls.assign_add(1.0)",
    ).replace(
        "class Scale(layers.Layer):",
        "class Scale(layers.Layer):\n    calls = tf.Variable(0.0, name='calls')\n",
    )
    work = own_work(write(content), width=8)
    train, validation = (to_tensors(split, TASK, DATASET.scaling) for split in (TRAIN, VALIDATION))
    with pytest.raises(
        InputError, match="calls:0: a variable that cannot be reset for a new trial"
    ):
        build_slot(work, train, validation)


def test_a_network_that_cannot_be_saved_is_told_before_it_is_trained(write: Any) -> None:
    content = RESIDUAL.replace(
        "class Scale(layers.Layer):",
        "class Scale(layers.Layer):\n    def __init__(self, rule):\n        super().__init__()\n",
    ).replace("Scale()", "Scale(object())")
    params = own_params(write(content), width=8)
    with pytest.raises(InputError, match=r"build: NotImplementedError: .*get_config"):
        check_can_be_saved(params.model, DATASET)


def test_the_gradients_of_an_embedding_are_dense_for_an_optimizer_of_ones_own(
    write: Any,
) -> None:
    content = (
        "import keras\n\n\nclass Descent(keras.optimizers.Optimizer):\n"
        "    def update_step(self, gradient, variable, learning_rate):\n"
        "        self.assign_sub(variable, learning_rate * (gradient * 1.5))\n"
    )
    name, optimizer_name = write(TOKENS), write(content, "Descent")
    tokens = np.random.default_rng(0).integers(20, size=(75, 5)).astype(np.int32)
    dataset = replace(
        DATASET, input_shape=(5,), input_dtype="int32", scaling=Scaling((), (), (), ())
    )
    params = small_params({"it": optimizer(class_name=optimizer_name)})
    model = OwnModel.model_validate({"name": name})
    params = params.model_copy(update={"model": model})
    work = plan_work("it", params, dataset, "", describe_environment())
    data = to_tensors(Examples(tokens, TRAIN.targets), TASK, dataset.scaling)
    slot = build_slot(work, data, data)
    slot.reset(1, 1.0)
    losses = [scores.loss for scores in train_epochs(slot, np.arange(75), 5)]
    assert losses == sorted(losses, reverse=True)


def test_installed_code_is_made_of_its_own_file() -> None:
    assert own_files("model.name", "keras.applications:MobileNetV2")[0].name == "__init__.py"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.nets:build", "no_such_package"),
        ("keras.no_such_module:build", "no module 'keras.no_such_module' is installed"),
        ("stages.engine.models:mlp", "should be like models/FILE.py:NAME or package.module:NAME"),
        ("tests.examples:unnamed_network", "move it to models"),
        ("models/nothing.py:build", "no file 'models/nothing.py'"),
    ],
)
def test_a_name_that_leads_to_no_own_code_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_files("model.name", name)


@pytest.mark.thorough
def test_an_application_of_keras_trains(write: Any) -> None:
    content = (
        "import keras\n\n\ndef build(input_shape, n_outputs):\n"
        "    return keras.applications.MobileNetV2(\n"
        "        input_shape, alpha=0.35, weights=None, classes=n_outputs,\n"
        "        classifier_activation=None\n    )\n"
    )
    inputs = np.random.default_rng(0).integers(256, size=(32, 32, 32, 3), dtype=np.uint8)
    dataset = replace(DATASET, input_shape=(32, 32, 3))
    network = build_network(own_params(write(content)).model, dataset)
    assert network.model(inputs, training=False).shape == (32, 4)
