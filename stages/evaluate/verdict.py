"""What may be said of the optimizers, in one or two sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.common.artifacts import Label, Pair
from stages.evaluate.pairs import Sample, rank


@dataclass(frozen=True)
class Judgement:
    """`best` is None where the verdict is undecided."""

    best: str | None
    verdict: str


def judge(
    tuned: Mapping[str, Sample],
    configured: Mapping[str, Sample],
    pairs: Sequence[Pair],
    margin: float,
) -> Judgement:
    """Names the best optimizer, or says why none can be named.

    The first of the ranking is best if it is better than, or tied with, every other one.

    Args:
        tuned: The confirmation trials at the tuned learning rates.
        configured: Those at the rates of params.yaml, of the same optimizers.
        pairs: Every pair of `tuned`, with its label.
        margin: What ties are told by.
    """
    ranking = rank(tuned)
    first = ranking[0]
    if not any(sample.accuracies for sample in tuned.values()):
        return Judgement(None, "Undecided: every trial diverged.")
    if len(ranking) == 1:
        return Judgement(first, f"Only {first} was trained.")
    labels = {pair.second: pair.label for pair in pairs if pair.first == first}

    def labelled(label: Label) -> list[str]:
        return [name for name in ranking[1:] if labels[name] == label]

    better, tied, undecided = labelled("better"), labelled("tied"), labelled("undecided")
    facts = [f"better than {enumerate_names(better)}"] if better else []
    facts += [f"tied with {enumerate_names(tied)} (within {margin:g})"] if tied else []
    ahead = " and ".join(facts)
    if not undecided:
        sentence = f"Best is {first}: {ahead}."
    elif tuned[first].n_diverged:
        sentence = f"Undecided: {first} leads, but every optimizer diverged at some seed."
    elif len(tuned[first].accuracies) == 1:
        sentence = f"Undecided: {first} leads, but one seed tells nothing of chance."
    else:
        comma = f", {ahead}," if ahead else ","
        others = enumerate_names(undecided)
        sentence = f"Undecided: {first} leads{comma} but {others} may be as good."
    tuning = _describe_tuning(ranking, rank(configured))
    return Judgement(None if undecided else first, f"{sentence} {tuning}")


def _describe_tuning(tuned: Sequence[str], configured: Sequence[str]) -> str:
    if configured == tuned:
        return "With the configured rates the order is the same."
    if configured[0] == tuned[0]:
        return f"With the configured rates {tuned[0]} leads too, the order behind it differs."
    return f"With the configured rates {configured[0]} leads."


def enumerate_names(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
