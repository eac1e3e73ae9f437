"""Experiments that DVC queues and runs in a copy of the project."""

import pytest

from tests.pipeline.conftest import N_TRIALS, Workspace

SMALLER_RATE = ("-S", "optimizers.gentle.learning_rate=0.01")


@pytest.mark.thorough
def test_a_queued_experiment_shares_the_store_and_ends_in_the_results_of_one_in_place(
    workspace: Workspace,
) -> None:
    before = workspace.trials()
    workspace.dvc("exp", "run", "--queue", "--name", "queued", *SMALLER_RATE)
    workspace.dvc("exp", "run", "--run-all")
    after = workspace.trials()
    assert len(after) == len(before) + N_TRIALS
    assert workspace.git("status", "--porcelain") == ""

    pattern = "refs/exps/*/*/queued"
    queued = workspace.git("for-each-ref", "--format=%(objectname)", pattern).strip()
    assert workspace.git("diff", "--name-only", "HEAD", queued, "--", "metrics.json") != ""
    workspace.dvc("exp", "run", "--name", "in-place", *SMALLER_RATE)
    assert workspace.trials() == after
    assert workspace.git("diff", queued) == ""
