"""Who leaves the race, who leads it, how far another may be ahead, and when it is over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from statistics import mean

import numpy as np
import pytest
from scipy.stats import ttest_rel

from stages.common.files import FloatArray
from stages.common.results import Look
from stages.inference.looks import looks, nominal_level
from stages.inference.race import Race, Rules, run_race
from tests.conftest import mainly

N_IMAGES = 359
KINDS = ("normal", "skewed", "heavy-tailed", "discrete", "failing")
EVER_SO_LITTLE = 1e-9


@dataclass(frozen=True)
class Experiment:
    """Scores of optimizers named by their index, and their true means in the same unit."""

    scores: dict[str, FloatArray]
    truth: dict[str, float]
    resolution: float

    def is_wrong(self, look: Look) -> bool:
        """Whether the best is ahead of the leader by more than the bound."""
        loss = max(self.truth.values()) - self.truth[look.leader]
        return look.bound is not None and loss > look.bound

    def has_lost_the_best(self, race: Race) -> bool:
        best = max(self.truth, key=lambda name: self.truth[name])
        return any(best in look.beaten for look in race.looks)


def draw(
    kind: str, n_experiments: int, means: Sequence[float], n_seeds: int
) -> Iterator[Experiment]:
    """Means are in standard deviations of a score."""
    generator = np.random.default_rng(len(means))
    shape = (n_experiments, len(means), n_seeds)
    resolution, scale = EVER_SO_LITTLE, 1.0
    if kind == "skewed":
        scores = generator.exponential(1, shape)
    elif kind == "heavy-tailed":
        scores = generator.standard_t(2, shape)
    else:
        scores = generator.normal(0, 1, shape)
    scores += np.array(means)[:, np.newaxis]
    if kind == "discrete":
        resolution, scale = 1 / N_IMAGES, 0.006
        scores = np.round((0.95 + scale * scores) * N_IMAGES) / N_IMAGES
    if kind == "failing":
        scores[generator.random(shape) < 0.1] = nan
    truth = {str(index): scale * value for index, value in enumerate(means)}
    for values in scores:
        yield Experiment(dict(zip(truth, values, strict=True)), truth, resolution)


def rules(margin: float = 0.0, at_most: int = 160, resolution: float = EVER_SO_LITTLE) -> Rules:
    return Rules(margin, 0.95, resolution, at_most)


def noise(n_optimizers: int, n_seeds: int, key: int = 0) -> dict[str, FloatArray]:
    """Scores of equal optimizers named a, b, c, ..."""
    scores = np.random.default_rng(key).normal(0.9, 0.01, (n_optimizers, n_seeds))
    return {chr(ord("a") + index): values for index, values in enumerate(scores)}


def cut(scores: dict[str, FloatArray], n_seeds: int) -> dict[str, FloatArray]:
    return {name: values[:n_seeds] for name, values in scores.items()}


def seeds_used(race: Race) -> dict[str, int]:
    """By the optimizer, the seeds that it was trained with."""
    return {name: look.n_seeds for look in race.looks for name in look.racing}


def share_of_wrong(experiments: Iterator[Experiment]) -> tuple[float, int]:
    """The share of experiments with any error at any look up to 160 seeds, and their number.

    It is one as well if the best leaves, though others may keep the bound wide. Without a margin
    the race goes on until all others are beaten.
    """
    wrong = []
    for experiment in experiments:
        race = run_race(experiment.scores, rules(0.0, 160, experiment.resolution))
        assert race.is_over
        exceeded = any(map(experiment.is_wrong, race.looks))
        wrong.append(exceeded or experiment.has_lost_the_best(race))
    return mean(wrong), len(wrong)


def at_most_5_percent(share: float, n_experiments: int) -> bool:
    """Two standard errors of the simulation are allowed for."""
    error: float = (0.05 * 0.95 / n_experiments) ** 0.5
    return share <= 0.05 + 2 * error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "means", "n_experiments"),
    [
        # The hardest: with no others in between, and so little ahead that any doubt is an error.
        *mainly(
            [("failing", (EVER_SO_LITTLE, 0), 1000)],
            ((kind, (EVER_SO_LITTLE, 0), 1000) for kind in KINDS),
        ),
        # More than two share the level, whatever the kind.
        *(
            (kind, means, n_experiments)
            for kind in ("normal", "failing")
            for means, n_experiments in (
                ((EVER_SO_LITTLE, 0, 0, 0, 0), 200),
                ((0.5, 0, 0, 0, 0), 150),
                ((0, -0.3, -0.3, -0.7, -4), 150),
            )
        ),
    ],
)
def test_at_any_look_another_is_further_ahead_than_the_bound_in_one_of_twenty_cases_at_most(
    kind: str, means: tuple[float, ...], n_experiments: int
) -> None:
    assert at_most_5_percent(*share_of_wrong(draw(kind, n_experiments, means, 160)))


@pytest.mark.slow
def test_among_ten_optimizers_the_same_is_true_for_all_kinds_of_scores() -> None:
    means = (EVER_SO_LITTLE, *[0.0] * 9)
    shares = [share_of_wrong(draw(kind, 20, means, 160)) for kind in KINDS]
    assert at_most_5_percent(mean(share for share, _ in shares), sum(n for _, n in shares))


# Of five optimizers, in standard deviations of a paired difference.
TRUTHS = {
    "all-equal": (0.0, 0.0, 0.0, 0.0, 0.0),
    "just-more-than-1.25": (1.25 + EVER_SO_LITTLE, 0.0, 0.0, 0.0, 0.0),
    "just-more-than-0.5": (0.5 + EVER_SO_LITTLE, 0.0, 0.0, 0.0, 0.0),
    "digits-like": (0.0, -0.3, -0.3, -0.7, -4.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "margin", "n_seeds"),
    [
        ("all-equal", 1.25, 10.4),
        ("just-more-than-1.25", 1.25, 10.1),
        ("digits-like", 1.25, 10.3),
        ("all-equal", 0.5, 37.5),
        ("just-more-than-0.5", 0.5, 20.0),
        ("digits-like", 0.5, 20.5),
    ],
)
def test_the_race_stops_soon_and_seldom_takes_one_worse_by_more_than_the_margin(
    truth: str, margin: float, n_seeds: float
) -> None:
    # The difference of two scores has the spread of one times the root of two.
    scaled = [value * 2**0.5 for value in TRUTHS[truth]]
    used, wrong = [], []
    for experiment in draw("normal", 300, scaled, 160):
        race = run_race(experiment.scores, rules(margin * 2**0.5))
        last = race.looks[-1]
        assert race.is_over
        assert last.bound is not None
        assert last.bound <= margin * 2**0.5
        used.append(mean(seeds_used(race).values()))
        wrong.append(experiment.is_wrong(last))
    assert mean(used) <= n_seeds
    assert at_most_5_percent(mean(wrong), len(wrong))


@pytest.mark.parametrize(("effect", "n_seeds"), [(0.5, 99), (1, 26), (2, 11)])
def test_a_best_one_is_found_with_fewer_seeds_than_a_fixed_design_of_160(
    effect: float, n_seeds: int
) -> None:
    last = []
    for experiment in draw("normal", 100, (effect * 2**0.5, 0, 0, 0, 0), 160):
        race = run_race(experiment.scores, rules())
        assert race.looks[-1].leader == "0"
        last.append(race.looks[-1].n_seeds)
    assert mean(last) <= n_seeds


@pytest.mark.parametrize("n_optimizers", [2, 3, 5])
def test_at_the_first_look_the_bound_is_the_upper_end_of_an_interval_of_students(
    n_optimizers: int,
) -> None:
    scores = noise(n_optimizers, 10, key=3)
    # Half of the error may be spent there, divided among the rivals of the unknown best.
    confidence = 1 - 0.05 / (n_optimizers - 1) / 2
    losses = {
        name: max(
            ttest_rel(scores[rival], scores[name], alternative="less")
            .confidence_interval(confidence)
            .high
            for rival in scores
            if rival != name
        )
        for name in scores
    }
    (look,) = run_race(scores, rules(at_most=10)).looks
    leader = min(losses, key=lambda name: losses[name])
    assert (look.leader, look.beaten, look.n_seeds) == (leader, (), 10)
    assert look.bound == pytest.approx(losses[leader])


def test_who_is_shown_to_be_behind_leaves_and_is_not_looked_at_again() -> None:
    scores = noise(3, 40)
    scores["c"] -= 0.05
    race = run_race(scores, rules(at_most=40))
    assert race.looks[0].racing == ("a", "b", "c")
    assert race.looks[0].beaten == ("c",)
    assert {look.racing for look in race.looks[1:]} == {("a", "b")}
    assert race.racing == ("a", "b")
    assert seeds_used(race) == {"a": 40, "b": 40, "c": 10}
    assert race.ahead["a", "c"] > 0 > race.ahead["c", "a"]


def test_the_level_is_that_of_all_who_started_even_after_some_have_left() -> None:
    scores = noise(3, 15)
    scores["c"] -= 0.05
    race = run_race(scores, rules(at_most=15))
    assert race.looks[1].racing == ("a", "b")
    levels = [(n, nominal_level(looks(n), 0.05 / 2)) for n in (10, 15)]
    bounds = [
        ttest_rel(scores[rival][:n], scores[name][:n], alternative="less")
        .confidence_interval(1 - level)
        .high
        for name, rival in (("a", "b"), ("b", "a"))
        for n, level in levels
    ]
    # The narrowest bound of each stays, and who has the narrowest of all leads.
    assert race.looks[1].bound == pytest.approx(min(bounds))


def test_a_race_ends_at_the_margin_or_with_the_last_look() -> None:
    scores = noise(3, 100)
    race = run_race(scores, rules(at_most=100))
    assert (race.is_over, [look.n_seeds for look in race.looks]) == (True, list(looks(100)))
    bounds = [look.bound or 0.0 for look in race.looks]
    assert min(bounds) > 0
    # A margin that just the third look reaches.
    reached = next(i for i, bound in enumerate(bounds) if bound <= bounds[2])
    early = run_race(scores, rules(margin=bounds[2], at_most=100))
    assert (early.is_over, early.looks) == (True, race.looks[: reached + 1])
    assert early.next_n_seeds == early.looks[-1].n_seeds


@pytest.mark.parametrize("kind", KINDS)
def test_a_race_run_round_by_round_ends_like_one_with_all_the_seeds(kind: str) -> None:
    for experiment in draw(kind, 10, (0.5, 0.3, 0, -1), 160):
        judged_by = rules(0.01, 160, experiment.resolution)
        scores = cut(experiment.scores, 10)
        while not (race := run_race(scores, judged_by)).is_over:
            assert race.next_n_seeds > race.looks[-1].n_seeds
            for name in race.racing:
                scores[name] = experiment.scores[name][: race.next_n_seeds]
        assert race == run_race(experiment.scores, judged_by)
        assert {name: len(values) for name, values in scores.items()} == seeds_used(race)


def test_a_race_that_lacks_seeds_says_who_needs_how_many() -> None:
    scores = noise(3, 15)
    scores["b"] = scores["b"][:10] - 0.05
    race = run_race(scores, rules())
    assert [look.n_seeds for look in race.looks] == [10, 15]
    assert (race.is_over, race.racing, race.next_n_seeds) == (False, ("a", "c"), 20)
    # One seed too few of one is as good as none.
    scores["c"] = scores["c"][:14]
    race = run_race(scores, rules())
    assert (race.is_over, race.racing, race.next_n_seeds) == (False, ("a", "c"), 15)


@pytest.mark.parametrize("anything", [[], [nan] * 150, [5.0] * 150, [-5.0] * 150])
def test_what_comes_after_an_optimizer_left_changes_nothing(anything: list[float]) -> None:
    scores = noise(4, 160)
    scores["b"] -= 0.05
    expected = run_race(scores, rules())
    assert "b" in expected.looks[0].beaten
    scores["b"] = np.append(scores["b"][:10], anything)
    assert run_race(scores, rules()) == expected


def test_of_two_that_are_the_same_the_first_by_name_leads() -> None:
    scores = noise(1, 10)
    race = run_race({"b": scores["a"], "a": scores["a"]}, rules(1e-3, resolution=1e-6))
    assert (race.looks[0].leader, race.is_over) == ("a", True)


def test_one_optimizer_alone_is_taken_at_the_first_look() -> None:
    race = run_race(noise(1, 10), rules())
    assert race.looks == (Look(10, ("a",), "a", 0.0, ()),)
    assert (race.is_over, race.next_n_seeds, race.racing) == (True, 10, ("a",))


def test_where_every_trial_failed_there_is_nothing_to_wait_for() -> None:
    race = run_race(dict.fromkeys("abc", np.full(10, nan)), rules())
    assert race.looks == (Look(10, ("a", "b", "c"), "a", None, ()),)
    assert race.is_over


def test_where_too_few_trials_completed_the_bound_is_unknown_and_the_race_goes_on() -> None:
    scores = noise(2, 10)
    for values in scores.values():
        values[1:] = nan
    race = run_race(scores, rules(margin=1.0))
    assert race.looks == (Look(10, ("a", "b"), race.looks[0].leader, None, ()),)
    assert (race.is_over, race.next_n_seeds) == (False, 15)


@pytest.mark.parametrize("n_optimizers", [2, 5, 10, 20, 50])
@pytest.mark.parametrize("n_failed", [5, 6, 7, 8, 9, 10])
def test_who_fails_more_often_leaves_where_the_exact_p_says_so_and_there_is_no_cliff(
    n_optimizers: int, n_failed: int
) -> None:
    scores = noise(n_optimizers, 20)
    scores["a"][:n_failed] = nan
    race = run_race(scores, rules(at_most=20))
    # By McNemar: all seeds at which just one failed were of the same.
    leaves = [
        0.5**n_failed <= nominal_level(looks(n_seeds), 0.05 / (n_optimizers - 1))
        for n_seeds in (10, 15, 20)
    ]
    last = 10 if leaves[0] else 15 if leaves[1] else 20
    assert seeds_used(race)["a"] == last
    assert ("a" in race.racing) == (not any(leaves))


def test_of_ten_optimizers_nine_failures_of_ten_are_enough_and_eight_wait_for_the_next_look() -> (
    None
):
    level = nominal_level((10,), 0.05 / 9)
    assert 0.5**9 < level < 0.5**8
    for n_failed, last in ((10, 10), (9, 10), (8, 15)):
        scores = noise(10, 15)
        scores["a"][:n_failed] = nan
        # And it goes on as it began.
        scores["a"][10 : 10 + n_failed // 2] = nan
        assert seeds_used(run_race(scores, rules(at_most=15)))["a"] == last


def test_an_optimizer_that_fails_more_than_another_in_the_race_does_not_lead() -> None:
    n_ahead = 0
    for experiment in draw("failing", 100, (0.5, 0.2, 0.2, 0), 60):
        for look in run_race(experiment.scores, rules(0.0, 60)).looks:
            n_failed = {
                name: np.isnan(experiment.scores[name][: look.n_seeds]).sum()
                for name in look.racing
                if name not in look.beaten
            }
            assert n_failed[look.leader] == min(n_failed.values())
            n_ahead += look.leader != "0"
    assert n_ahead > 0


def test_who_fails_once_is_a_rival_still() -> None:
    scores = noise(2, 10)
    scores["b"] += 0.005
    scores["b"][0] = nan
    look = run_race(scores, rules(at_most=10)).looks[0]
    lead = ttest_rel(scores["b"][1:], scores["a"][1:], alternative="less")
    assert look.leader == "a"
    assert look.bound == pytest.approx(lead.confidence_interval(0.975).high)


@pytest.mark.parametrize("scores", [{}, {"a": np.ones(9)}, {"a": np.ones(10), "b": np.ones(9)}])
def test_a_race_needs_optimizers_and_ten_scores_of_each(scores: dict[str, FloatArray]) -> None:
    with pytest.raises(ValueError, match=r"fewer than 10 scores|no optimizers"):
        run_race(scores, rules())
