"""What may be said of the optimizers, in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.common.artifacts import Standing


@dataclass(frozen=True)
class Judgement:
    """The ranking, best first, and the verdict; `best` is None if every trial diverged."""

    ranking: tuple[str, ...]
    best: str | None
    verdict: str


def judge(standings: Mapping[str, Standing], confidence: float) -> Judgement:
    """Ranks the optimizers and says whether the first is told apart from the rest.

    Fewer diverged trials come first, then the higher mean test accuracy, so that a diverged trial
    can only worsen an optimizer's rank. The first is called best where its interval lies above
    every other's; overlapping intervals leave the question undecided.

    Args:
        standings: By name; their order decides between equals.
        confidence: Level of the intervals, for the sentence.
    """
    ranking = tuple(sorted(standings, key=lambda name: _rank(standings[name])))
    leader = standings[ranking[0]]
    if leader.test_accuracy.mean is None:
        return Judgement(ranking, None, "undecided: every trial diverged")
    verdict = _verdict(ranking, standings, f"{100 * confidence:g} % intervals")
    return Judgement(ranking, ranking[0], verdict)


def _rank(standing: Standing) -> tuple[int, float]:
    return standing.n_diverged, -(standing.test_accuracy.mean or 0.0)


def _verdict(ranking: tuple[str, ...], standings: Mapping[str, Standing], intervals: str) -> str:
    best, *others = ranking
    rivals = [name for name in others if standings[name].n_diverged == standings[best].n_diverged]
    low = standings[best].test_accuracy.low
    if not others:
        return f"{best} is the only optimizer"
    if low is None:
        return f"undecided: {best} leads, but one seed gives no interval"
    overlapping = [name for name in rivals if (standings[name].test_accuracy.high or 0.0) >= low]
    if overlapping:
        return f"undecided: {best} leads, but its interval overlaps {_enumerate(overlapping)}'s"
    return f"{best} is best: its interval lies above every other's ({intervals})"


def _enumerate(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
