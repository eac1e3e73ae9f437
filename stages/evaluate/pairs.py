"""The optimizers' ranking, and every pair of them: which is better, tied or undecided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import fsum, inf

from stages.common.artifacts import FloatArray, Label, Pair
from stages.evaluate.statistics import (
    Difference,
    adjust_by_holm,
    half_width_of_images,
    paired_difference,
    probability_of_improvement,
    seeds_for_power,
)

N_DIGITS = 9


@dataclass(frozen=True)
class Sample:
    """An optimizer's confirmation trials at one learning rate.

    `accuracies` on the test images are by seed, of the completed trials. `image_accuracies` is
    `(n_test,)`, the share of the completed trials that are right on each test image; None if that
    is not known.
    """

    accuracies: Mapping[int, float]
    n_diverged: int
    image_accuracies: FloatArray | None = None


def rank(samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """The names, best first: by fewer diverged trials, then by higher mean accuracy, then by name.

    Divergence comes first because a mean over the trials that survive flatters.
    """

    def merit(name: str) -> tuple[int, float, str]:
        scores = samples[name].accuracies.values()
        mean = fsum(scores) / len(scores) if scores else 0.0
        # Sums of equal scores may differ in the last bits.
        return samples[name].n_diverged, -round(mean, N_DIGITS), name

    return tuple(sorted(samples, key=merit))


def compare_pairs(
    samples: Mapping[str, Sample], *, confidence: float, margin: float, n_test: int
) -> tuple[Pair, ...]:
    """Compares each optimizer with every one that ranks behind it.

    The first of a pair is *better* if Holm's adjusted p is below 1 - confidence, the interval of
    the mean paired difference lies above zero and none of its own trials diverged, or if all
    trials of the second did; they are *tied* if the interval lies within the margin and no trial
    of either diverged; else it is *undecided*.

    Args:
        samples: By name.
        confidence: Level of the intervals; 1 - confidence is that of the tests.
        margin: Differences in accuracy that make none in practice.
        n_test: Test images.
    """
    couples = list(combinations(rank(samples), 2))
    differences = [_difference(samples, couple, confidence, 1 / n_test) for couple in couples]
    adjusted = iter(adjust_by_holm([each.p for each in differences if each]))
    alpha = 1 - confidence
    pairs = []
    for (first, second), difference in zip(couples, differences, strict=True):
        one, other = samples[first], samples[second]
        pair = Pair(
            first=first,
            second=second,
            label="undecided",
            n_seeds=len(_common_seeds(one, other)),
            mean_difference=difference.mean if difference else None,
            low=difference.low if difference else None,
            high=difference.high if difference else None,
            p=difference.p if difference else None,
            p_adjusted=next(adjusted) if difference else None,
            probability_of_improvement=probability_of_improvement(_scores(one), _scores(other)),
            test_set_half_width=_half_width_of_images(one, other, confidence),
            n_seeds_needed=None,
        )
        label = _label(pair, one, other, alpha=alpha, margin=margin)
        if label == "undecided" and difference:
            spread = difference.standard_deviation
            # Bonferroni's level, which Holm's procedure asks for at the most.
            needed = seeds_for_power(difference.mean, spread, alpha / len(couples))
            pair = replace(pair, n_seeds_needed=needed)
        pairs.append(replace(pair, label=label))
    return tuple(pairs)


def _label(pair: Pair, first: Sample, second: Sample, *, alpha: float, margin: float) -> Label:
    if first.n_diverged or not first.accuracies:
        return "undecided"
    if not second.accuracies:
        return "better"
    if pair.p_adjusted is None or pair.low is None or pair.high is None:
        return "undecided"
    if pair.p_adjusted < alpha and pair.low > 0:
        return "better"
    is_within = -margin <= pair.low and pair.high <= margin
    return "tied" if is_within and not second.n_diverged else "undecided"


def _difference(
    samples: Mapping[str, Sample], couple: tuple[str, str], confidence: float, resolution: float
) -> Difference | None:
    first, second = (samples[name] for name in couple)
    seeds = _common_seeds(first, second)
    if len(seeds) < 2:
        return None
    differences = [
        round(first.accuracies[seed] - second.accuracies[seed], N_DIGITS) for seed in seeds
    ]
    return paired_difference(differences, confidence, resolution=resolution)


def _common_seeds(first: Sample, second: Sample) -> list[int]:
    return sorted(first.accuracies.keys() & second.accuracies.keys())


def _scores(sample: Sample) -> Sequence[float]:
    return [*sample.accuracies.values(), *[-inf] * sample.n_diverged]


def _half_width_of_images(first: Sample, second: Sample, confidence: float) -> float | None:
    if first.image_accuracies is None or second.image_accuracies is None:
        return None
    if len(first.image_accuracies) < 2:
        return None
    return half_width_of_images(first.image_accuracies, second.image_accuracies, confidence)
