"""The training loop: whole epochs, with their validation, in one compiled function.

`keras.Model.fit` calls a compiled function from Python for every minibatch. Here a loop inside one
TensorFlow graph does the same, with the same model, optimizer and arithmetic, but without the calls
in between.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from stages.common.data import Examples, Scaling
from stages.common.errors import InputError
from stages.common.params import Task, Train
from stages.engine.averaging import begin_at, evaluation_point
from stages.engine.determinism import allow_avx512
from stages.engine.models import Network, initialise, is_slow_in_xla
from stages.engine.objective import Objective, build_objective

Assign = Callable[[Any, Any], None]
VALIDATION_CHUNK = 1000
# How often a call uses a weight for an example, if it does more than one epoch.
N_USES_PER_CALL = 500_000_000


@dataclass(frozen=True)
class Scores:
    """Mean loss and score over examples."""

    loss: float
    score: float


@dataclass(frozen=True)
class Epoch:
    """Scores of one epoch.

    `training` is over its minibatches, each scored just before its update; `validation` is at the
    epoch's end.
    """

    training: Scores
    validation: Scores

    @property
    def is_finite(self) -> bool:
        scores = (self.training, self.validation)
        return all(isfinite(each.loss) and isfinite(each.score) for each in scores)


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
    """Compiled training and validation, for any network and optimizer built in the same way.

    `variables` are those that it was compiled with, in an order that all such networks share;
    `validate` is None where `train` does all that is needed.
    """

    train: Any
    validate: Any | None
    variables: tuple[tf.Variable, ...]


class Slot:
    """A network, an optimizer and the compiled training, reset for every trial.

    Args:
        network: Outputs logits or scaled values.
        optimizer: Not built yet.
        factor: The variable that the optimizer multiplies its learning rate by.
        splits: Training and validation examples, which slots may share.
        settings: Have the batch size and the number of epochs. An epoch's last minibatch may be
            smaller, as in Keras.
        jit_compile: Whether XLA compiles the training; see `resolve_jit_compile`.
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
        settings: Train,
        *,
        jit_compile: bool,
        program: Program | None = None,
    ) -> None:
        if jit_compile:
            _compute_state_once(optimizer)
        else:
            allow_avx512()
        self._network, self._optimizer, self._factor = network, optimizer, factor
        self.model = model = network.model
        train, validation = splits
        self.n_train, self._n_validation = len(train.targets), len(validation.targets)
        self.n_steps_per_epoch = ceil(self.n_train / settings.batch_size)
        # As many epochs as take a fraction of a second, since no call can be interrupted.
        n_affordable = N_USES_PER_CALL // (self.n_train * max(1, model.count_params()))
        self.n_epochs_per_call = max(1, min(settings.epochs, n_affordable))
        self._may_average = optimizer.use_ema or not _is_keras(optimizer)
        optimizer.build(model.trainable_variables)
        self._optimizer_variables = [(v, v.numpy()) for v in optimizer.variables]
        variables = tuple(v.value for v in (*model.variables, *optimizer.variables, factor))
        if program is None:
            compiled = tf.function(jit_compile=jit_compile)
            validate = _validate(model, optimizer, validation)
            train_epoch = _train_epoch(model, optimizer, train, settings.batch_size)
            orders = tf.TensorSpec((self.n_epochs_per_call, self.n_train), tf.int32)
            program = Program(
                compiled(_train(train_epoch, validate)).get_concrete_function(
                    orders, tf.TensorSpec((), tf.int32)
                ),
                compiled(validate).get_concrete_function() if self._may_average else None,
                variables,
            )
        self.program = program
        self._train = _bind(program.train, program.variables, variables)
        if program.validate is not None:
            self._validate = _bind(program.validate, program.variables, variables)

    def reset(self, seed: int, learning_rate_factor: float) -> None:
        """Starts a trial: initial weights from the seed, the optimizer as if it were new."""
        initialise(self._network, seed)
        self._factor.assign(learning_rate_factor)
        for variable, initial in self._optimizer_variables:
            variable.assign(initial)
        begin_at(self._optimizer, self.model.trainable_variables)

    def train(self, orders: npt.NDArray[np.int32]) -> list[Epoch]:
        """Trains epochs, up to the first with a loss or score that is not finite.

        Args:
            orders: Shape (n_epochs, n_train), the training examples in the order of use; at most
                `n_epochs_per_call` epochs.
        """
        n_missing = self.n_epochs_per_call - len(orders)
        padded = np.pad(orders, ((0, n_missing), (0, 0)))
        sums = self._train(tf.constant(padded), tf.constant(len(orders), tf.int32))
        epochs: list[Epoch] = []
        for train_loss, train_score, loss, score in sums[: len(orders)].numpy().tolist():
            training = Scores(train_loss / self.n_train, train_score / self.n_train)
            validation = Scores(loss / self._n_validation, score / self._n_validation)
            epochs.append(Epoch(training, validation))
            if not epochs[-1].is_finite:
                break
        return epochs

    def finish(self) -> Scores | None:
        """Ends a trial: weights become their moving average where the optimizer keeps one.

        Returns:
            The validation scores of the final weights; None if they are still the trained ones.
        """
        self._optimizer.finalize_variable_values(self.model.trainable_variables)
        if not self._may_average:
            return None
        loss, score = self._validate().numpy().tolist()
        return Scores(loss / self._n_validation, score / self._n_validation)

    def take_evaluation_point(self) -> None:
        """Sets the weights to those that the optimizer is evaluated with, if they differ."""
        weights = self.model.trainable_variables
        point = evaluation_point(self._optimizer, weights)
        if point is not None:
            _assign(weights, point)


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


def _bind(
    function: Any, compiled_with: Sequence[tf.Variable], variables: Sequence[tf.Variable]
) -> Callable[..., tf.Tensor]:
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


def _compute_state_once(optimizer: keras.optimizers.Optimizer) -> None:
    """Puts a barrier between an optimizer's new state and what is computed from it.

    XLA would compute the state a second time where it computes the weights, in order to fuse both,
    from the old state, of which it makes a copy in every step. No bit changes.
    """
    for inner in getattr(optimizer, "optimizers", (optimizer,)):
        inner.assign, inner.assign_add = _with_barrier(inner.assign, inner.assign_add)


def _with_barrier(assign: Assign, assign_add: Assign) -> tuple[Assign, Assign]:
    def is_dense(value: Any) -> bool:
        return isinstance(value, tf.Tensor) and value.shape.rank != 0

    def assign_once(variable: keras.Variable, value: Any) -> None:
        assign(variable, xla.optimization_barrier(value)[0] if is_dense(value) else value)

    def add_once(variable: keras.Variable, value: Any) -> None:
        if is_dense(value):
            value = tf.cast(value, variable.dtype)
            assign_once(variable, tf.convert_to_tensor(variable) + value)
        else:
            assign_add(variable, value)

    return assign_once, add_once


def _is_keras(optimizer: keras.optimizers.Optimizer) -> bool:
    return type(optimizer).__module__.startswith("keras.")


def _train(
    train_epoch: Callable[[tf.Tensor], tf.Tensor], validate: Callable[[], tf.Tensor]
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The function of orders and how many of them to use; a row of four sums for each epoch."""

    def train(orders: tf.Tensor, n_epochs: tf.Tensor) -> tf.Tensor:
        def goes_on(epoch: tf.Tensor, is_finite: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return tf.logical_and(epoch < n_epochs, is_finite)

        def run_epoch(
            epoch: tf.Tensor, _: tf.Tensor, sums: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            row = tf.concat((train_epoch(orders[epoch]), validate()), 0)
            is_finite = tf.reduce_all(tf.math.is_finite(row))
            return epoch + 1, is_finite, tf.tensor_scatter_nd_update(sums, [[epoch]], [row])

        start = tf.constant(0), tf.constant(value=True), tf.zeros((orders.shape[0], 4))
        *_, sums = tf.while_loop(goes_on, run_epoch, start)
        return sums

    return train


def _train_epoch(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    data: Tensors,
    batch_size: int,
) -> Callable[[tf.Tensor], tf.Tensor]:
    weights = model.trainable_variables
    is_keras = _is_keras(optimizer)

    def step(indices: tf.Tensor) -> tf.Tensor:
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


def _validate(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, data: Tensors
) -> Callable[[], tf.Tensor]:
    weights = model.trainable_variables

    def score(indices: tf.Tensor) -> tf.Tensor:
        targets = tf.gather(data.targets, indices)
        outputs = model(tf.gather(data.inputs, indices), training=False)
        losses = data.objective.losses(targets, outputs)
        return _sums(losses, data.objective.scores(targets, outputs))

    def validate() -> tf.Tensor:
        point = evaluation_point(optimizer, weights)
        trained = [tf.identity(weight.value) for weight in weights if point is not None]
        if point is not None:
            _assign(weights, point)
        sums = _sum_over(score, tf.range(len(data.targets)), VALIDATION_CHUNK)
        if point is not None:
            _assign(weights, trained)
        return sums

    return validate


def _assign(weights: Sequence[keras.Variable], values: Sequence[tf.Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)


def _sum_over(step: Callable[[tf.Tensor], tf.Tensor], indices: tf.Tensor, size: int) -> tf.Tensor:
    """Adds up a step's sums over chunks of the indices; the last chunk may be smaller."""
    n_full, n_left = divmod(indices.shape[0], size)
    sums = tf.zeros(2)
    if n_full:
        chunks = tf.reshape(indices[: n_full * size], (n_full, size))
        for index in tf.range(n_full):
            sums += step(chunks[index])
    if n_left:
        sums += step(indices[n_full * size :])
    return sums


def _sums(losses: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return tf.stack((tf.reduce_sum(losses), tf.reduce_sum(scores)))
