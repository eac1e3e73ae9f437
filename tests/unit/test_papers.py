"""The optimizers of `optimizers/` against their papers, and where networks are evaluated.

The references are written from the papers' equations, in float64 and without any of the project's
code; they were compared with those of optax.contrib by hand.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import log
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from stages.common.runs import Completed
from stages.engine.averaging import begin_at, evaluation_point
from stages.engine.optimizers import build_optimizer, check_optimizers
from tests.examples import bits, small_training
from tests.parameters import optimizer

Array = npt.NDArray[np.float64]
Gradient = Callable[[list[Array], int], list[Array]]
# The same numbers in float32.
RATE, D0 = 2.0**-6, 2.0**-20
N_STEPS = 50
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "a matrix": [(7, 5)],
    "a kernel and a bias": [(3, 3, 2, 4), (6,)],
}


def prodigy(
    x: list[Array],
    gradient: Gradient,
    _: keras.optimizers.Optimizer,
    *,
    weight_decay: float = 0.0,
    is_corrected: bool = False,
    is_safeguarded: bool = False,
) -> Iterator[list[Array]]:
    """Algorithm 4, with the options of the authors' code."""
    x0, d, r, s = x, D0, 0.0, [np.zeros_like(w) for w in x]
    m, v = [np.zeros_like(w) for w in x], [np.zeros_like(w) for w in x]
    root = np.sqrt(0.999)
    for k in range(N_STEPS):
        g = gradient(x, k)
        correction = np.sqrt(1 - 0.999 ** (k + 1)) / (1 - 0.9 ** (k + 1)) if is_corrected else 1.0
        rate = correction  # times a learning rate of 1
        m = [0.9 * a + 0.1 * d * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * d**2 * b**2 for a, b in zip(v, g, strict=True)]
        inner = sum(float(np.sum(b * (a - w))) for a, b, w in zip(x0, g, x, strict=True))
        r = root * r + (1 - root) * rate * d**2 * inner
        weight = 1.0 if is_safeguarded else rate
        s = [root * a + (1 - root) * weight * d**2 * b for a, b in zip(s, g, strict=True)]
        estimate = r / sum(np.abs(a).sum() for a in s)
        x = [
            w - rate * d * (a / (np.sqrt(b) + d * 1e-8) + weight_decay * w)
            for w, a, b in zip(x, m, v, strict=True)
        ]
        d = max(d, estimate)
        yield x


def ademamix(
    x: list[Array],
    gradient: Gradient,
    _: keras.optimizers.Optimizer,
    *,
    weight_decay: float = 0.0,
    n_warmup: int = 0,
) -> Iterator[list[Array]]:
    """Algorithm 1, with its schedules for alpha and beta_3 if n_warmup is not 0."""
    fast, slow, second = ([np.zeros_like(w) for w in x] for _ in range(3))
    for t in range(1, N_STEPS + 1):
        alpha, beta_3 = 5.0, 0.9999
        if n_warmup and t < n_warmup:
            alpha = 5.0 * t / n_warmup
            first, last, done = log(0.9), log(0.9999), t / n_warmup
            beta_3 = float(np.exp(first * last / ((1 - done) * last + done * first)))
        g = gradient(x, t - 1)
        fast = [0.9 * a + 0.1 * b for a, b in zip(fast, g, strict=True)]
        slow = [beta_3 * a + (1 - beta_3) * b for a, b in zip(slow, g, strict=True)]
        second = [0.999 * a + 0.001 * b**2 for a, b in zip(second, g, strict=True)]
        x = [
            w
            - RATE
            * (
                (a / (1 - 0.9**t) + alpha * b) / (np.sqrt(c / (1 - 0.999**t)) + 1e-8)
                + weight_decay * w
            )
            for w, a, b, c in zip(x, fast, slow, second, strict=True)
        ]
        yield x


def adopt(
    x: list[Array],
    gradient: Gradient,
    _: keras.optimizers.Optimizer,
    *,
    is_clipped: bool = True,
) -> Iterator[list[Array]]:
    """Algorithm 2, whose step 0 only sets the second moment."""
    m = [np.zeros_like(w) for w in x]
    v = [b**2 for b in gradient(x, 0)]
    yield x
    for t in range(1, N_STEPS):
        g = gradient(x, t)
        u = [b / np.maximum(np.sqrt(a), 1e-6) for a, b in zip(v, g, strict=True)]
        if is_clipped:
            u = [np.clip(a, -(t**0.25), t**0.25) for a in u]
        m = [0.9 * a + 0.1 * b for a, b in zip(m, u, strict=True)]
        x = [w - RATE * a for w, a in zip(x, m, strict=True)]
        v = [0.9999 * a + 0.0001 * b**2 for a, b in zip(v, g, strict=True)]
        yield x


def schedule_free(
    x: list[Array],
    gradient: Gradient,
    _: keras.optimizers.Optimizer,
    *,
    n_warmup: int = 0,
    weight_decay: float = 0.0,
    is_adam: bool = False,
    is_average_wanted: bool = False,
) -> Iterator[list[Array]]:
    """Equations 9 to 11, with the weights of algorithm 1; gives y, or x if that is wanted."""
    z, y, total, v = x, x, 0.0, [np.zeros_like(w) for w in x]
    for t in range(N_STEPS):
        rate = RATE * min(1.0, t / n_warmup) if n_warmup else RATE
        total += rate**2
        c = rate**2 / total if total else 0.0
        g = gradient(y, t)
        if is_adam:
            v = [0.999 * a + 0.001 * b**2 for a, b in zip(v, g, strict=True)]
            g = [
                b / (np.sqrt(a / (1 - 0.999 ** (t + 1))) + 1e-8) for a, b in zip(v, g, strict=True)
            ]
        g = [b + weight_decay * w for b, w in zip(g, y, strict=True)]
        z = [a - rate * b for a, b in zip(z, g, strict=True)]
        x = [(1 - c) * a + c * b for a, b in zip(x, z, strict=True)]
        y = [0.9 * a + 0.1 * b for a, b in zip(x, z, strict=True)]
        yield x if is_average_wanted else y


def soap(
    x: list[Array],
    gradient: Gradient,
    built: Any,
    *,
    frequency: int = 10,
    longest: int = 1024,
) -> Iterator[list[Array]]:
    """Algorithms 3 and 4, for each variable by itself.

    A first gradient leaves eigenvalues of 0, whose eigenvectors are anybody's choice: the first
    basis is the optimizer's own, once it is seen to be one.
    """
    g = gradient(x, 0)
    rotated = [[w.ndim > 1 and n <= longest for n in w.shape] for w in x]
    outer = [[0.05 * unfolded(b, i) @ unfolded(b, i).T for i in range(b.ndim)] for b in g]
    yield x
    bases = [
        [q.numpy() if is_rotated else np.eye(n) for q, is_rotated, n in zip(*axes, strict=True)]
        for axes in zip(built._bases, rotated, (w.shape for w in x), strict=True)
    ]
    for matrices, own, axes in zip(outer, bases, rotated, strict=True):
        for matrix, basis, is_rotated in zip(matrices, own, axes, strict=True):
            if is_rotated:
                assert_is_eigenbasis(basis, matrix)
    m, v = [np.zeros_like(w) for w in x], [np.zeros_like(w) for w in x]
    for t in range(1, N_STEPS):
        g = gradient(x, t)
        for k, w in enumerate(x):
            p = into(g[k], bases[k])
            m[k] = 0.95 * m[k] + 0.05 * p
            v[k] = 0.95 * v[k] + 0.05 * p**2
            step = out_of(m[k] / (np.sqrt(v[k]) + 1e-8), bases[k])
            x = [*x[:k], w - RATE * np.sqrt(1 - 0.95**t) / (1 - 0.95**t) * step, *x[k + 1 :]]
            for i, is_rotated in enumerate(rotated[k]):
                flat = unfolded(g[k], i)
                outer[k][i] = 0.95 * outer[k][i] + 0.05 * flat @ flat.T
                if t % frequency == 0 and is_rotated:
                    old = bases[k][i]
                    order = np.argsort(-np.diag(old.T @ outer[k][i] @ old))
                    new = np.linalg.qr(outer[k][i] @ old[:, order])[0]
                    turned = out_of(m[k], bases[k])
                    bases[k] = [*bases[k][:i], new, *bases[k][i + 1 :]]
                    m[k] = into(turned, bases[k])
                    v[k] = np.take(v[k], order, axis=i)
        yield x


def unfolded(tensor: Array, axis: int) -> Array:
    """A matrix with a row for each place on the axis."""
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def into(tensor: Array, bases: Sequence[Array]) -> Array:
    for axis, basis in enumerate(bases):
        tensor = np.moveaxis(np.tensordot(basis.T, tensor, axes=(1, axis)), 0, axis)
    return tensor


def out_of(tensor: Array, bases: Sequence[Array]) -> Array:
    return into(tensor, [basis.T for basis in bases])


def assert_is_eigenbasis(basis: Array, matrix: Array) -> None:
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-12)
    turned = basis.T @ matrix @ basis
    eigenvalues = np.diag(turned)
    np.testing.assert_allclose(turned, np.diag(eigenvalues), atol=1e-12 * eigenvalues.max())
    assert (np.diff(eigenvalues) <= 1e-12 * eigenvalues.max()).all()


RISING = {
    "class_name": "PolynomialDecay",
    "initial_learning_rate": 0.0,
    "decay_steps": 8,
    "end_learning_rate": RATE,
}
# What params.yaml says, the reference and what it is told.
RULES: dict[str, tuple[dict[str, Any], Callable[..., Iterator[list[Array]]], dict[str, Any]]] = {
    "prodigy": (
        {"class_name": "optimizers/prodigy.py:Prodigy", "learning_rate": 1.0, "d0": D0},
        prodigy,
        {},
    ),
    "prodigy, with all options": (
        {
            "class_name": "optimizers/prodigy.py:Prodigy",
            "learning_rate": 1.0,
            "d0": D0,
            "weight_decay": 0.125,
            "use_bias_correction": True,
            "safeguard_warmup": True,
        },
        prodigy,
        {"weight_decay": 0.125, "is_corrected": True, "is_safeguarded": True},
    ),
    "ademamix": ({"class_name": "optimizers/ademamix.py:AdEMAMix"}, ademamix, {}),
    "ademamix, with warm-ups": (
        {
            "class_name": "optimizers/ademamix.py:AdEMAMix",
            "alpha_warmup_steps": 20,
            "beta_3_warmup_steps": 20,
            "weight_decay": 0.125,
        },
        ademamix,
        {"n_warmup": 20, "weight_decay": 0.125},
    ),
    "adopt": ({"class_name": "optimizers/adopt.py:ADOPT"}, adopt, {}),
    "adopt, not clipped": (
        {"class_name": "optimizers/adopt.py:ADOPT", "clip_exponent": None},
        adopt,
        {"is_clipped": False},
    ),
    "schedule_free_sgd": (
        {"class_name": "optimizers/schedule_free_sgd.py:ScheduleFreeSGD"},
        schedule_free,
        {},
    ),
    "schedule_free_sgd, with a warm-up": (
        {
            "class_name": "optimizers/schedule_free_sgd.py:ScheduleFreeSGD",
            "learning_rate": RISING,
            "weight_decay": 0.125,
        },
        schedule_free,
        {"n_warmup": 8, "weight_decay": 0.125},
    ),
    "schedule_free_adamw": (
        {"class_name": "optimizers/schedule_free_adamw.py:ScheduleFreeAdamW"},
        schedule_free,
        {"is_adam": True},
    ),
    "schedule_free_adamw, with a warm-up": (
        {
            "class_name": "optimizers/schedule_free_adamw.py:ScheduleFreeAdamW",
            "learning_rate": RISING,
            "weight_decay": 0.125,
        },
        schedule_free,
        {"is_adam": True, "n_warmup": 8, "weight_decay": 0.125},
    ),
    "soap": ({"class_name": "optimizers/soap.py:SOAP"}, soap, {}),
    "soap, often, on short axes": (
        {
            "class_name": "optimizers/soap.py:SOAP",
            "precondition_frequency": 3,
            "max_precond_dim": 5,
        },
        soap,
        {"frequency": 3, "longest": 5},
    ),
}


def draw_problem(shapes: Sequence[tuple[int, ...]]) -> tuple[list[Array], Gradient]:
    """Weights to begin with, and noisy gradients of a quadratic function."""
    generator = np.random.default_rng(0)
    start = [generator.normal(size=shape) for shape in shapes]
    target = [generator.normal(size=shape) for shape in shapes]
    curvature = [generator.uniform(0.1, 2, shape) for shape in shapes]
    noise = [[generator.normal(0, 0.1, shape) for shape in shapes] for _ in range(N_STEPS)]

    def gradient(x: list[Array], step: int) -> list[Array]:
        return [
            a * (w - b) + e for a, w, b, e in zip(curvature, x, target, noise[step], strict=True)
        ]

    return start, gradient


def variables_at(values: Sequence[Array]) -> list[keras.Variable]:
    return [
        keras.Variable(value, dtype="float64", name=f"weight_{i}") for i, value in enumerate(values)
    ]


def step(
    built: keras.optimizers.Optimizer, variables: list[keras.Variable], gradient: Gradient, t: int
) -> None:
    gradients = gradient([v.numpy() for v in variables], t)
    built.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("rule", RULES)
def test_every_step_is_that_of_the_paper(rule: str, shapes: str) -> None:
    entry, reference, arguments = RULES[rule]
    start, gradient = draw_problem(SHAPES[shapes])
    built = build_optimizer("it", optimizer(**{"learning_rate": RATE, **entry}))
    variables = variables_at(start)
    expected = reference(start, gradient, built, **arguments)
    for t in range(N_STEPS):
        step(built, variables, gradient, t)
        for ours, theirs in zip(variables, next(expected), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, err_msg=f"step {t}")
    for weight, value in zip(variables, start, strict=True):
        assert np.abs(weight.numpy() - value).max() > 1e-3


OWN = {rule: entry for rule, (entry, _, _) in RULES.items()}


@pytest.mark.parametrize("rule", OWN)
def test_its_configuration_makes_an_equal_optimizer(rule: str) -> None:
    entry = optimizer(**{"learning_rate": RATE, **OWN[rule]})
    check_optimizers({"it": entry})
    built = build_optimizer("it", entry)
    config = built.get_config()
    assert type(built).from_config(built.get_config()).get_config() == config
    assert entry.arguments.items() <= config.items()
    signature = inspect.signature(type(built)).parameters
    assert signature.keys() - {"kwargs"} <= config.keys()


# At what rate it trains a small network within four epochs.
RATES = {
    "prodigy": 1.0,
    "ademamix": 0.01,
    "adopt": 0.01,
    "schedule_free_sgd": 0.5,
    "schedule_free_adamw": 0.01,
    "soap": 0.01,
}


@pytest.mark.thorough
@pytest.mark.parametrize("rule", RATES)
def test_it_lowers_the_training_loss(rule: str) -> None:
    entry = optimizer(class_name=OWN[rule]["class_name"], learning_rate=RATES[rule])
    # All minibatches of one size: XLA takes seconds to compile SOAP for a smaller one as well.
    trained = small_training(entry, train={"epochs": 4, "batch_size": 25})
    assert all(isinstance(row, Completed) for row in trained.trials)
    first, *_, last = [row.train_loss for row in trained.epochs if row.seed == 1]
    assert last < first


def new_schedule_free(**arguments: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.ScheduleFreeAdamW(learning_rate=RATE, **arguments)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.startswith("schedule_free")])
def test_a_schedule_free_one_is_evaluated_at_its_average(rule: str) -> None:
    entry, reference, arguments = RULES[rule]
    start, gradient = draw_problem(SHAPES["a kernel and a bias"])
    built = build_optimizer("it", optimizer(**{"learning_rate": RATE, **entry}))
    variables = variables_at(start)
    built.build(variables)
    assert bits(evaluation_point(built, variables) or ()) == bits(start)
    expected = reference(start, gradient, built, is_average_wanted=True, **arguments)
    for t in range(N_STEPS):
        step(built, variables, gradient, t)
        averages = evaluation_point(built, variables) or []
        for ours, theirs in zip(averages, next(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(np.asarray(averages[0]) - variables[0].numpy()).max() > 1e-3


@pytest.mark.parametrize("beta_1", [0.9, 0.5])
def test_keras_s_schedule_free_adamw_trains_at_the_mean_of_where_it_went(beta_1: float) -> None:
    start, gradient = draw_problem(SHAPES["a kernel and a bias"])
    variables, built = variables_at(start), new_schedule_free(beta_1=beta_1)
    visited: list[list[Array]] = []
    for t in range(N_STEPS):
        step(built, variables, gradient, t)
        visited.append([momentum.numpy() for momentum in built._momentums])
        for variable, values in zip(variables, zip(*visited, strict=True), strict=True):
            np.testing.assert_allclose(variable.numpy(), np.mean(values, axis=0), rtol=1e-9)
    assert evaluation_point(built, variables) is None


def test_schedule_free_adamw_begins_at_the_weights_of_the_trial() -> None:
    start, gradient = draw_problem(SHAPES["a matrix"])
    variables, built = variables_at([0 * value for value in start]), new_schedule_free()
    built.build(variables)
    fresh, reference = variables_at(start), new_schedule_free()
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    begin_at(built, variables)
    for t in range(5):
        step(built, variables, gradient, t)
        step(reference, fresh, gradient, t)
    assert bits(v.numpy() for v in variables) == bits(v.numpy() for v in fresh)


def test_each_of_several_optimizers_has_its_own_point() -> None:
    start, gradient = draw_problem([(7, 5), (6,), (4,)])
    variables = variables_at(start)
    keras_s, plain = new_schedule_free(), keras.optimizers.SGD(RATE)
    own = build_optimizer("it", optimizer(**OWN["schedule_free_sgd"]))
    chosen = {"weight_0": own, "weight_1": plain, "weight_2": keras_s}
    several = keras.optimizers.MultiOptimizer(lambda variable: chosen[variable.name])
    several.build(variables)
    for variable, value in zip(variables, start, strict=True):
        variable.assign(2 * value)
    begin_at(several, variables)
    np.testing.assert_array_equal(keras_s._momentums[0].numpy(), 2 * start[2])
    for t in range(5):
        step(several, variables, gradient, t)
    points = evaluation_point(several, variables)
    assert points is not None
    assert bits(points[:1]) == bits(own.evaluation_point(variables[:1]))
    assert bits(points[1:]) == bits(v.numpy() for v in variables[1:])
    assert bits(points[:1]) != bits([variables[0].numpy()])


@pytest.mark.parametrize(
    "built",
    [
        keras.optimizers.Adam(),
        keras.optimizers.SGD(use_ema=True),
        keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2),
        keras.optimizers.ScheduleFreeAdamW(),
        keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD())),
    ],
)
def test_all_others_are_evaluated_where_they_train(built: keras.optimizers.Optimizer) -> None:
    start, gradient = draw_problem(SHAPES["a matrix"])
    variables = variables_at(start)
    step(built, variables, gradient, 0)
    assert evaluation_point(built, variables) is None


def test_accumulated_gradients_move_no_point_until_they_are_applied() -> None:
    start, gradient = draw_problem(SHAPES["a matrix"])
    variables = variables_at(start)
    own = type(build_optimizer("it", optimizer(**OWN["schedule_free_sgd"])))
    built = own(RATE, gradient_accumulation_steps=3)
    points = []
    for t in range(7):
        step(built, variables, gradient, t)
        points.append(bits(evaluation_point(built, variables) or ()))
    changed = [before != after for before, after in pairwise(points)]
    assert changed == [False, True, False, False, True, False]
