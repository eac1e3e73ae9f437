"""Schedule-free SGD: an average of the weights in the place of a schedule."""

import keras
from keras import ops


class ScheduleFreeSGD(keras.optimizers.Optimizer):
    """SGD at z, whose average x is what is evaluated; gradients are taken at y, between the two.

    The weights in training are y. At each step, with g their gradient:

        z <- z - learning_rate * (g + weight_decay * y)
        x <- (1 - c) * x + c * z, with c = learning_rate^2 / (the sum of its squares so far)
        y <- (1 - beta_1) * z + beta_1 * x

    The one state per weight is m = z - x, which begins at zero; x = y - (1 - beta_1) * m.

    Args:
        learning_rate: Number, or a schedule for a warm-up; it needs no decay. Defaults to 1.0.
        beta_1: Where y lies between z (0) and x (1). Defaults to 0.9.
        weight_decay: Decay at y, as part of the gradient. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Defazio et al. 2024, The road less scheduled, arXiv:2405.15682, equations 9 to 11, with
        the weights c of algorithm 1. It departs from the paper in keeping z - x instead of z, which
        is the same but for rounding.
    """

    def __init__(self, learning_rate=1.0, beta_1=0.9, weight_decay=None, **kwargs):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        if not 0 <= beta_1 <= 1:
            raise ValueError(f"Argument `beta_1` must be in [0, 1]. Received: beta_1={beta_1}")
        self.beta_1 = beta_1

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._weight_sum = self.add_variable((), "zeros", variables[0].dtype, name="weight_sum")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Once for all variables.
        weight = ops.square(ops.cast(learning_rate, self._weight_sum.dtype))
        self.assign_add(self._weight_sum, weight)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        momentum = self._momentums[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype)
        direction = self._direction(ops.cast(gradient, variable.dtype), variable)
        if self.weight_decay and self._use_weight_decay(variable):
            direction = direction + self.weight_decay * variable
        weight_sum = ops.cast(self._weight_sum, variable.dtype)
        c = ops.divide_no_nan(ops.square(rate), weight_sum)
        moved = momentum - rate * direction  # the new z - the old x
        average = variable - (1 - self.beta_1) * momentum + c * moved
        self.assign(momentum, (1 - c) * moved)
        self.assign(variable, average + (1 - self.beta_1) * momentum)

    def _direction(self, gradient, variable):  # noqa: ARG002, for those that scale the gradient
        """What z goes along, but for the decay."""
        return gradient

    def _apply_weight_decay(self, variables):
        """Left to the step, where it is part of the gradient."""

    def evaluation_point(self, variables):
        """The averages x of these variables, which stand at y, in their order."""
        return [
            variable - (1 - self.beta_1) * self._momentums[self._get_variable_index(variable)]
            for variable in variables
        ]

    def get_config(self):
        return super().get_config() | {"beta_1": self.beta_1}
