"""Schedule-free AdamW as in its paper; Keras's own, with TensorFlow, is another method."""

from keras import ops

from optimizers.schedule_free_sgd import ScheduleFreeSGD


class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-free SGD along gradients that Adam's second moment scales.

    At step t, counted from 1, with g the gradient at y, the weights in training:

        v <- beta_2 * v + (1 - beta_2) * g^2
        z <- z - learning_rate * (g / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay * y)

    and x and y as in `ScheduleFreeSGD`.

    In Keras 3.15 with TensorFlow, `keras.optimizers.ScheduleFreeAdamW` takes z after its update for
    the one before it. Its weights in training are then the plain mean of all z, whatever beta_1
    is: an average, but not this method.

    Args:
        learning_rate: Number, or a schedule for a warm-up; it needs no decay. Defaults to 0.0025.
        beta_1: Where y lies between z (0) and x (1). Defaults to 0.9.
        beta_2: Decay of the mean of squared gradients. Defaults to 0.999.
        epsilon: Keeps the denominator from zero. Defaults to 1e-8.
        weight_decay: Decay at y, times the learning rate. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Defazio et al. 2024, The road less scheduled, arXiv:2405.15682, algorithm 1. It departs
        from the paper, as the authors' code does, in correcting the bias of v itself instead of the
        learning rate, so that the correction has no part in the weights of the average.
    """

    def __init__(
        self,
        learning_rate=0.0025,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate, beta_1, weight_decay, **kwargs)
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def _direction(self, gradient, variable):
        velocity = self._velocities[self._get_variable_index(variable)]
        beta_2_power = ops.power(self.beta_2, ops.cast(self.iterations + 1, variable.dtype))
        self.assign_add(velocity, (1 - self.beta_2) * (ops.square(gradient) - velocity))
        return gradient / (ops.sqrt(velocity / (1 - beta_2_power)) + self.epsilon)

    def get_config(self):
        return super().get_config() | {"beta_2": self.beta_2, "epsilon": self.epsilon}
