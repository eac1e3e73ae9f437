"""Validity checks: each fires on an experiment made to deserve it, and on no other."""

from dataclasses import replace
from typing import Any

import pytest

from stages.common.params import Model
from stages.common.results import Pair
from stages.common.runs import Diverged, Failed, TrialRow
from stages.evaluate.checks import CHECKS, Experiment, check_failures, find_faults
from stages.evaluate.scored import Group, ScoredRun
from tests.examples import DATASET, group, scored_run

SGD, NESTEROV, ADAM = [0.8, 0.81, 0.82], [0.87, 0.88, 0.89], [0.83, 0.84, 0.85]
RISING = [[0.5, 0.6, 0.7, 0.8, 0.9 + 0.01 * seed] for seed in range(3)]
PAIR = Pair("nesterov", "sgd", "better", 3, 0.07, 0.06, 0.08, 0.001, 0.003, 1.0, 0.05, None)
MOMENTUM = {"momentum": 0.9, "nesterov": True}
SOUND = Experiment(
    dataset=DATASET,
    model=Model(name="mlp", hidden_units=(100,), activation="relu", dropout=0.0),
    runs={
        "sgd": scored_run(group(SGD), momentum=0.0, nesterov=False),
        "nesterov": scored_run(group(NESTEROV), **MOMENTUM),
        "adam": scored_run(group(ADAM), class_name="Adam"),
    },
    pairs=(PAIR,),
    confidence=0.95,
    margin=0.002,
)
FASHION_MNIST = replace(DATASET, name="fashion_mnist", train_counts=(10_000,) * 4)


def adam(*arguments: Any, **settings: Any) -> ScoredRun:
    return scored_run(group(*arguments, **settings), class_name="Adam")


def tuned_at(
    factor: float, tuning: dict[float, list[float | None]], accuracies: list[float] = ADAM
) -> ScoredRun:
    place = list(tuning).index
    configured = None if factor == 1 else group([0.7, 0.71, 0.72], setting=place(1))
    return scored_run(group(accuracies, setting=place(factor)), configured, tuning=tuning)


def failing(row: TrialRow) -> TrialRow:
    """The same, but if it diverged, an error ended it."""
    if not isinstance(row, Diverged):
        return row
    about = {key: value for key, value in vars(row).items() if key != "outcome"}
    return Failed(**about, reason="ValueError: no")


def all_failing(trials: Group) -> Group:
    return replace(trials, rows=tuple(map(failing, trials.rows)))


def half_failing(trials: Group) -> Group:
    """Of the trials without a score the last failed, the others diverged."""
    return replace(trials, rows=(*trials.rows[:-1], failing(trials.rows[-1])))


def failing_in_tuning(run: ScoredRun) -> ScoredRun:
    return replace(run, tuning=tuple(map(failing, run.tuning)))


def changed(experiment: Experiment = SOUND, **runs: ScoredRun) -> Experiment:
    return replace(experiment, runs={**experiment.runs, **runs})


def paired(**changes: Any) -> Experiment:
    return replace(SOUND, pairs=(replace(PAIR, **changes),))


def counted(**counts: tuple[int, ...]) -> Experiment:
    return replace(SOUND, dataset=replace(DATASET, **counts))


def on_fashion_mnist(
    accuracies: list[float] = NESTEROV, n_epochs: int = 5, **dataset: Any
) -> Experiment:
    tuned = group(accuracies, [[accuracy] * n_epochs for accuracy in accuracies])
    return replace(
        SOUND,
        dataset=replace(FASHION_MNIST, **dataset),
        runs={"nesterov": scored_run(tuned, **MOMENTUM)},
        pairs=(),
    )


FAULTS = {
    "no-training-image": (counted(train_counts=(0, 25, 25, 25)), "absent_class", ()),
    "no-validation-image": (counted(validation_counts=(20, 20, 0, 0)), "absent_class", ()),
    "no-test-image": (counted(test_counts=(20, 20, 20, 0)), "absent_class", ()),
    "test-images-of-one-class": (counted(test_counts=(60, 0, 0, 0)), "absent_class", ()),
    "guessing": (changed(adam=adam([0.25, 0.26, 0.27])), "guessing", ("adam",)),
    "guessing-the-frequent-class": (
        replace(counted(test_counts=(51, 3, 3, 3)), runs={"adam": adam(ADAM)}, pairs=()),
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
        "failures",
        ("adam",),
    ),
    "half-of-tuning-diverged": (
        changed(adam=tuned_at(1, {0.1: [0.5], 1: [0.9], 3: [None], 10: [None]})),
        "failures",
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
    "misled": (
        changed(
            adam=scored_run(group(ADAM), group([0.9, 0.91, 0.92], setting=2), class_name="Adam")
        ),
        "tuning_misled",
        ("adam",),
    ),
    "nesterov-behind": (
        paired(first="sgd", second="nesterov"),
        "nesterov_behind_sgd",
        ("nesterov", "sgd"),
    ),
    "few-test-images": (
        paired(test_set_half_width=0.071),
        "test_images",
        ("nesterov", "sgd"),
    ),
    "few-test-images-for-a-tie": (
        paired(label="tied", mean_difference=0.001, test_set_half_width=0.0021),
        "test_images",
        ("nesterov", "sgd"),
    ),
}
NO_FAULTS = {
    "sound": SOUND,
    "one-optimizer": replace(SOUND, runs={"adam": adam(ADAM)}, pairs=()),
    "one-seed": replace(SOUND, runs={"adam": adam(ADAM[:1]), "sgd": adam(SGD[:1])}, pairs=()),
    "perfect-where-one-class-is-frequent": replace(
        counted(test_counts=(57, 1, 1, 1)), runs={"adam": adam([1.0] * 3)}, pairs=()
    ),
    "grid-of-one-rate": changed(adam=tuned_at(1, {1: [0.9]})),
    "less-than-half-of-tuning-diverged": changed(
        adam=tuned_at(1, {0.1: [0.5], 1: [0.9], 10: [None]})
    ),
    "one-epoch": changed(adam=adam(ADAM, [[accuracy] for accuracy in ADAM])),
    "rising-before-the-last-fifth": changed(adam=adam(ADAM, [[0.5, 0.6, 0.7, a, a] for a in ADAM])),
    "rising-within-the-margin": changed(adam=adam(ADAM, [[a] * 4 + [a + 0.001] for a in ADAM])),
    "rising-by-chance": changed(adam=adam(ADAM, [[0.8] * 5, [0.8] * 5, [0.8, 0.8, 0.8, 0.8, 0.9]])),
    "same-curve-but-for-a-digit": changed(
        adam=adam(ADAM, [[*[a] * 4, a + 1e-6] for a in NESTEROV])
    ),
    "configured-rate-better-by-chance": changed(
        adam=scored_run(group(ADAM), group([0.83, 0.84, 0.9], setting=2), class_name="Adam")
    ),
    "less-than-half-of-tuning-failed": changed(
        adam=failing_in_tuning(tuned_at(1, {0.1: [0.5], 1: [0.9], 10: [None]}))
    ),
    "configured-rate-better-but-failing": changed(
        adam=scored_run(
            group(ADAM), all_failing(group([0.9, 0.91], setting=2, n_failed=1)), class_name="Adam"
        )
    ),
    "configured-rate-better-but-diverging": changed(
        adam=scored_run(group(ADAM), group([0.9, 0.91], setting=2, n_failed=1), class_name="Adam")
    ),
    "nesterov-perhaps-behind": paired(first="sgd", second="nesterov", label="undecided"),
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
    "tied-by-less-than-the-test-images-tell": paired(
        label="tied", mean_difference=0.0005, test_set_half_width=0.0019
    ),
    "few-test-images-and-undecided": paired(test_set_half_width=0.071, label="undecided"),
    "test-images-unknown": paired(test_set_half_width=None),
    "better-without-a-difference": paired(mean_difference=None),
    "credible": on_fashion_mnist(),
    "too-good-for-other-data": on_fashion_mnist([0.97, 0.98], name="mnist"),
    "too-bad-for-part-of-the-data": on_fashion_mnist([0.8, 0.81], train_counts=(9_999,) * 4),
    "too-bad-after-four-epochs": on_fashion_mnist([0.8, 0.81], n_epochs=4),
    "too-good-for-a-smaller-network": replace(
        on_fashion_mnist([0.94, 0.95]), model=SOUND.model.model_copy(update={"name": "cnn"})
    ),
    "too-bad-for-a-larger-network": replace(
        on_fashion_mnist([0.8, 0.81]),
        model=SOUND.model.model_copy(update={"hidden_units": (100, 100)}),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named_with_the_optimizers(name: str) -> None:
    experiment, check, optimizers = FAULTS[name]
    (finding,) = find_faults(experiment)
    assert (finding.check, finding.optimizers) == (check, optimizers)
    assert [one for one in optimizers if one not in finding.problem] == []
    assert finding.problem.endswith(".")
    assert finding.advice.endswith(".")


@pytest.mark.parametrize("name", NO_FAULTS)
def test_where_nothing_is_wrong_nothing_is_found(name: str) -> None:
    assert find_faults(NO_FAULTS[name]) == ()


def test_every_check_has_an_experiment_that_it_finds_fault_with() -> None:
    firing = {
        check for check in CHECKS for experiment, *_ in FAULTS.values() if [*check(experiment)]
    }
    assert firing == set(CHECKS)


def test_both_edges_of_the_grid_are_told_apart() -> None:
    experiment = changed(
        sgd=tuned_at(0.1, {1: [0.8], 0.1: [0.9]}, SGD), adam=tuned_at(10, {1: [0.8], 10: [0.9]})
    )
    lowest, highest = find_faults(experiment)
    assert (lowest.optimizers, highest.optimizers) == (("sgd",), ("adam",))
    assert "lowest" in lowest.problem
    assert "highest" in highest.problem


def test_where_every_trial_diverged_only_that_is_told() -> None:
    experiment = replace(
        on_fashion_mnist(),
        runs={name: adam([], n_failed=3) for name in SOUND.runs},
        pairs=(),
    )
    assert {finding.check for finding in find_faults(experiment)} == {"failures"}


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (
            scored_run(group(ADAM, n_failed=2)),
            "2 of 5 trials diverged with fresh seeds at the rate that tuning chose, and its scores",
        ),
        (
            scored_run(all_failing(group(ADAM, n_failed=2))),
            "2 of 5 trials failed with fresh seeds at the rate that tuning chose, and its scores",
        ),
        (
            scored_run(group([], n_failed=3)),
            "3 of 3 trials diverged with fresh seeds at the rate that tuning chose.",
        ),
        (
            scored_run(half_failing(group(ADAM, n_failed=2))),
            "2 of 5 trials diverged or failed with fresh seeds at the rate that tuning chose",
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
    assert finding.problem.startswith(f"adam: {problem}")
