"""The training loop: a whole epoch in one compiled function.

`keras.Model.fit` calls a compiled function from Python for every minibatch. Here a loop inside one
TensorFlow graph does the same, with the same model, optimizer and arithmetic, but without the calls
in between.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.common.data import Examples, Scaling
from stages.common.errors import InputError
from stages.common.params import Task
from stages.engine.averaging import begin_at, evaluation_point
from stages.engine.determinism import allow_avx512
from stages.engine.models import Network, initialise, is_slow_in_xla
from stages.engine.objective import Objective, build_objective

VALIDATION_CHUNK = 1000


@dataclass(frozen=True)
class Scores:
    """Mean loss and score over examples."""

    loss: float
    score: float


@dataclass(frozen=True)
class Tensors:
    """A split for TensorFlow: inputs and targets as in `Examples`, and how they are judged."""

    inputs: tf.Tensor
    targets: tf.Tensor
    objective: Objective


def to_tensors(examples: Examples, task: Task, scaling: Scaling) -> Tensors:
    objective = build_objective(task, scaling, examples.targets)
    return Tensors(tf.constant(examples.inputs), tf.constant(examples.targets), objective)


@dataclass(frozen=True)
class Program:
    """A compiled epoch and validation, for any network and optimizer built in the same way.

    `variables` are those that it was compiled with, in an order that all such networks share.
    """

    train_epoch: Any
    score: Any
    variables: tuple[tf.Variable, ...]


class Slot:
    """A network, an optimizer and the compiled epoch, reset for every trial.

    Args:
        network: Outputs logits or scaled values.
        optimizer: Not built yet.
        factor: The variable that the optimizer multiplies its learning rate by.
        splits: Training and validation examples, which slots may share.
        batch_size: Examples per step; an epoch's last minibatch may be smaller, as in Keras.
        jit_compile: Whether XLA compiles the epoch; see `resolve_jit_compile`.
        program: From another slot with the same network, optimizer and data; None compiles one.

    Raises:
        InputError: If the network or the optimizer keeps a variable that Keras does not know of,
            which could not be reset for a trial.
    """

    def __init__(
        self,
        network: Network,
        optimizer: keras.optimizers.Optimizer,
        factor: keras.Variable,
        splits: tuple[Tensors, Tensors],
        *,
        batch_size: int,
        jit_compile: bool,
        program: Program | None = None,
    ) -> None:
        if not jit_compile:
            allow_avx512()
        self._network, self._optimizer, self._factor = network, optimizer, factor
        self.model = model = network.model
        train, validation = splits
        self.n_train, self._n_validation = len(train.targets), len(validation.targets)
        self.n_steps_per_epoch = ceil(self.n_train / batch_size)
        optimizer.build(model.trainable_variables)
        self._optimizer_variables = [(v, v.numpy()) for v in optimizer.variables]
        variables = tuple(v.value for v in (*model.variables, *optimizer.variables, factor))
        if program is None:
            compiled = tf.function(jit_compile=jit_compile)
            order = tf.TensorSpec((self.n_train,), tf.int32)
            program = Program(
                compiled(_train_epoch(model, optimizer, train, batch_size)).get_concrete_function(
                    order
                ),
                compiled(_score(model, optimizer, validation)).get_concrete_function(),
                variables,
            )
        self.program = program
        self._train_epoch = _bind(program.train_epoch, program.variables, variables)
        self._score = _bind(program.score, program.variables, variables)

    def reset(self, seed: int, learning_rate_factor: float) -> None:
        """Starts a trial: initial weights from the seed, the optimizer as if it were new."""
        initialise(self._network, seed)
        self._factor.assign(learning_rate_factor)
        for variable, initial in self._optimizer_variables:
            variable.assign(initial)
        begin_at(self._optimizer, self.model.trainable_variables)

    def train_epoch(self, order: npt.NDArray[np.int32]) -> Scores:
        """Trains one epoch.

        Args:
            order: Shape (n_train,), the training examples in the order of use.

        Returns:
            Means over the epoch's examples, each scored just before its minibatch's update.
        """
        return _as_scores(self._train_epoch(tf.constant(order)), self.n_train)

    def finish(self) -> None:
        """Ends a trial: weights become their moving average where the optimizer keeps one."""
        self._optimizer.finalize_variable_values(self.model.trainable_variables)

    def take_evaluation_point(self) -> None:
        """Sets the weights to those that the optimizer is evaluated with, if they differ."""
        weights = self.model.trainable_variables
        point = evaluation_point(self._optimizer, weights)
        if point is not None:
            _assign(weights, point)

    def validate(self) -> Scores:
        return _as_scores(self._score(), self._n_validation)


def resolve_jit_compile(
    network: Network, setting: Literal["auto"] | bool, devices: Collection[str]
) -> bool:
    """Whether XLA compiles the epoch.

    On a CPU, XLA makes convolutions within a loop about 20 times slower, and dropout several times.
    The rule looks at the network and the kinds of device and never at a clock, so it cannot vary
    from run to run.
    """
    if setting != "auto":
        return setting
    return not is_slow_in_xla(network) or set(devices) != {"CPU"}


Sums = tuple[tf.Tensor, tf.Tensor]


def _bind(
    function: Any, compiled_with: Sequence[tf.Variable], variables: Sequence[tf.Variable]
) -> Callable[..., Sums]:
    """The compiled function, with other variables than those that it was compiled with."""
    handles = {
        id(old.handle): new.handle for old, new in zip(compiled_with, variables, strict=True)
    }
    for variable in function.graph.variables:
        if id(variable.handle) not in handles:
            raise InputError(
                f"{variable.name}: a variable that cannot be reset for a new trial; create it with "
                "add_weight in a layer, or with add_variable in an optimizer"
            )
    captured = [handles.get(id(tensor), tensor) for tensor in function.captured_inputs]
    # There is no public way to call a function on other variables.
    return lambda *arguments: function._call_flat(list(arguments), captured)  # noqa: SLF001


def _train_epoch(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    data: Tensors,
    batch_size: int,
) -> Callable[[tf.Tensor], Sums]:
    weights = model.trainable_variables
    is_keras = type(optimizer).__module__.startswith("keras.")

    def step(indices: tf.Tensor) -> Sums:
        targets = tf.gather(data.targets, indices)
        with tf.GradientTape() as tape:
            outputs = model(tf.gather(data.inputs, indices), training=True)
            losses = data.objective.losses(targets, outputs)
            loss = tf.add_n([tf.reduce_mean(losses), *model.losses])
            scaled_loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, [weight.value for weight in weights])
        if not is_keras:  # may expect dense gradients, and an embedding's are sparse
            gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        optimizer.apply(gradients, weights)
        return _sums(losses, data.objective.scores(targets, outputs))

    return lambda order: _sum_over(step, order, batch_size)


def _score(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, data: Tensors
) -> Callable[[], Sums]:
    weights = model.trainable_variables

    def score(indices: tf.Tensor) -> Sums:
        targets = tf.gather(data.targets, indices)
        outputs = model(tf.gather(data.inputs, indices), training=False)
        losses = data.objective.losses(targets, outputs)
        return _sums(losses, data.objective.scores(targets, outputs))

    def score_all() -> Sums:
        point = evaluation_point(optimizer, weights)
        if point is None:
            return _sum_over(score, tf.range(len(data.targets)), VALIDATION_CHUNK)
        trained = [tf.identity(weight.value) for weight in weights]
        _assign(weights, point)
        sums = _sum_over(score, tf.range(len(data.targets)), VALIDATION_CHUNK)
        _assign(weights, trained)
        return sums

    return score_all


def _assign(weights: Sequence[keras.Variable], values: Sequence[tf.Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)


def _sum_over(step: Callable[[tf.Tensor], Sums], indices: tf.Tensor, size: int) -> Sums:
    """Adds up a step's sums over chunks of the indices; the last chunk may be smaller."""
    n_full, n_left = divmod(len(indices), size)
    loss, score = tf.constant(0.0), tf.constant(0.0)
    if n_full:
        chunks = tf.reshape(indices[: n_full * size], (n_full, size))
        for index in tf.range(n_full):
            step_loss, step_score = step(chunks[index])
            loss, score = loss + step_loss, score + step_score
    if n_left:
        step_loss, step_score = step(indices[n_full * size :])
        loss, score = loss + step_loss, score + step_score
    return loss, score


def _sums(losses: tf.Tensor, scores: tf.Tensor) -> Sums:
    return tf.reduce_sum(losses), tf.reduce_sum(scores)


def _as_scores(sums: Sums, n: int) -> Scores:
    loss, score = map(float, sums)
    return Scores(loss=loss / n, score=score / n)
