"""Validity checks: each fires on an experiment made to deserve it, and on no other."""

from dataclasses import replace
from typing import Any

import pytest

from stages.common.artifacts import Pair
from stages.common.params import Model
from stages.evaluate.checks import CHECKS, Evidence, find_faults
from stages.evaluate.outcomes import Outcome
from tests.examples import DATASET, group, outcome

SGD, NESTEROV, ADAM = [0.8, 0.81, 0.82], [0.87, 0.88, 0.89], [0.83, 0.84, 0.85]
RISING = [[0.5, 0.6, 0.7, 0.8, 0.9 + 0.01 * seed] for seed in range(3)]
PAIR = Pair("nesterov", "sgd", "better", 3, 0.07, 0.06, 0.08, 0.001, 0.003, 1.0, 0.05, None)
MOMENTUM = {"momentum": 0.9, "nesterov": True}
SOUND = Evidence(
    dataset=DATASET,
    model=Model(name="mlp", hidden_units=(100,), activation="relu", dropout=0.0),
    outcomes={
        "sgd": outcome(group(SGD), momentum=0.0, nesterov=False),
        "nesterov": outcome(group(NESTEROV), **MOMENTUM),
        "adam": outcome(group(ADAM), class_name="Adam"),
    },
    pairs=(PAIR,),
    confidence=0.95,
    margin=0.002,
)
FASHION_MNIST = replace(DATASET, name="fashion_mnist", train_counts=(10_000,) * 4)


def adam(*arguments: Any, **settings: Any) -> Outcome:
    return outcome(group(*arguments, **settings), class_name="Adam")


def tuned_at(
    factor: float, tuning: dict[float, list[float | None]], accuracies: list[float] = ADAM
) -> Outcome:
    configured = None if factor == 1 else group([0.7, 0.71, 0.72])
    return outcome(group(accuracies, factor=factor), configured, tuning=tuning)


def changed(evidence: Evidence = SOUND, **outcomes: Outcome) -> Evidence:
    return replace(evidence, outcomes={**evidence.outcomes, **outcomes})


def paired(**changes: Any) -> Evidence:
    return replace(SOUND, pairs=(replace(PAIR, **changes),))


def counted(**counts: tuple[int, ...]) -> Evidence:
    return replace(SOUND, dataset=replace(DATASET, **counts))


def on_fashion_mnist(
    accuracies: list[float] = NESTEROV, n_epochs: int = 5, **dataset: Any
) -> Evidence:
    tuned = group(accuracies, [[accuracy] * n_epochs for accuracy in accuracies])
    return replace(
        SOUND,
        dataset=replace(FASHION_MNIST, **dataset),
        outcomes={"nesterov": outcome(tuned, **MOMENTUM)},
        pairs=(),
    )


FAULTS = {
    "no-training-image": (counted(train_counts=(0, 25, 25, 25)), "absent_class", ()),
    "no-validation-image": (counted(validation_counts=(20, 20, 0, 0)), "absent_class", ()),
    "no-test-image": (counted(test_counts=(20, 20, 20, 0)), "absent_class", ()),
    "test-images-of-one-class": (counted(test_counts=(60, 0, 0, 0)), "absent_class", ()),
    "guessing": (changed(adam=adam([0.25, 0.26, 0.27])), "guessing", ("adam",)),
    "guessing-the-frequent-class": (
        replace(counted(test_counts=(51, 3, 3, 3)), outcomes={"adam": adam(ADAM)}, pairs=()),
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
    "one-diverged": (changed(adam=adam(ADAM, n_diverged=1)), "divergence", ("adam",)),
    "all-diverged": (changed(adam=adam([], n_diverged=3)), "divergence", ("adam",)),
    "half-of-tuning-diverged": (
        changed(adam=tuned_at(1, {0.1: [0.5], 1: [0.9], 3: [None], 10: [None]})),
        "divergence",
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
        changed(adam=outcome(group(ADAM), group([0.9, 0.91, 0.92], factor=3), class_name="Adam")),
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
    "one-optimizer": replace(SOUND, outcomes={"adam": adam(ADAM)}, pairs=()),
    "one-seed": replace(SOUND, outcomes={"adam": adam(ADAM[:1]), "sgd": adam(SGD[:1])}, pairs=()),
    "perfect-where-one-class-is-frequent": replace(
        counted(test_counts=(57, 1, 1, 1)), outcomes={"adam": adam([1.0] * 3)}, pairs=()
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
        adam=outcome(group(ADAM), group([0.83, 0.84, 0.9], factor=3), class_name="Adam")
    ),
    "configured-rate-better-but-diverging": changed(
        adam=outcome(group(ADAM), group([0.9, 0.91], factor=3, n_diverged=1), class_name="Adam")
    ),
    "nesterov-perhaps-behind": paired(first="sgd", second="nesterov", label="undecided"),
    "nesterov-tied": paired(
        first="sgd", second="nesterov", label="tied", test_set_half_width=0.001
    ),
    "nesterov-of-other-settings-behind": replace(
        changed(
            sgd=outcome(group(SGD), momentum=0.0, nesterov=False, weight_decay=None),
            nesterov=outcome(group(NESTEROV), weight_decay=0.01, **MOMENTUM),
        ),
        pairs=(replace(PAIR, first="sgd", second="nesterov"),),
    ),
    "momentum-behind": replace(
        changed(nesterov=outcome(group(NESTEROV), momentum=0.9, nesterov=False)),
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
    evidence, check, optimizers = FAULTS[name]
    (finding,) = find_faults(evidence)
    assert (finding.check, finding.optimizers) == (check, optimizers)
    assert [one for one in optimizers if one not in finding.problem] == []
    assert finding.problem.endswith(".")
    assert finding.advice.endswith(".")


@pytest.mark.parametrize("name", NO_FAULTS)
def test_where_nothing_is_wrong_nothing_is_found(name: str) -> None:
    assert find_faults(NO_FAULTS[name]) == ()


def test_every_check_has_an_experiment_that_it_finds_fault_with() -> None:
    firing = {check for check in CHECKS for evidence, *_ in FAULTS.values() if [*check(evidence)]}
    assert firing == set(CHECKS)


def test_both_edges_of_the_grid_are_told_apart() -> None:
    evidence = changed(
        sgd=tuned_at(0.1, {0.1: [0.9], 1: [0.8]}, SGD), adam=tuned_at(10, {1: [0.8], 10: [0.9]})
    )
    lowest, highest = find_faults(evidence)
    assert (lowest.optimizers, highest.optimizers) == (("sgd",), ("adam",))
    assert "lowest" in lowest.problem
    assert "highest" in highest.problem


def test_where_every_trial_diverged_only_that_is_told() -> None:
    evidence = replace(
        on_fashion_mnist(),
        outcomes={name: adam([], n_diverged=3) for name in SOUND.outcomes},
        pairs=(),
    )
    assert {finding.check for finding in find_faults(evidence)} == {"divergence"}
