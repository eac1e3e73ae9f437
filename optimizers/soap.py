"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

import keras
from keras import ops


class SOAP(keras.optimizers.Optimizer):
    """Adam on gradients that are rotated, on each axis, into a slowly changing eigenbasis.

    For a matrix of weights, with G its gradient and t counted from 0:

        t = 0: L <- (1 - b) * G G', R <- (1 - b) * G' G with b = shampoo_beta; Q_L and Q_R are
            their eigenvectors, by decreasing eigenvalue; the weights stay
        t > 0: P <- Q_L' G Q_R
               M <- beta_1 * M + (1 - beta_1) * P
               V <- beta_2 * V + (1 - beta_2) * P^2
               W <- W - learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)
                      * Q_L (M / (sqrt(V) + epsilon)) Q_R'
               L <- b * L + (1 - b) * G G', R <- b * R + (1 - b) * G' G
        every precondition_frequency steps, then:
               Q_L <- the Q of QR(L Q_L), Q_R <- the Q of QR(R Q_R), columns sorted before by the
               diagonals of Q_L' L Q_L and Q_R' R Q_R; V is sorted with them, M rotated into the new
               basis

    Tensors of more axes, such as the kernels of convolutions, have such a matrix for each axis, of
    the outer product over all others. Axes longer than max_precond_dim are not rotated, nor are
    tensors with fewer than two axes, which leaves Adam.

    Args:
        learning_rate: Number or schedule. Defaults to 0.003.
        beta_1: Decay of the mean of rotated gradients. Defaults to 0.95.
        beta_2: Decay of the mean of their squares. Defaults to 0.95.
        shampoo_beta: Decay of L and R. Defaults to None, which is beta_2.
        epsilon: Keeps the denominator from zero. Defaults to 1e-8.
        precondition_frequency: Steps from one change of the basis to the next. Defaults to 10.
        max_precond_dim: The longest axis that is rotated; an axis of length n costs two matrices
            of n x n, three products with them at each step and a QR decomposition at each change.
            Defaults to 1024.
        weight_decay: Decoupled decay, times the learning rate. Defaults to None.
        **kwargs: The other arguments of Keras's optimizers, such as clipnorm.

    Source: Vyas et al. 2024, SOAP: Improving and stabilizing Shampoo using Adam, arXiv:2409.11321,
        algorithms 3 and 4, and the authors' code for what these leave open: the first step, M in
        the rotated basis, sorting. It departs from that code in max_precond_dim, which is 10000
        there, in weights decaying before the step instead of after it, and at the first one as
        well, as Keras's do, and in offering no merging of axes.
    """

    def __init__(  # noqa: PLR0913, PLR0917, as many as the paper has
        self,
        learning_rate=0.003,
        beta_1=0.95,
        beta_2=0.95,
        shampoo_beta=None,
        epsilon=1e-8,
        precondition_frequency=10,
        max_precond_dim=1024,
        weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        if precondition_frequency < 1:
            raise ValueError(
                "Argument `precondition_frequency` must be at least 1. Received: "
                f"precondition_frequency={precondition_frequency}"
            )
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.shampoo_beta = shampoo_beta
        self.epsilon = epsilon
        self.precondition_frequency = precondition_frequency
        self.max_precond_dim = max_precond_dim

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )
        self._preconditioners = [self._add_matrices(v, "preconditioner") for v in variables]
        self._bases = [self._add_matrices(v, "basis") for v in variables]

    def _add_matrices(self, variable, name):
        """A square matrix for each axis that is rotated, None for each other one."""
        is_rotated = len(variable.shape) > 1
        return [
            self.add_variable(
                (length, length), "zeros", variable.dtype, name=f"{variable.name}_{name}_{axis}"
            )
            if is_rotated and length <= self.max_precond_dim
            else None
            for axis, length in enumerate(variable.shape)
        ]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)

        def begin():
            self._update_preconditioners(gradient, index)
            self._find_first_basis(gradient, index)

        def step():
            self._step(gradient, variable, learning_rate)
            self._update_preconditioners(gradient, index)
            self._change_basis_when_due(index)

        ops.cond(ops.equal(self.iterations, 0), begin, step)

    def _find_first_basis(self, gradient, index):
        bases = self._bases[index]
        n_rows, n_columns = gradient.shape if len(bases) == 2 else (0, 0)
        longer = int(n_columns > n_rows) if n_rows != n_columns else None
        for axis, (preconditioner, basis) in enumerate(
            zip(self._preconditioners[index], bases, strict=True)
        ):
            if basis is not None and axis != longer:
                self.assign(basis, _eigenvectors(ops.convert_to_tensor(preconditioner)))
        if longer is not None and bases[longer] is not None:
            # G v is an eigenvector of G G' for every v of G' G, and the others have eigenvalue 0.
            # On a CPU, XLA needs 17 s for the eigenvectors of 784 x 784.
            matrix = ops.transpose(gradient) if longer == 1 else gradient
            known = ops.matmul(matrix, bases[1 - longer])
            self.assign(bases[longer], ops.linalg.qr(known, mode="complete")[0])

    def _step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity, bases = (
            self._momentums[index],
            self._velocities[index],
            self._bases[index],
        )
        rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations, variable.dtype)
        beta_1_power = ops.power(self.beta_1, step)
        beta_2_power = ops.power(self.beta_2, step)
        rotated = _rotate(gradient, bases)
        self.assign_add(momentum, (1 - self.beta_1) * (rotated - momentum))
        self.assign_add(velocity, (1 - self.beta_2) * (ops.square(rotated) - velocity))
        update = _rotate_back(momentum / (ops.sqrt(velocity) + self.epsilon), bases)
        rate = rate * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)
        self.assign_sub(variable, rate * update)

    def _update_preconditioners(self, gradient, index):
        beta = self.beta_2 if self.shampoo_beta is None else self.shampoo_beta
        for axis, preconditioner in enumerate(self._preconditioners[index]):
            if preconditioner is not None:
                others = [i for i in range(len(gradient.shape)) if i != axis]
                product = ops.tensordot(gradient, gradient, axes=[others, others])
                self.assign_add(preconditioner, (1 - beta) * (product - preconditioner))

    def _change_basis_when_due(self, index):
        if not any(basis is not None for basis in self._bases[index]):
            return

        def change():
            momentum, velocity = self._momentums[index], self._velocities[index]
            original = _rotate_back(momentum, self._bases[index])
            for axis, (preconditioner, basis) in enumerate(
                zip(self._preconditioners[index], self._bases[index], strict=True)
            ):
                if basis is not None:
                    iterated = ops.matmul(preconditioner, basis)
                    eigenvalues = ops.sum(ops.multiply(basis, iterated), axis=0)
                    order = ops.argsort(-eigenvalues)
                    self.assign(velocity, ops.take(velocity, order, axis=axis))
                    self.assign(basis, ops.linalg.qr(ops.take(iterated, order, axis=1))[0])
            self.assign(momentum, _rotate(original, self._bases[index]))

        def keep():
            pass

        is_due = ops.equal(self.iterations % self.precondition_frequency, 0)
        ops.cond(is_due, change, keep)

    def get_config(self):
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "shampoo_beta": self.shampoo_beta,
            "epsilon": self.epsilon,
            "precondition_frequency": self.precondition_frequency,
            "max_precond_dim": self.max_precond_dim,
        }


def _eigenvectors(matrix):
    """Those of a symmetric matrix without negative eigenvalues, by decreasing eigenvalue."""
    length = matrix.shape[0]
    n_added = max(0, 5 - length)
    if n_added:
        # On a CPU, XLA never finishes compiling eigh for 2 to 4 rows. Those that are added have
        # the lowest eigenvalue, so their vectors come last.
        below = -(ops.trace(matrix) + 1e-30)
        added = ops.cast([0] * length + [1] * n_added, matrix.dtype)
        matrix = ops.pad(matrix, [[0, n_added], [0, n_added]]) + below * ops.diag(added)
    _, vectors = ops.linalg.eigh(matrix)
    return ops.flip(vectors, axis=1)[:length, :length]


def _rotate(tensor, bases):
    """Into the bases, an axis after the other; each product moves the next axis to the front."""
    for basis in bases:
        if basis is None:
            tensor = ops.moveaxis(tensor, 0, -1)
        else:
            tensor = ops.tensordot(tensor, basis, axes=[[0], [0]])
    return tensor


def _rotate_back(tensor, bases):
    for basis in bases:
        if basis is None:
            tensor = ops.moveaxis(tensor, 0, -1)
        else:
            tensor = ops.tensordot(tensor, basis, axes=[[0], [1]])
    return tensor
