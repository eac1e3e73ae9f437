"""Puts the answer into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf

from stages.common.decimals import USUAL, rounded_down, rounded_up
from stages.common.results import OptimizerResult, Pair
from stages.common.words import enumerate_names
from stages.inference.estimates import failure_interval
from stages.inference.race import Race, Rules


@dataclass(frozen=True)
class Verdict:
    """`best` is the optimizer to take, None where every trial failed."""

    best: str | None
    sentence: str
    details: tuple[str, ...]


def conclude(
    race: Race,
    rules: Rules,
    results: Mapping[str, OptimizerResult],
    pairs: Sequence[Pair],
    style: str = USUAL,
) -> Verdict:
    """Says which optimizer to take, what may be lost by it, and what that does not cover.

    Scores are printed in the format `style`, such as `.4f`.
    """
    look = race.looks[-1]
    best = look.leader
    if results[best].tuned.test_score.mean is None:
        return Verdict(None, "No optimizer can be taken: every trial failed.", ())
    if len(results) == 1:
        return Verdict(best, f"Only {best} was trained.", (_failures(best, results, rules),))
    details = (
        _rivals(race, best, style),
        *_beaten(race, style),
        _cheapest(results, rules) if _all_alike(results, pairs, rules) else "",
        _failures(best, results, rules),
        _test_examples(race, best, pairs, style),
        "It holds for the settings that tuning found; a larger budget may find better ones.",
    )
    sentence = _sentence(race, rules, best, style)
    return Verdict(best, sentence, tuple(detail for detail in details if detail))


def _sentence(race: Race, rules: Rules, best: str, style: str) -> str:
    look = race.looks[-1]
    sure = f"({100 * rules.confidence:g} % sure, however often you looked)"
    if look.bound is None:
        return f"Take {best} for now: too few trials completed to say how far another is ahead."
    if look.bound > rules.margin:
        rivals = [name for name in race.racing if name != best]
        rival = min(rivals, key=lambda name: _lead(race, best, name))
        return (
            f"Take {best} for now: after {look.n_seeds} seeds, {rival} may be ahead by up to "
            f"{rounded_up(look.bound, style)} {sure}."
        )
    if len(race.racing) > 1:
        what = f"no other is ahead of it by more than {rounded_up(look.bound, style)}"
    elif all(_behind(race, name) > 0 for look in race.looks for name in look.beaten):
        what = "it is ahead of every other"
    else:
        what = "every other is behind it or fails more often"
    return f"Take {best}: with {look.n_seeds} seeds, {what} {sure}."


def _lead(race: Race, best: str, name: str) -> float:
    """A lower bound of the best's lead over another; below 0 if the other may be ahead."""
    return race.ahead.get((best, name), -inf)


def _rivals(race: Race, best: str, style: str) -> str:
    leads = {name: _lead(race, best, name) for name in race.racing if name != best}
    named = [
        f"{name} (by up to {rounded_up(-lead, style)})"
        if lead > -inf
        else f"{name} (too few trials completed)"
        for name, lead in sorted(leads.items(), key=lambda item: (item[1], item[0]))
        if lead < 0
    ]
    return f"Possibly as good, or even ahead: {enumerate_names(named)}." if named else ""


def _beaten(race: Race, style: str) -> list[str]:
    """A line for each look at which optimizers left, with those furthest behind last."""

    def describe(name: str) -> str:
        behind = _behind(race, name)
        if not behind:
            return f"{name} (fails too often)"
        least = rounded_down(behind, style)
        return f"{name} (at least {least} behind)" if float(least) else f"{name} (just behind)"

    return [
        f"Out after {look.n_seeds} seeds: {enumerate_names(map(describe, names))}."
        for look in race.looks
        if (names := sorted(look.beaten, key=lambda name: (_behind(race, name) or inf, name)))
    ]


def _behind(race: Race, name: str) -> float:
    """A lower bound of how far it is behind another; 0 if none is shown to be ahead."""
    return max([0.0, *(by for (_, second), by in race.ahead.items() if second == name)])


def _all_alike(results: Mapping[str, OptimizerResult], pairs: Sequence[Pair], rules: Rules) -> bool:
    is_within = (
        pair.low is not None and pair.high is not None and max(-pair.low, pair.high) <= rules.margin
        for pair in pairs
    )
    return all(is_within) and not any(result.tuned.n_failed for result in results.values())


def _cheapest(results: Mapping[str, OptimizerResult], rules: Rules) -> str:
    def cost(name: str) -> tuple[float, float, str]:
        steps = results[name].criteria.steps_to_target
        return results[name].criteria.state_per_parameter, inf if steps is None else steps, name

    name = min(results, key=cost)
    state, steps, _ = cost(name)
    speed = f", steps to the target: {steps:,.10g}" if steps < inf else ""
    return (
        f"All are within {rules.margin:g} of each other, so any will do. The cheapest is {name} "
        f"(state per weight: {state:.2g}{speed})."
    )


def _failures(best: str, results: Mapping[str, OptimizerResult], rules: Rules) -> str:
    n_failed, n_trials = results[best].tuned.n_failed, results[best].tuned.n_trials
    low, high = failure_interval(n_failed, n_trials, rules.confidence)
    if not n_failed:
        return (
            f"All {n_trials} trials of {best} completed, which does not rule out a failure rate of "
            f"up to {ceil(100 * high)} %."
        )
    return (
        f"{n_failed} of the {n_trials} trials of {best} failed; its failure rate lies between "
        f"{floor(100 * low)} and {ceil(100 * high)} %."
    )


def _test_examples(race: Race, best: str, pairs: Sequence[Pair], style: str) -> str:
    widths = [
        pair.test_set_half_width
        for pair in pairs
        if best in (pair.first, pair.second)
        and {pair.first, pair.second} <= {*race.racing}
        and pair.test_set_half_width is not None
    ]
    if not widths:
        return "It holds for these test examples; others may give other differences."
    return (
        "It holds for these test examples; with others, the differences to those that may be as "
        f"good could change by up to {rounded_up(max(widths), style)}."
    )
