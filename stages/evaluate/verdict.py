"""What may be said of the optimizers, in one or two sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.common.results import Label, Pair
from stages.evaluate.criteria import enumerate_names
from stages.evaluate.pairs import Sample, rank


@dataclass(frozen=True)
class Verdict:
    """`best` is None where the verdict is undecided."""

    best: str | None
    sentence: str


def judge(
    tuned: Mapping[str, Sample],
    pairs: Sequence[Pair],
    configured: Mapping[str, Sample],
    configured_pairs: Sequence[Pair],
    margin: float,
) -> Verdict:
    """Names the best optimizer, or says why none can be named.

    The first of the ranking is best if it is better than, or tied with, every other one.

    Args:
        tuned: The confirmation trials at the tuned learning rates.
        pairs: Every pair of `tuned`, with its label.
        configured: The trials at the rates of params.yaml, of the same optimizers.
        configured_pairs: Every pair of `configured`.
        margin: What ties are told by.
    """
    ranking = rank(tuned)
    first = ranking[0]
    if not any(sample.accuracies for sample in tuned.values()):
        return Verdict(None, "Undecided: every trial failed.")
    if len(ranking) == 1:
        return Verdict(first, f"Only {first} was trained.")
    labels = {pair.second: pair.label for pair in pairs if pair.first == first}

    def labelled(label: Label) -> list[str]:
        return [name for name in ranking[1:] if labels[name] == label]

    better, tied, undecided = labelled("better"), labelled("tied"), labelled("undecided")
    facts = [f"better than {enumerate_names(better)}"] if better else []
    facts += [f"tied with {enumerate_names(tied)} (within {margin:g})"] if tied else []
    ahead = " and ".join(facts)
    if not undecided:
        sentence = f"Best is {first}: {ahead}."
    elif tuned[first].n_failed:
        sentence = f"Undecided: {first} leads, but every optimizer failed at some seed."
    elif len(tuned[first].accuracies) == 1:
        sentence = f"Undecided: {first} leads, but one seed tells nothing of chance."
    else:
        comma = f", {ahead}," if ahead else ","
        others = enumerate_names([_with_failures(name, tuned[name]) for name in undecided])
        sentence = f"Undecided: {first} leads{comma} but {others} may be as good."
    tuning = _describe_tuning(ranking, configured, configured_pairs)
    return Verdict(None if undecided else first, f"{sentence} {tuning}")


def _describe_tuning(
    ranking: Sequence[str], configured: Mapping[str, Sample], pairs: Sequence[Pair]
) -> str:
    untuned = rank(configured)
    leader, first = untuned[0], ranking[0]
    if not configured[leader].accuracies:
        return "With the configured rates every trial failed."
    if leader == first:
        return f"With the configured rates {first} leads too."
    labels = {(pair.first, pair.second): pair.label for pair in pairs}
    if labels[leader, first] == "better":
        return f"With the configured rates {leader} is better than {first}."
    rivals = [name for name in untuned[1:] if labels[leader, name] != "better"]
    others = enumerate_names([_with_failures(name, configured[name]) for name in rivals])
    return f"With the configured rates {leader} leads, but {others} may be as good."


def _with_failures(name: str, sample: Sample) -> str:
    n_trials = len(sample.accuracies) + sample.n_failed
    return f"{name} (failed in {sample.n_failed} of {n_trials})" if sample.n_failed else name
