"""ADOPT: Adam that converges with any beta_2."""

import keras
from keras import ops


class ADOPT(keras.optimizers.Optimizer):
    """Adam that divides a gradient by the second moment of those before it, and then averages.

    The first gradient only starts the second moment, v = g^2. After it, at t = 1, 2, ...:

        u <- clip(g / max(sqrt(v), epsilon), -c, c) with c = t^clip_exponent
        m <- beta_1 * m + (1 - beta_1) * u
        x <- x - learning_rate * m
        v <- beta_2 * v + (1 - beta_2) * g^2

    Args:
        learning_rate: Number or schedule. Defaults to 0.001.
        beta_1: Decay of the mean of scaled gradients. Defaults to 0.9.
        beta_2: Decay of the mean of squared gradients. Defaults to 0.9999.
        epsilon: Least value of the denominator. Defaults to 1e-6.
        clip_exponent: How the limit of scaled gradients grows; None for no limit. Defaults to 0.25.
        weight_decay: Decoupled decay, times the learning rate. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Taniguchi et al. 2024, ADOPT: Modified Adam can converge with any beta2 with the optimal
        rate, arXiv:2411.02853, with the clipping that a revision added. It departs from the paper
        in that weights decay at the first step as well, as Keras's do.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.9999,
        epsilon=1e-6,
        clip_exponent=0.25,
        weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon = epsilon
        self.clip_exponent = clip_exponent

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations, variable.dtype)
        is_first = ops.equal(self.iterations, 0)
        scaled = gradient / ops.maximum(ops.sqrt(velocity), self.epsilon)
        if self.clip_exponent is not None:
            limit = ops.power(step, self.clip_exponent)
            scaled = ops.clip(scaled, -limit, limit)
        # At the first step there is no second moment to divide by, so the weights stay.
        scaled = ops.where(is_first, ops.zeros_like(scaled), scaled)
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * scaled)
        self.assign_sub(variable, rate * momentum)
        square = ops.square(gradient)
        mean = self.beta_2 * velocity + (1 - self.beta_2) * square
        self.assign(velocity, ops.where(is_first, square, mean))

    def get_config(self):
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "clip_exponent": self.clip_exponent,
        }
