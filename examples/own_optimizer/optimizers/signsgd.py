"""Sign descent, with momentum.

Source: Bernstein et al. 2018, signSGD: compressed optimisation for non-convex problems,
    arXiv:1802.04434.
"""

import keras
from keras import ops


class SignSGD(keras.optimizers.Optimizer):
    """m <- momentum * m + (1 - momentum) * g, w <- w - learning_rate * sign(m)."""

    def __init__(self, learning_rate=0.001, momentum=0.9, **arguments):
        super().__init__(learning_rate=learning_rate, **arguments)
        self.momentum = momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.means = self.add_optimizer_variables(variables, "mean")

    def update_step(self, gradient, variable, learning_rate):
        mean = self.means[self._get_variable_index(variable)]
        self.assign(mean, self.momentum * mean + (1 - self.momentum) * gradient)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.sign(mean))

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum}
