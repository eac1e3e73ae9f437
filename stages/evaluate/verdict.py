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
    can only worsen an optimizer's rank. The first is called best where its interval lies above all
    others; else the question is undecided.

    Args:
        standings: By name, which decides between equals.
        confidence: Level of the intervals, for the sentence.
    """
    ranking = tuple(sorted(standings, key=lambda name: (*_rank(standings[name]), name)))
    first, *others = ranking
    accuracy = standings[first].test_accuracy
    if accuracy.mean is None:
        return Judgement(ranking, None, "Undecided: every trial diverged")
    reaching = [name for name in others if _reaches(standings[name], accuracy.low)]
    if not others:
        verdict = f"Only {first} was trained"
    elif accuracy.low is None:
        verdict = f"Undecided: {first} leads, but one trial gives no interval"
    elif reaching:
        verdict = f"Undecided: {first} leads, but {_enumerate(reaching)} may be as good"
    else:
        interval = f"{100 * confidence:g} % interval"
        verdict = f"Best is {first}: its {interval} lies above those of the others"
    return Judgement(ranking, first, verdict)


def _rank(standing: Standing) -> tuple[int, float]:
    return standing.n_diverged, -(standing.test_accuracy.mean or 0.0)


def _reaches(standing: Standing, low: float | None) -> bool:
    accuracy = standing.test_accuracy
    high = accuracy.mean if accuracy.high is None else accuracy.high
    return low is not None and high is not None and high >= low


def _enumerate(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
