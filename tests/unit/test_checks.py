"""Validity checks: each fires on an experiment made to deserve it, and on no other."""

from dataclasses import replace
from typing import Any

import pytest

from stages.common.confirmation import ConfirmationRow, Unscored
from stages.common.data import Dataset
from stages.common.files import Json
from stages.common.params import BuiltInModel, ComparisonParams
from stages.common.results import Finding, OptimizerResult, Pair
from stages.common.runs import Diverged, Failed, TrialRow
from stages.common.score import Score, score_of
from stages.evaluate.checks import CHECKS, Experiment, check_failures, find_faults
from stages.evaluate.criteria import measure
from stages.evaluate.scored import ScoredRun
from stages.report.warnings import WORDS, word
from tests import regression
from tests.examples import DATASET, SCORE, Trials, group, scored_run
from tests.parameters import COMMITTED

SGD, NESTEROV, ADAM = [0.8, 0.81, 0.82], [0.87, 0.88, 0.89], [0.83, 0.84, 0.85]
RISING = [[0.5, 0.6, 0.7, 0.8, 0.9 + 0.01 * seed] for seed in range(3)]
PAIR = Pair("nesterov", "sgd", "better", 3, 0.07, 0.06, 0.08, 0.001, 0.003, 1.0, 0.05)
MARGIN = 0.02
MOMENTUM: dict[str, Any] = {"momentum": 0.9, "nesterov": True}


def summarised(run: ScoredRun, score: Score) -> OptimizerResult:
    return OptimizerResult(
        class_name=run.run.class_name,
        tuned=run.tuned.summarise(0.95, score, DATASET.n_test),
        configured=run.configured.summarise(0.95, score, DATASET.n_test),
        criteria=measure("it", run, score, target=None, margin=MARGIN),
    )


def experiment(
    runs: dict[str, ScoredRun],
    *pairs: Pair,
    dataset: Dataset = DATASET,
    margin: float = MARGIN,
    model: str = "mlp",
    hidden_units: tuple[int, ...] = (100,),
    score: Score = SCORE,
) -> Experiment:
    return Experiment(
        dataset=dataset,
        model=BuiltInModel(name=model, hidden_units=hidden_units, activation="relu", dropout=0.0),
        score=score,
        runs=runs,
        results={name: summarised(run, score) for name, run in runs.items()},
        pairs=pairs,
        settings=ComparisonParams(confidence=0.95, margin=margin, target="auto"),
    )


SOUND = experiment(
    {
        "sgd": scored_run(group(SGD), momentum=0.0, nesterov=False),
        "nesterov": scored_run(group(NESTEROV), **MOMENTUM),
        "adam": scored_run(group(ADAM), class_name="Adam"),
    },
    PAIR,
)
FASHION_MNIST = replace(DATASET, name="fashion_mnist", n_train=40_000)


def adam(*arguments: Any, **settings: Any) -> ScoredRun:
    return scored_run(group(*arguments, **settings), class_name="Adam")


def tuned_at(
    factor: float, tuning: dict[float, list[float | None]], accuracies: list[float] = ADAM
) -> ScoredRun:
    place = list(tuning).index
    configured = None if factor == 1 else group([0.7, 0.71, 0.72], setting=place(1))
    return scored_run(group(accuracies, setting=place(factor)), configured, tuning=tuning)


def failing(row: ConfirmationRow) -> ConfirmationRow:
    """The same, but if it diverged, an error ended it."""
    return replace(row, outcome="failed") if isinstance(row, Unscored) else row


def all_failing(trials: Trials) -> Trials:
    return replace(trials, group=replace(trials.group, rows=tuple(map(failing, trials.group.rows))))


def half_failing(trials: Trials) -> Trials:
    """Of the trials without a score the last failed, the others diverged."""
    *rows, last = trials.group.rows
    return replace(trials, group=replace(trials.group, rows=(*rows, failing(last))))


def failing_in_tuning(run: ScoredRun) -> ScoredRun:
    def fail(row: TrialRow) -> TrialRow:
        if not isinstance(row, Diverged):
            return row
        about = {key: value for key, value in vars(row).items() if key != "outcome"}
        return Failed(**about, reason="ValueError: no")

    return replace(run, tuning=tuple(map(fail, run.tuning)))


def changed(**runs: ScoredRun) -> Experiment:
    return experiment({**SOUND.runs, **runs}, *SOUND.pairs)


def paired(**changes: Any) -> Experiment:
    return replace(SOUND, pairs=(replace(PAIR, **changes),))


def counted(**counts: Any) -> Experiment:
    return replace(SOUND, dataset=replace(DATASET, **counts))


def on_fashion_mnist(
    accuracies: list[float] = NESTEROV, n_epochs: int = 5, **dataset: Any
) -> Experiment:
    tuned = group(accuracies, [[accuracy] * n_epochs for accuracy in accuracies])
    runs = {"nesterov": scored_run(tuned, **MOMENTUM)}
    return experiment(runs, dataset=replace(FASHION_MNIST, **dataset))


def known(pair: Pair = PAIR, n_test: int = 60, margin: float = MARGIN) -> Experiment:
    """On so many test examples, of four classes."""
    dataset = replace(DATASET, n_test=n_test, test_counts=(n_test // 4,) * 4)
    settings = SOUND.settings.model_copy(update={"margin": margin})
    return replace(SOUND, pairs=(pair,), dataset=dataset, settings=settings)


def stuck(n_stuck: int, n: int = 10) -> ScoredRun:
    """Of n trials, so many ended at what guessing gives."""
    ends = [0.25] * n_stuck + [0.8] * (n - n_stuck)
    return adam(ends, [[0.2, 0.25, end, end, end] for end in ends])


UNDECIDED = replace(PAIR, label="undecided")
R2 = score_of(COMMITTED.task.model_copy(update={"name": "regression"}))
ERROR = replace(R2, keras_name="mean_absolute_error", name="mean absolute error", sign=-1)


def of_numbers(
    scores: list[float], curves: list[list[float]] | None = None, **settings: Any
) -> Experiment:
    """A regression, of one optimizer."""
    return experiment(
        {"adam": adam(scores, curves)}, dataset=regression.DATASET, **{"score": R2, **settings}
    )


def of_errors(*curves: list[float]) -> Experiment:
    """The lower, the better; trials end at the same on the test examples."""
    trials = group([curve[-1] for curve in curves], curves)
    pairs = zip(trials.group.completed, curves, strict=True)
    rows = tuple(replace(row, best_validation_score=min(curve)) for row, curve in pairs)
    trials = replace(trials, group=replace(trials.group, rows=rows))
    run = scored_run(trials, class_name="Adam")
    return experiment({"adam": run}, dataset=regression.DATASET, score=ERROR)


FAULTS = {
    "no-training-example": (counted(train_counts=(0, 25, 25, 25)), "absent_class", ()),
    "no-validation-example": (counted(validation_counts=(20, 20, 0, 0)), "absent_class", ()),
    "no-test-example": (counted(test_counts=(20, 20, 20, 0)), "absent_class", ()),
    "test-examples-of-one-class": (counted(test_counts=(60, 0, 0, 0)), "absent_class", ()),
    "guessing": (changed(adam=adam([0.25, 0.26, 0.27])), "guessing", ("adam",)),
    "guessing-the-frequent-class": (
        experiment({"adam": adam(ADAM)}, dataset=replace(DATASET, test_counts=(51, 3, 3, 3))),
        "guessing",
        ("adam",),
    ),
    "too-good": (on_fashion_mnist([0.94, 0.95]), "known_band", ("nesterov",)),
    "too-bad": (on_fashion_mnist([0.84, 0.85]), "known_band", ("nesterov",)),
    "same-curves": (
        changed(adam=adam(ADAM, [[accuracy] * 5 for accuracy in NESTEROV])),
        "identical_curves",
        ("nesterov", "adam"),
    ),
    "one-diverged": (changed(adam=adam(ADAM, n_failed=1)), "failures", ("adam",)),
    "all-diverged": (changed(adam=adam([], n_failed=3)), "failures", ("adam",)),
    "one-failed": (
        changed(adam=scored_run(all_failing(group(ADAM, n_failed=1)), class_name="Adam")),
        "failures",
        ("adam",),
    ),
    "all-failed": (
        changed(adam=scored_run(all_failing(group([], n_failed=3)), class_name="Adam")),
        "failures",
        ("adam",),
    ),
    "half-of-tuning-failed": (
        changed(adam=failing_in_tuning(tuned_at(1, {0.1: [0.5], 1: [0.9], 3: [None], 10: [None]}))),
        "failures_in_tuning",
        ("adam",),
    ),
    "half-of-tuning-diverged": (
        changed(adam=tuned_at(1, {0.1: [0.5], 1: [0.9], 3: [None], 10: [None]})),
        "failures_in_tuning",
        ("adam",),
    ),
    "lowest-rate": (
        changed(adam=tuned_at(0.1, {1: [0.8], 0.1: [0.9]})),
        "edge_of_grid",
        ("adam",),
    ),
    "highest-rate": (
        changed(
            sgd=tuned_at(10, {1: [0.8], 10: [0.9]}, SGD),
            adam=tuned_at(1, {0.1: [0.8], 1: [0.9]}),
        ),
        "edge_of_grid",
        ("sgd", "adam"),
    ),
    "rising": (changed(adam=adam(ADAM, RISING)), "still_improving", ("adam",)),
    "rising-on-one-seed": (
        changed(adam=adam(ADAM[:1], RISING[:1])),
        "still_improving",
        ("adam",),
    ),
    "one-stuck": (changed(adam=stuck(1)), "stuck", ("adam",)),
    "most-stuck": (changed(adam=stuck(7)), "stuck", ("adam",)),
    "better-before-the-end": (
        changed(
            sgd=scored_run(group(SGD, [[0.5, 0.6, 0.9, a, a] for a in SGD])),
            adam=adam(ADAM, [[0.5, 0.6, 0.9, a, a] for a in ADAM]),
        ),
        "best_epoch",
        ("sgd", "adam"),
    ),
    "nesterov-behind": (
        paired(first="sgd", second="nesterov"),
        "nesterov_behind_sgd",
        ("nesterov", "sgd"),
    ),
    "no-better-than-the-mean": (
        of_numbers([-0.02, 0.01, 0.01], [[e] * 5 for e in (0.01, 0.02, 0.03)]),
        "guessing",
        ("adam",),
    ),
    "one-stuck-at-the-mean": (
        of_numbers([0.7, 0.7, 0.7], [[-0.5, 0.0, e, e, e] for e in (0.0, 0.8, 0.8)]),
        "stuck",
        ("adam",),
    ),
    "falling-error": (
        of_errors(*[[3.0, 2.5, 2.4, 2.3, e] for e in (2.1, 2.11, 2.12)]),
        "still_improving",
        ("adam",),
    ),
    "rising-error": (
        of_errors(*[[3.0, 2.5, e, e + 0.5, e + 0.5] for e in (2.1, 2.11)]),
        "best_epoch",
        ("adam",),
    ),
    "margin-below-an-example": (known(margin=0.016), "margin_below_an_example", ()),
    "margin-below-what-examples-tell": (
        known(replace(UNDECIDED, test_set_half_width=0.0201)),
        "margin_below_the_test_examples",
        (),
    ),
    "margin-below-what-examples-tell-of-a-tie": (
        known(replace(PAIR, label="tied", test_set_half_width=0.0201)),
        "margin_below_the_test_examples",
        (),
    ),
}
NO_FAULTS = {
    "sound": SOUND,
    "one-optimizer": experiment({"adam": adam(ADAM)}),
    "one-seed": experiment({"adam": adam(ADAM[:1]), "sgd": adam(SGD[:1])}),
    "perfect-where-one-class-is-frequent": experiment(
        {"adam": adam([1.0] * 3)}, dataset=replace(DATASET, test_counts=(57, 1, 1, 1))
    ),
    "perfect-where-the-others-are-far-above-guessing": changed(
        adam=adam([0.5, 0.9, 0.91], [[a] * 5 for a in (0.5, 0.9, 0.91)])
    ),
    "best-epoch-within-the-margin": changed(
        adam=adam(ADAM, [[0.5, 0.6, a + 0.019, a, a] for a in ADAM])
    ),
    "best-epoch-of-one-seed": changed(adam=adam(ADAM[:1], [[0.5, 0.6, 0.9, 0.8, 0.8]])),
    "best-epoch-by-chance": changed(
        adam=adam(ADAM, [[0.8] * 5, [0.81] * 5, [0.8, 0.8, 0.95, 0.82, 0.82]])
    ),
    "r2-above-0": of_numbers([0.02, 0.05, 0.09]),
    "small-r2-margin": of_numbers([0.7, 0.8], margin=0.0),
    "error-of-which-guessing-is-unknown": of_numbers([0.9, 0.9, 0.91], score=ERROR),
    "error-that-rises-within-the-margin": of_errors(
        *[[3.0, 2.5, e, e, e + 0.01] for e in (2.1, 2.11)]
    ),
    "falling-error-before-the-last-fifth": of_errors(*[[3.0, 2.5, 2.3, e, e] for e in (2.1, 2.11)]),
    "another-score-than-accuracy-on-fashion-mnist": replace(
        on_fashion_mnist([0.97, 0.98]),
        score=replace(SCORE, keras_name="sparse_top_k_categorical_accuracy"),
    ),
    "margin-of-one-example": known(margin=1 / 60),
    "margin-of-what-examples-tell": known(replace(UNDECIDED, test_set_half_width=MARGIN)),
    "better-though-examples-tell-little": known(replace(PAIR, test_set_half_width=0.5)),
    "one-pair-of-which-examples-tell-little": replace(
        SOUND,
        pairs=(
            replace(UNDECIDED, test_set_half_width=0.5),
            *[replace(UNDECIDED, test_set_half_width=0.01)] * 2,
        ),
    ),
    "test-examples-unknown": known(replace(UNDECIDED, test_set_half_width=None)),
    "grid-of-one-rate": changed(adam=tuned_at(1, {1: [0.9]})),
    "less-than-half-of-tuning-diverged": changed(
        adam=tuned_at(1, {0.1: [0.5], 1: [0.9], 10: [None]})
    ),
    "one-epoch": changed(adam=adam(ADAM, [[accuracy] for accuracy in ADAM])),
    "rising-before-the-last-fifth": changed(adam=adam(ADAM, [[0.5, 0.6, 0.7, a, a] for a in ADAM])),
    "rising-within-the-margin": changed(adam=adam(ADAM, [[a] * 4 + [a + 0.01] for a in ADAM])),
    "rising-by-chance": changed(adam=adam(ADAM, [[0.8] * 5, [0.8] * 5, [0.8, 0.8, 0.8, 0.8, 0.9]])),
    "same-curve-but-for-a-digit": changed(
        adam=adam(ADAM, [[*[a] * 4, a + 1e-6] for a in NESTEROV])
    ),
    "less-than-half-of-tuning-failed": changed(
        adam=failing_in_tuning(tuned_at(1, {0.1: [0.5], 1: [0.9], 10: [None]}))
    ),
    "nesterov-perhaps-behind": paired(
        first="sgd", second="nesterov", label="undecided", test_set_half_width=0.001
    ),
    "nesterov-tied": paired(
        first="sgd", second="nesterov", label="tied", test_set_half_width=0.001
    ),
    "nesterov-of-other-settings-behind": replace(
        changed(
            sgd=scored_run(group(SGD), momentum=0.0, nesterov=False, weight_decay=None),
            nesterov=scored_run(group(NESTEROV), weight_decay=0.01, **MOMENTUM),
        ),
        pairs=(replace(PAIR, first="sgd", second="nesterov"),),
    ),
    "momentum-behind": replace(
        changed(nesterov=scored_run(group(NESTEROV), momentum=0.9, nesterov=False)),
        pairs=(replace(PAIR, first="sgd", second="nesterov"),),
    ),
    "adam-behind": paired(first="sgd", second="adam"),
    "credible": on_fashion_mnist(),
    "too-good-for-other-data": on_fashion_mnist([0.97, 0.98], name="mnist"),
    "too-bad-for-part-of-the-data": on_fashion_mnist([0.8, 0.81], n_train=39_999),
    "too-bad-after-four-epochs": on_fashion_mnist([0.8, 0.81], n_epochs=4),
    "too-good-for-a-smaller-network": replace(
        on_fashion_mnist([0.94, 0.95]), model=SOUND.model.model_copy(update={"name": "cnn"})
    ),
    "too-bad-for-a-larger-network": replace(
        on_fashion_mnist([0.8, 0.81]),
        model=SOUND.model.model_copy(update={"hidden_units": (100, 100)}),
    ),
}


FINDING = Json("finding.json", Finding, exact=True)


def say(finding: Finding, faulty: Experiment) -> str:
    return word(finding, faulty.score, faulty.settings.margin, ".4f")


def say_of(name: str) -> str:
    """What is said of the one fault of an experiment in `FAULTS`."""
    faulty, *_ = FAULTS[name]
    (finding,) = find_faults(faulty)
    return say(finding, faulty)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named_with_the_optimizers(name: str) -> None:
    faulty, check, optimizers = FAULTS[name]
    (finding,) = find_faults(faulty)
    assert (finding.check, finding.optimizers) == (check, optimizers)
    told = say(finding, faulty)
    assert [one for one in optimizers if one not in told] == []
    assert told.endswith(".")
    assert FINDING.decode(FINDING.encode(finding)) == finding


@pytest.mark.parametrize("name", NO_FAULTS)
def test_where_nothing_is_wrong_nothing_is_found(name: str) -> None:
    assert find_faults(NO_FAULTS[name]) == ()


def test_every_check_has_an_experiment_that_it_finds_fault_with() -> None:
    firing = {check for check in CHECKS for faulty, *_ in FAULTS.values() if [*check(faulty)]}
    assert firing == set(CHECKS)
    assert {finding.check for faulty, *_ in FAULTS.values() for finding in find_faults(faulty)} == (
        set(WORDS)
    )


def test_both_edges_of_the_grid_are_told_apart() -> None:
    faulty = changed(
        sgd=tuned_at(0.1, {1: [0.8], 0.1: [0.9]}, SGD), adam=tuned_at(10, {1: [0.8], 10: [0.9]})
    )
    lowest, highest = find_faults(faulty)
    assert (lowest.optimizers, highest.optimizers) == (("sgd",), ("adam",))
    assert "lowest" in say(lowest, faulty)
    assert "highest" in say(highest, faulty)


def test_where_every_trial_diverged_only_that_is_told() -> None:
    lost = experiment({name: adam([], n_failed=3) for name in SOUND.runs}, dataset=FASHION_MNIST)
    assert {finding.check for finding in find_faults(lost)} == {"failures"}


def test_the_failure_rate_of_fresh_seeds_is_given_with_its_interval() -> None:
    for run in (scored_run(group(ADAM, n_failed=7)), stuck(7)):
        faulty = experiment({"adam": run})
        (finding,) = find_faults(faulty)
        # Clopper and Pearson's for 7 of 10, as R's binom.test gives it: 0.348 to 0.933.
        assert "7 of 10 trials" in say(finding, faulty)
        assert "(in the long run 35 to 93 %)" in say(finding, faulty)


def test_the_margin_is_told_beside_what_the_test_examples_can_tell() -> None:
    below_an_example, coarse = map(
        say_of, ("margin-below-an-example", "margin-below-what-examples-tell")
    )
    assert "0.016 is less than one of the 60 test examples (0.0167)" in below_an_example
    assert "may move a difference by 0.0201, more than the margin of 0.02;" in coarse


def test_how_much_better_an_earlier_epoch_was_is_told() -> None:
    assert "sgd (by 0.0900) and adam (by 0.0600)" in say_of("better-before-the-end")


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (scored_run(group(ADAM, n_failed=2)), "2 of 5 trials diverged with fresh seeds"),
        (
            scored_run(all_failing(group(ADAM, n_failed=2))),
            "2 of 5 trials failed with fresh seeds",
        ),
        (scored_run(group([], n_failed=3)), "3 of 3 trials diverged with fresh seeds"),
        (
            scored_run(half_failing(group(ADAM, n_failed=2))),
            "2 of 5 trials diverged or failed with fresh seeds",
        ),
        (
            tuned_at(1, {1: [0.9], 10: [None]}),
            "1 of 2 tuning trials diverged, so that much of its budget was lost.",
        ),
        (
            failing_in_tuning(tuned_at(1, {1: [0.9], 10: [None]})),
            "1 of 2 tuning trials failed, so that much of its budget was lost.",
        ),
    ],
    ids=["diverged", "failed", "all", "both", "tuning-diverged", "tuning-failed"],
)
def test_what_became_of_the_trials_is_told_in_its_own_word(run: ScoredRun, problem: str) -> None:
    (finding,) = check_failures(replace(SOUND, runs={"adam": run}))
    assert say(finding, SOUND).startswith(f"adam: {problem}")


def test_what_is_said_of_a_regression_names_its_score() -> None:
    assert "its test R² of 0.0000 is not clearly above that of always predicting the mean, 0" in (
        say_of("no-better-than-the-mean")
    )
    assert "Validation mean absolute error still improved in the last epoch, for adam (by 0.19" in (
        say_of("falling-error")
    )
    assert "Validation mean absolute error was better at an earlier epoch than at the last" in (
        say_of("rising-error")
    )
