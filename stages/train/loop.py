"""The training loop: a whole epoch in one compiled function.

What `keras.Model.fit` does minibatch by minibatch from Python, a loop inside one TensorFlow graph
does here: the same model, the same optimizer, the same arithmetic, without the calls in between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.common.artifacts import Examples
from stages.train.models import has_convolution, initialise

VALIDATION_CHUNK = 1000


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats and the fraction of right predictions."""

    loss: float
    accuracy: float


class Slot:
    """A network, an optimizer and the compiled epoch, set afresh for every trial.

    Args:
        model: Gives logits.
        optimizer: Not built yet.
        train: Training examples; they stay in memory as `uint8`.
        validation: Validation examples.
        batch_size: Images per step; an epoch's last minibatch may be smaller, as in Keras.
        jit_compile: Whether XLA compiles the epoch; see `resolve_jit_compile`.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        train: Examples,
        validation: Examples,
        *,
        batch_size: int,
        jit_compile: bool,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.n_train = len(train.labels)
        self.n_steps_per_epoch = ceil(self.n_train / batch_size)
        optimizer.build(model.trainable_variables)
        self._optimizer_variables = [(v, v.numpy()) for v in optimizer.variables]
        compiled = tf.function(jit_compile=jit_compile)
        self._train_epoch = compiled(_train_epoch(model, optimizer, _tensors(train), batch_size))
        self._score = compiled(_score(model, _tensors(validation)))
        self._n_validation = len(validation.labels)

    def reset(self, seed: int) -> None:
        """Starts a trial: initial weights from the seed, the optimizer as if it were new."""
        initialise(self.model, seed)
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
        self.optimizer.finalize_variable_values(self.model.trainable_variables)

    def validate(self) -> Scores:
        return _as_scores(self._score(), self._n_validation)


def resolve_jit_compile(model: keras.Model, setting: Literal["auto"] | bool) -> bool:
    """Whether XLA compiles the epoch.

    On a CPU, XLA makes convolutions within a loop about 20 times slower. The rule looks at the
    model and the device and never at a clock, so it cannot vary from run to run.
    """
    if setting != "auto":
        return setting
    return not has_convolution(model) or bool(tf.config.list_physical_devices("GPU"))


def _tensors(examples: Examples) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(examples.images), tf.constant(examples.labels.astype(np.int32))


Sums = tuple[tf.Tensor, tf.Tensor]


def _train_epoch(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    data: tuple[tf.Tensor, tf.Tensor],
    batch_size: int,
) -> Callable[[tf.Tensor], Sums]:
    images, labels = data
    weights = model.trainable_variables
    n_full_steps, n_left = divmod(len(labels), batch_size)

    def step(indices: tf.Tensor) -> Sums:
        batch_labels = tf.gather(labels, indices)
        with tf.GradientTape() as tape:
            logits = model(tf.gather(images, indices), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, logits)
            loss = tf.add_n([tf.reduce_mean(losses), *model.losses])
            scaled_loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, [weight.value for weight in weights])
        optimizer.apply(gradients, weights)
        return _sums(losses, logits, batch_labels)

    def epoch(order: tf.Tensor) -> Sums:
        loss, n_right = tf.constant(0.0), tf.constant(0)
        batches = tf.reshape(order[: n_full_steps * batch_size], (n_full_steps, batch_size))
        for index in tf.range(n_full_steps):
            step_loss, step_right = step(batches[index])
            loss, n_right = loss + step_loss, n_right + step_right
        if n_left:
            step_loss, step_right = step(order[n_full_steps * batch_size :])
            loss, n_right = loss + step_loss, n_right + step_right
        return loss, n_right

    return epoch


def _score(model: keras.Model, data: tuple[tf.Tensor, tf.Tensor]) -> Callable[[], Sums]:
    images, labels = data

    def score() -> Sums:
        loss, n_right = tf.constant(0.0), tf.constant(0)
        for start in range(0, len(labels), VALIDATION_CHUNK):
            chunk_labels = labels[start : start + VALIDATION_CHUNK]
            logits = model(images[start : start + VALIDATION_CHUNK], training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(chunk_labels, logits)
            chunk_loss, chunk_right = _sums(losses, logits, chunk_labels)
            loss, n_right = loss + chunk_loss, n_right + chunk_right
        return loss, n_right

    return score


def _sums(losses: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor) -> Sums:
    is_right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
    return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(is_right, tf.int32))


def _as_scores(sums: Sums, n: int) -> Scores:
    loss, n_right = sums
    return Scores(loss=float(loss) / n, accuracy=int(n_right) / n)
