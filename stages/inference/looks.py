"""When the race is judged, and how strict each look must be so that looking often does no harm."""

from functools import cache
from itertools import count, takewhile

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from stages.common.files import FloatArray
from stages.common.params import FIRST_LOOK

# The numerical integration: nodes, and how many standard deviations below zero it begins.
_N_NODES, _REACH = 160, 9.0


def looks(at_most: int) -> tuple[int, ...]:
    """The numbers of seeds at which the answer is judged: 10, 15, 20, 30, 40, 60, 80, ...

    They do not depend on where the race may end, so that a race can be continued later.

    Args:
        at_most: No look is at more seeds than this; at least 10.
    """
    numbers = (n * 2**power for power in count() for n in (FIRST_LOOK, FIRST_LOOK * 3 // 2))
    return tuple(takewhile(lambda n: n <= at_most, numbers))


def nominal_level(seeds: tuple[int, ...], level: float) -> float:
    """How small a one-sided p must be at the last of these looks.

    Up to look j, an error of level * j / (j + 1) may be spent, so the last look need not be fixed
    beforehand. The boundaries are those of a normal random walk that is looked at after these
    numbers of seeds; the nominal level is the tail probability beyond the last of them.

    Args:
        seeds: Numbers of seeds at the looks so far, ascending.
        level: One-sided error over all looks, in (0, 1).

    Returns:
        The nominal level at the last of these looks.

    Source: Lan and DeMets 1983, Biometrika 70(3), on spending; Armitage, McPherson and Rowe 1969,
        JRSS A 132(2), on the recursion.
    """
    return _boundary(seeds, level)[0]


@cache
def _boundary(seeds: tuple[int, ...], level: float) -> tuple[float, FloatArray, FloatArray]:
    """The nominal level, and the walk's density where no boundary has been crossed yet."""
    j, n = len(seeds), seeds[-1]
    spent = level / (j * (j + 1))
    nodes: FloatArray = np.zeros(1)
    density: FloatArray = np.ones(1)
    if j > 1:
        _, nodes, density = _boundary(seeds[:-1], level)
    step = (n - (seeds[-2] if j > 1 else 0)) ** 0.5

    def crossed(boundary: float) -> float:
        return float(density @ ndtr((nodes - boundary) / step))

    lowest = -_REACH * n**0.5
    boundary = brentq(lambda b: crossed(b) - spent, lowest, -ndtri(spent) * n**0.5 + 1, xtol=1e-9)
    return float(ndtr(-boundary / n**0.5)), *_walk(nodes, density, step, lowest, boundary)


_leggauss = cache(np.polynomial.legendre.leggauss)


def _walk(
    nodes: FloatArray, density: FloatArray, step: float, lowest: float, highest: float
) -> tuple[FloatArray, FloatArray]:
    """The density after one more step, as weights at Gauss-Legendre nodes between the bounds."""
    points, weights = _leggauss(_N_NODES)
    half = (highest - lowest) / 2
    places = lowest + half * (points + 1)
    kernel = np.exp(-0.5 * ((places[:, np.newaxis] - nodes) / step) ** 2)
    after = kernel @ density * weights * half / (step * (2 * np.pi) ** 0.5)
    return places, after
