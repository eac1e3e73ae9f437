"""Decides which optimizer to take and what that may cost: a pure function of scores by seed.

Every look is computed again from the scores of the first seeds. More seeds or a higher limit only
add looks, and nothing needs to be stored from one run to the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import inf

import numpy as np

from stages.common.files import FloatArray
from stages.common.results import Look
from stages.inference.estimates import p_of_failures, paired_difference
from stages.inference.looks import looks, nominal_level

Scores = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Rules:
    """What the race is judged by.

    `margin` is the loss that makes no difference in practice, `confidence` the probability that the
    answer holds, `resolution` the step in which the score can change, `at_most` the largest number
    of seeds.
    """

    margin: float
    confidence: float
    resolution: float
    at_most: int


@dataclass(frozen=True)
class Race:
    """All looks that the scores allow.

    `ahead` has, for every two that were compared, a lower bound of how far the first is ahead.
    `is_over` says that no more seeds are needed; otherwise those in `racing` need `next_n_seeds`.
    """

    looks: tuple[Look, ...]
    ahead: Mapping[tuple[str, str], float]
    is_over: bool
    next_n_seeds: int

    @property
    def racing(self) -> tuple[str, ...]:
        """The optimizers still in the race."""
        last = self.looks[-1]
        return tuple(name for name in last.racing if name not in last.beaten)


def run_race(scores: Scores, rules: Rules) -> Race:
    """Judges the scores at each look until the answer stands or scores are missing.

    At each look, for every two optimizers in the race, a lower bound of their mean paired
    difference is taken at one-sided error (1 - confidence) / (k - 1) over all looks, where k is the
    number of optimizers at the start. An optimizer leaves if this bound shows it behind another
    that did not fail more often. It also leaves if it is shown, at the same level, to fail more
    often than another. Among those that failed least, the leader is the one with the smallest worst
    case: the most by which a rival may still be ahead of it. Once that is at most the margin, the
    race is over.

    By a union bound over the rivals of the unknown best, the best is ahead of the leader by more
    than `bound` with a probability of at most 1 - confidence, at whichever look the race ends. This
    does not cover optimizers that left because they fail more often, which is a separate test at
    the same level. It relies on Student's t, so it breaks if the differences have a second mode
    that ten seeds do not show.

    Args:
        scores: By name, shape (n_seeds,), in the fixed order of the seeds; NaN for a trial that
            diverged or failed. Optimizers that left may have fewer.
        rules: Margin, confidence and the like.

    Raises:
        ValueError: If there are no optimizers or fewer scores than the first look needs.
    """
    if not scores:
        raise ValueError("no optimizers")
    numbers = looks(rules.at_most)
    racing = tuple(scores)
    ahead: dict[tuple[str, str], float] = {}
    found: list[Look] = []
    for index, n_seeds in enumerate(numbers):
        if any(len(scores[name]) < n_seeds for name in racing):
            if not found:
                raise ValueError(f"fewer than {n_seeds} scores")
            return Race(tuple(found), ahead, is_over=False, next_n_seeds=n_seeds)
        level = (1 - rules.confidence) / max(len(scores) - 1, 1)
        nominal = nominal_level(numbers[: index + 1], level)
        first = {name: scores[name][:n_seeds] for name in racing}
        failing = _raise_bounds(ahead, first, nominal, rules.resolution)
        look = _judge(first, ahead, failing)
        found.append(look)
        racing = tuple(name for name in racing if name not in look.beaten)
        if look.bound is not None and look.bound <= rules.margin:
            break
        if not any(np.isfinite(first[name]).any() for name in racing):
            break  # every trial failed, so more seeds would not help
    return Race(tuple(found), ahead, is_over=True, next_n_seeds=found[-1].n_seeds)


def _raise_bounds(
    ahead: dict[tuple[str, str], float], scores: Scores, nominal: float, resolution: float
) -> set[str]:
    """Updates the lower bounds in `ahead`, which never fall: what was shown once stays shown.

    Returns:
        The optimizers that are shown to fail more often than another.
    """
    failing = set()
    for pair in combinations(scores, 2):
        difference = paired_difference(scores[pair[0]], scores[pair[1]], resolution)
        for sign, (first, second) in ((1, pair), (-1, pair[::-1])):
            if difference:
                bound = sign * difference.mean - difference.half_width(nominal)
                ahead[first, second] = max(bound, ahead.get((first, second), -inf))
            if p_of_failures(scores[first], scores[second]) <= nominal:
                failing.add(second)
    return failing


def _judge(scores: Scores, ahead: Mapping[tuple[str, str], float], failing: set[str]) -> Look:
    steady = [name for name in scores if name not in failing]
    n_failed = {name: int(np.isnan(scores[name]).sum()) for name in steady}

    def is_beaten(name: str) -> bool:
        # Only by one that failed no more often, since failed trials rank below every score.
        return any(
            ahead.get((other, name), -inf) > 0 and n_failed[other] <= n_failed[name]
            for other in steady
        )

    # Where trials failed at different seeds, leads may run in a circle; then nobody is beaten.
    left = [name for name in steady if not is_beaten(name)] or steady
    fewest = min(n_failed[name] for name in left)

    def loss(name: str) -> float:
        rivals = (rival for rival in left if rival != name)
        return max((-ahead.get((name, rival), -inf) for rival in rivals), default=0.0)

    def merit(name: str) -> tuple[float, float, str]:
        completed = scores[name][np.isfinite(scores[name])]
        mean = float(completed.mean()) if len(completed) else -inf
        return loss(name), -mean, name

    leader = min((name for name in left if n_failed[name] == fewest), key=merit)
    is_known = bool(np.isfinite(scores[leader]).any())
    return Look(
        n_seeds=len(scores[leader]),
        racing=tuple(scores),
        leader=leader,
        bound=max(loss(leader), 0.0) if is_known and loss(leader) < inf else None,
        beaten=tuple(name for name in scores if name not in left),
    )
