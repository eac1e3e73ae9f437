"""Compares every two optimizers: is one better, or are they tied, and how sure is that?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stages.common.files import FloatArray
from stages.common.results import Label, PairTest
from stages.inference.estimates import Difference, p_of_failures, paired_difference
from stages.inference.looks import looks, nominal_level
from stages.inference.race import Rules, Scores


@dataclass(frozen=True)
class _Test:
    """`sign` is 1 where the first of a pair is ahead, -1 where the second is."""

    sign: int
    p: float
    n_seeds: int
    difference: Difference | None
    has_failures: bool


def compare_pairs(scores: Scores, rules: Rules) -> tuple[PairTest, ...]:
    """Tests every two optimizers at each look that both reached.

    Uses Holm's procedure over all pairs, at levels that spread the error over the looks; what was
    rejected once stays rejected. The first of a pair is *better* if the test shows that it is ahead
    or that the second fails more often. They are *tied* if the interval of the difference lies
    within the margin and neither failed. Otherwise the pair is *undecided*.

    Args:
        scores: As for `run_race`, best first.
        rules: As for `run_race`.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2); at several looks Ye, Li, Liu and Yao
        2013, Statistics in Medicine 32(7).
    """
    pairs = list(combinations(scores, 2))
    numbers = looks(rules.at_most)
    found: dict[tuple[str, str], PairTest] = {}
    rejected: set[tuple[str, str]] = set()
    for index, n_seeds in enumerate(numbers):
        tests = {
            pair: _test(scores[pair[0]][:n_seeds], scores[pair[1]][:n_seeds], rules.resolution)
            for pair in pairs
            if pair not in rejected and all(len(scores[name]) >= n_seeds for name in pair)
        }
        n_open, is_rejecting, nominal = len(pairs) - len(rejected), True, 0.0
        for rank, pair in enumerate(sorted(tests, key=lambda pair: tests[pair].p)):
            if is_rejecting:
                level = (1 - rules.confidence) / (n_open - rank)
                nominal = 2 * nominal_level(numbers[: index + 1], level / 2)
                is_rejecting = tests[pair].p <= nominal
            if is_rejecting:
                rejected.add(pair)
            found[pair] = _conclude(pair, tests[pair], nominal, rules.margin, is_rejecting)
    return tuple(found[pair] for pair in pairs if pair in found)


def _test(first: FloatArray, second: FloatArray, resolution: float) -> _Test:
    difference = paired_difference(first, second, resolution)
    has_failures = bool(np.isnan(first).any() or np.isnan(second).any())
    # Each possible finding: which of the two it favours, and its one-sided p.
    findings = [(1, p_of_failures(first, second)), (-1, p_of_failures(second, first))]
    if difference:
        p, q = difference.p_above(), difference.p_below()
        lead = int(np.isnan(second).sum()) - int(np.isnan(first).sum())
        # Scores cannot favour one that failed more often: failed trials rank below every score.
        findings += [finding for finding in ((1, p), (-1, q)) if finding[0] * lead >= 0]
    sign, p = min(findings, key=lambda finding: finding[1])
    # Testing failures, too, gives a second chance to be wrong.
    n_findings = 2 if has_failures and difference else 1
    return _Test(sign, min(2 * n_findings * p, 1.0), len(first), difference, has_failures)


def _conclude(
    pair: Sequence[str], test: _Test, nominal: float, margin: float, is_better: bool
) -> PairTest:
    first, second = pair if test.sign > 0 else reversed(pair)
    mean = low = high = None
    if test.difference:
        mean = test.sign * test.difference.mean
        half_width = test.difference.half_width(nominal / 2)
        low, high = mean - half_width, mean + half_width
    label: Label = "undecided"
    if is_better:
        label = "better"
    elif not test.has_failures and low is not None and high is not None:
        label = "tied" if -margin <= low and high <= margin else "undecided"
    return PairTest(first, second, label, test.n_seeds, mean, low, high, test.p, nominal)
