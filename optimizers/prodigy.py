"""Prodigy: Adam that finds its own learning rate."""

import keras
from keras import ops


class Prodigy(keras.optimizers.Optimizer):
    """Adam whose step size grows with an estimate d of the distance to the solution.

    With g the gradient, eta the learning rate (a factor, usually 1), x0 the weights at the first
    step, and sums and norms over the weights of the whole network:

        m <- beta_1 * m + (1 - beta_1) * d * g
        v <- beta_2 * v + (1 - beta_2) * (d * g)^2
        r <- beta_3 * r + eta * d^2 * sum(g * (x0 - x))
        s <- beta_3 * s + eta * d^2 * g
        x <- x - eta * d * (m / (sqrt(v) + d * epsilon) + weight_decay * x)
        d <- max(d, d_coef * r / |s|_1)

    Each line uses the d with which the step began.

    Args:
        learning_rate: Factor of the step size that is found, or its schedule. Defaults to 1.0,
            which the paper never changes.
        beta_1: Decay of the mean of gradients. Defaults to 0.9.
        beta_2: Decay of the mean of their squares. Defaults to 0.999.
        beta_3: Decay of what estimates the distance. Defaults to None, the square root of beta_2.
        epsilon: Keeps the denominator from zero. Defaults to 1e-8.
        d0: First estimate of the distance, which should be too small. Defaults to 1e-6.
        d_coef: Factor of later estimates, by which the method is tuned. Defaults to 1.0.
        use_bias_correction: Multiplies eta by Adam's
            sqrt(1 - beta_2^t) / (1 - beta_1^t) at step t. Defaults to False, as in the paper.
        safeguard_warmup: Leaves eta out of s, so that a warm-up of the learning rate does not
            inflate the estimates. Defaults to False, as in the paper.
        weight_decay: Decoupled decay, times the found step size. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Mishchenko and Defazio 2023, Prodigy: An expeditiously adaptive parameter-free learner,
        arXiv:2306.06101, algorithm 4. It differs from the paper in constants that cancel in r / s
        (1 - beta_3 is left out, and 1 / d0 keeps float32 from underflow), and in the options for
        weight decay, bias correction and warm-up, which are those of the authors' code.
    """

    def __init__(  # noqa: PLR0913, PLR0917, as many as the paper has
        self,
        learning_rate=1.0,
        beta_1=0.9,
        beta_2=0.999,
        beta_3=None,
        epsilon=1e-8,
        d0=1e-6,
        d_coef=1.0,
        use_bias_correction=False,
        safeguard_warmup=False,
        weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        if not d0 > 0:
            raise ValueError(f"Argument `d0` must be positive. Received: d0={d0}")
        self.beta_1, self.beta_2, self.beta_3 = beta_1, beta_2, beta_3
        self.epsilon = epsilon
        self.d0, self.d_coef = d0, d_coef
        self.use_bias_correction = use_bias_correction
        self.safeguard_warmup = safeguard_warmup

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        names = ["momentum", "velocity", "gradient_sum", "initial"]
        self._momentums, self._velocities, self._gradient_sums, self._initials = (
            self.add_optimizer_variables(variables, names)
        )
        dtype = variables[0].dtype
        self._distance = self.add_variable(
            (), keras.initializers.Constant(self.d0), dtype, name="distance"
        )
        self._numerator = self.add_variable((), "zeros", dtype, name="numerator")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # The estimate needs all gradients, and the weights before any of them moves.
        distance = self._estimate_distance(grads, trainable_variables, learning_rate)
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        self.assign(self._distance, distance)

    def _estimate_distance(self, gradients, variables, learning_rate):
        """Updates r and s, and gives the next d."""
        dtype = self._distance.dtype
        beta_3 = self.beta_2**0.5 if self.beta_3 is None else self.beta_3
        scale = ops.square(self._distance) / self.d0
        factor = scale * self._step_factor(learning_rate, dtype)
        progress, norm = ops.zeros((), dtype), ops.zeros((), dtype)
        for gradient, variable in zip(gradients, variables, strict=True):
            index = self._get_variable_index(variable)
            initial, gradient_sum = self._initials[index], self._gradient_sums[index]
            self.assign(initial, ops.where(ops.equal(self.iterations, 0), variable, initial))
            moved = ops.sum(ops.multiply(gradient, ops.subtract(initial, variable)))
            progress = progress + ops.cast(moved, dtype)
            weight = ops.cast(scale if self.safeguard_warmup else factor, variable.dtype)
            self.assign(gradient_sum, beta_3 * gradient_sum + weight * gradient)
            norm = norm + ops.cast(ops.sum(ops.abs(gradient_sum)), dtype)
        self.assign(self._numerator, beta_3 * self._numerator + factor * progress)
        estimate = self.d_coef * ops.divide_no_nan(self._numerator, norm)
        return ops.maximum(self._distance, estimate)

    def _step_factor(self, learning_rate, dtype):
        """Eta, with Adam's bias correction if that is wanted."""
        factor = ops.cast(learning_rate, dtype)
        if not self.use_bias_correction:
            return factor
        step = ops.cast(self.iterations + 1, dtype)
        beta_1_power = ops.power(self.beta_1, step)
        beta_2_power = ops.power(self.beta_2, step)
        return factor * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        distance = ops.cast(self._distance, variable.dtype)
        rate = distance * self._step_factor(learning_rate, variable.dtype)
        scaled = distance * ops.cast(gradient, variable.dtype)
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * scaled)
        self.assign(velocity, self.beta_2 * velocity + (1 - self.beta_2) * ops.square(scaled))
        update = momentum / (ops.sqrt(velocity) + distance * self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + self.weight_decay * variable
        self.assign_sub(variable, rate * update)

    def _apply_weight_decay(self, variables):
        """Left to the step, since Keras's decay does not know the step size that is found."""

    def get_config(self):
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "beta_3": self.beta_3,
            "epsilon": self.epsilon,
            "d0": self.d0,
            "d_coef": self.d_coef,
            "use_bias_correction": self.use_bias_correction,
            "safeguard_warmup": self.safeguard_warmup,
        }
