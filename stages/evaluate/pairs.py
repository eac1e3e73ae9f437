"""The optimizers' ranking, and every pair of them: which is better, tied or undecided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum, inf

from stages.common.files import FloatArray
from stages.common.results import Label, Pair
from stages.evaluate.statistics import (
    Difference,
    adjust_by_holm,
    half_width_of_images,
    p_of_failure,
    paired_difference,
    probability_of_improvement,
    seeds_for_power,
)

N_DIGITS = 9


@dataclass(frozen=True)
class Sample:
    """An optimizer's confirmation trials at one learning rate.

    `accuracies` on the test images are by seed, of the completed trials; the `n_failed` others
    diverged or ended in an error. `image_accuracies` is
    `(n_test,)`, the share of the completed trials that are right on each test image; None if that
    is not known.
    """

    accuracies: Mapping[int, float]
    n_failed: int
    image_accuracies: FloatArray | None = None


def rank(samples: Mapping[str, Sample]) -> tuple[str, ...]:
    """The names, best first: by fewer failed trials, then by higher mean accuracy, then by name.

    Failure comes first because a mean over the trials that survive flatters.
    """

    def merit(name: str) -> tuple[int, float, str]:
        scores = samples[name].accuracies.values()
        mean = fsum(scores) / len(scores) if scores else 0.0
        # Sums of equal scores may differ in the last bits.
        return samples[name].n_failed, -round(mean, N_DIGITS), name

    return tuple(sorted(samples, key=merit))


def compare_pairs(
    samples: Mapping[str, Sample], *, confidence: float, margin: float, n_test: int
) -> tuple[Pair, ...]:
    """Compares each optimizer with every one that ranks behind it.

    The first of a pair is *better* if Holm's adjusted p is below 1 - confidence, the interval of
    the mean paired difference lies above zero and none of its own trials failed; they are *tied*
    if the interval lies within the margin and no trial of either failed; else the pair is
    *undecided*. Where every trial of the second failed and none of the first, p is Fisher's of
    that, and there is no difference.

    Args:
        samples: By name.
        confidence: Level of the intervals; 1 - confidence is that of the tests.
        margin: Differences in accuracy that make none in practice.
        n_test: Test images.
    """
    couples = [(samples[a], samples[b]) for a, b in combinations(rank(samples), 2)]
    differences = [_difference(*couple, confidence, 1 / n_test) for couple in couples]
    p_values = [_p(*each) for each in zip(couples, differences, strict=True)]
    adjusted = iter(adjust_by_holm([p for p in p_values if p is not None]))
    alpha, pairs = 1 - confidence, []
    for names, (first, second), difference, p in zip(
        combinations(rank(samples), 2), couples, differences, p_values, strict=True
    ):
        p_adjusted = None if p is None else next(adjusted)
        label = _label(first, second, difference, p_adjusted, alpha=alpha, margin=margin)
        needed = None
        if label == "undecided" and difference and difference.mean > 0 and not first.n_failed:
            # Bonferroni's level, which Holm's procedure asks for at the most.
            spread = difference.standard_deviation
            needed = seeds_for_power(difference.mean, spread, alpha / len(couples))
        pairs.append(
            Pair(
                *names,
                label=label,
                n_seeds=len(_common_seeds(first, second)),
                mean_difference=difference.mean if difference else None,
                low=difference.low if difference else None,
                high=difference.high if difference else None,
                p=p,
                p_adjusted=p_adjusted,
                probability_of_improvement=probability_of_improvement(
                    _scores(first), _scores(second)
                ),
                test_set_half_width=_half_width_of_images(first, second, confidence),
                n_seeds_needed=needed,
            )
        )
    return tuple(pairs)


def _label(
    first: Sample,
    second: Sample,
    difference: Difference | None,
    p_adjusted: float | None,
    *,
    alpha: float,
    margin: float,
) -> Label:
    if p_adjusted is None or first.n_failed:
        return "undecided"
    if p_adjusted < alpha and (difference is None or difference.low > 0):
        return "better"
    is_within = difference and -margin <= difference.low and difference.high <= margin
    return "tied" if is_within and not second.n_failed else "undecided"


def _p(couple: tuple[Sample, Sample], difference: Difference | None) -> float | None:
    first, second = couple
    if difference:
        return difference.p
    if first.accuracies and not first.n_failed and not second.accuracies:
        return p_of_failure(len(first.accuracies), second.n_failed)
    return None


def _difference(
    first: Sample, second: Sample, confidence: float, resolution: float
) -> Difference | None:
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
    return [*sample.accuracies.values(), *[-inf] * sample.n_failed]


def _half_width_of_images(first: Sample, second: Sample, confidence: float) -> float | None:
    images = first.image_accuracies, second.image_accuracies
    if images[0] is None or images[1] is None or len(images[0]) < 2:
        return None
    return half_width_of_images(images[0], images[1], confidence)
