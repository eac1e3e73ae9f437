"""AdEMAMix: Adam with a second, much slower mean of gradients."""

import math

import keras
from keras import ops


class AdEMAMix(keras.optimizers.Optimizer):
    """AdamW that steps along a mixture of a fast and a slow mean of gradients.

    At step t, counted from 1, with g the gradient:

        m <- beta_1 * m + (1 - beta_1) * g
        n <- beta_3(t) * n + (1 - beta_3(t)) * g
        v <- beta_2 * v + (1 - beta_2) * g^2
        x <- x - learning_rate * (m / (1 - beta_1^t) + alpha(t) * n)
                               / (sqrt(v / (1 - beta_2^t)) + epsilon)

    alpha(t) rises linearly from 0 to alpha. beta_3(t) rises from beta_1 to beta_3, so that the time
    the slow mean looks back, 1 / ln(beta_3(t)), changes linearly.

    Args:
        learning_rate: Number or schedule. Defaults to 0.001.
        beta_1: Decay of the fast mean of gradients. Defaults to 0.9.
        beta_2: Decay of the mean of their squares. Defaults to 0.999.
        beta_3: Decay of the slow mean. Defaults to 0.9999, for runs of many ten thousands of
            steps; the paper takes 0.999 for short ones.
        alpha: Weight of the slow mean. Defaults to 5.0; the paper uses 4 to 10.
        alpha_warmup_steps: Steps in which alpha rises; 0 for none, the default. The paper takes
            the length of the training.
        beta_3_warmup_steps: Steps in which beta_3 rises; 0 for none, the default. The paper takes
            the length of the training.
        epsilon: Keeps the denominator from zero. Defaults to 1e-8.
        weight_decay: Decoupled decay, times the learning rate. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Pagliardini, Ablin and Grangier 2024, The AdEMAMix optimizer: Better, faster, older,
        arXiv:2409.03137, algorithm 1. It departs from the paper nowhere, but for the two warm-ups
        being off unless their lengths are given.
    """

    def __init__(  # noqa: PLR0913, PLR0917, as many as the paper has
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        beta_3=0.9999,
        alpha=5.0,
        alpha_warmup_steps=0,
        beta_3_warmup_steps=0,
        epsilon=1e-8,
        weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        if beta_3_warmup_steps and not (0 < beta_1 < 1 and 0 < beta_3 < 1):
            raise ValueError(
                "A warm-up of `beta_3` needs `beta_1` and `beta_3` between 0 and 1. Received: "
                f"beta_1={beta_1}, beta_3={beta_3}"
            )
        self.beta_1, self.beta_2, self.beta_3 = beta_1, beta_2, beta_3
        self.alpha = alpha
        self.alpha_warmup_steps = alpha_warmup_steps
        self.beta_3_warmup_steps = beta_3_warmup_steps
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._slow_momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "slow_momentum", "velocity"]
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, slow = self._momentums[index], self._slow_momentums[index]
        velocity = self._velocities[index]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        beta_1_power = ops.power(self.beta_1, step)
        beta_2_power = ops.power(self.beta_2, step)
        self.assign_add(momentum, (1 - self.beta_1) * (gradient - momentum))
        self.assign_add(slow, (1 - self._beta_3_at(step)) * (gradient - slow))
        self.assign_add(velocity, (1 - self.beta_2) * (ops.square(gradient) - velocity))
        mixture = momentum / (1 - beta_1_power) + self._alpha_at(step) * slow
        denominator = ops.sqrt(velocity / (1 - beta_2_power)) + self.epsilon
        self.assign_sub(variable, rate * mixture / denominator)

    def _alpha_at(self, step):
        if not self.alpha_warmup_steps:
            return self.alpha
        return self.alpha * ops.minimum(step / self.alpha_warmup_steps, 1.0)

    def _beta_3_at(self, step):
        if not self.beta_3_warmup_steps:
            return self.beta_3
        done = ops.minimum(step / self.beta_3_warmup_steps, 1.0)
        return ops.exp(1 / ((1 - done) / math.log(self.beta_1) + done / math.log(self.beta_3)))

    def get_config(self):
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "beta_3": self.beta_3,
            "alpha": self.alpha,
            "alpha_warmup_steps": self.alpha_warmup_steps,
            "beta_3_warmup_steps": self.beta_3_warmup_steps,
            "epsilon": self.epsilon,
        }
