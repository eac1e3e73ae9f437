"""The training loop: a whole epoch in one compiled function.

What `keras.Model.fit` does minibatch by minibatch from Python, a loop inside one TensorFlow graph
does here: the same model, the same optimizer, the same arithmetic, without the calls in between.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import ceil
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.common.data import Examples, Scaling
from stages.common.params import Task
from stages.engine.determinism import allow_avx512
from stages.engine.models import Network, initialise, is_slow_in_xla
from stages.engine.objective import Objective, build_objective

VALIDATION_CHUNK = 1000
# TensorFlow reads its functions' source when it traces them, and Python 3.11 cannot parse in two
# threads at once (SystemError: AST constructor recursion depth mismatch).
_TRACING = threading.Lock()


@dataclass(frozen=True)
class Scores:
    """Mean loss and score over examples."""

    loss: float
    score: float


@dataclass(frozen=True)
class Tensors:
    """A split for TensorFlow: inputs and targets as `Examples` has them, and how it is judged."""

    inputs: tf.Tensor
    targets: tf.Tensor
    objective: Objective


def to_tensors(examples: Examples, task: Task, scaling: Scaling) -> Tensors:
    objective = build_objective(task, scaling, examples.targets)
    return Tensors(tf.constant(examples.inputs), tf.constant(examples.targets), objective)


class Slot:
    """A network, an optimizer and the compiled epoch, set afresh for every trial.

    Args:
        network: Gives logits or scaled values.
        optimizer: Not built yet.
        factor: What the optimizer multiplies its learning rate by.
        train: Training examples, which slots may share.
        validation: Validation examples.
        batch_size: Examples per step; an epoch's last minibatch may be smaller, as in Keras.
        jit_compile: Whether XLA compiles the epoch; see `resolve_jit_compile`.
    """

    def __init__(
        self,
        network: Network,
        optimizer: keras.optimizers.Optimizer,
        factor: keras.Variable,
        train: Tensors,
        validation: Tensors,
        *,
        batch_size: int,
        jit_compile: bool,
    ) -> None:
        if not jit_compile:
            allow_avx512()
        self._network, self._optimizer, self._factor = network, optimizer, factor
        self.model = model = network.model
        self.n_train, self._n_validation = len(train.targets), len(validation.targets)
        self.n_steps_per_epoch = ceil(self.n_train / batch_size)
        optimizer.build(model.trainable_variables)
        self._optimizer_variables = [(v, v.numpy()) for v in optimizer.variables]
        compiled = tf.function(jit_compile=jit_compile)
        train_epoch = compiled(_train_epoch(model, optimizer, train, batch_size))
        with _TRACING:
            order = tf.TensorSpec((self.n_train,), tf.int32)
            self._train_epoch = train_epoch.get_concrete_function(order)
            self._score = compiled(_score(model, validation)).get_concrete_function()

    def reset(self, seed: int, learning_rate_factor: float) -> None:
        """Starts a trial: initial weights from the seed, the optimizer as if it were new."""
        initialise(self._network, seed)
        self._factor.assign(learning_rate_factor)
        for variable, initial in self._optimizer_variables:
            variable.assign(initial)

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
        if not is_keras:  # whose authors think of dense gradients, which an embedding's are not
            gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        optimizer.apply(gradients, weights)
        return _sums(losses, data.objective.scores(targets, outputs))

    return lambda order: _sum_over(step, order, batch_size)


def _score(model: keras.Model, data: Tensors) -> Callable[[], Sums]:
    def score(indices: tf.Tensor) -> Sums:
        targets = tf.gather(data.targets, indices)
        outputs = model(tf.gather(data.inputs, indices), training=False)
        losses = data.objective.losses(targets, outputs)
        return _sums(losses, data.objective.scores(targets, outputs))

    return lambda: _sum_over(score, tf.range(len(data.targets)), VALIDATION_CHUNK)


def _sum_over(step: Callable[[tf.Tensor], Sums], indices: tf.Tensor, size: int) -> Sums:
    """Adds up a step's sums over chunks of the indices; a smaller one may come last."""
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
