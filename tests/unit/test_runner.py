"""Running trials: from the store, or on workers, which may lose some."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.console import Progress
from stages.common.errors import InputError
from stages.common.runs import Completed, EpochRow, Failed
from stages.engine.environment import Environment, describe_environment
from stages.engine.runner import MAX_LOSSES, Job, Runner
from stages.engine.store import TrialStore
from stages.engine.trial import Data, LostTrialError, Trial, TrialResult, Work
from tests.examples import DATA, SCORE, bits, small_work, trial_row
from tests.parameters import optimizer

WORK = small_work(optimizer(class_name="SGD"))
OTHER = small_work(optimizer(class_name="Adam"))


def trial(seed: int) -> Trial:
    return Trial("confirmation", 1.0, seed, 0)


def jobs(*seeds: int, work: Work = WORK) -> list[Job]:
    return [(work, trial(seed)) for seed in seeds]


def result_of(work: Work, trial: Trial) -> TrialResult:
    """A result that tells which trial it is of; the score is a thousandth of the seed."""
    accuracy = trial.seed / 1000
    row = trial_row(trial.phase, trial.setting, trial.seed, accuracy)
    assert isinstance(row, Completed)
    curve = EpochRow(trial.phase, trial.setting, trial.seed, 1, *[accuracy] * 4)
    weights = (np.array([trial.seed, work.key == WORK.key], np.float32),)
    return TrialResult(row, (curve,), weights)


def failed_result_of(trial: Trial) -> TrialResult:
    about = vars(trial_row(trial.phase, trial.setting, trial.seed, None))
    named = {key: value for key, value in about.items() if key != "outcome"}
    return TrialResult(Failed(**named, reason="no room"), (), ())


class ScriptedWorkers:
    """Workers that end trials as they are told to.

    Args:
        n_losses: How often the trial of a seed is lost before it is not.
        errors: What ends the trial of a seed for good.
        failing: Seeds of trials that fail.
        n_held: So many trials are held back until they are all here, and then end last first.
    """

    def __init__(
        self,
        n_losses: dict[int, int] | None = None,
        errors: dict[int, str] | None = None,
        failing: frozenset[int] = frozenset(),
        n_held: int = 0,
    ) -> None:
        self._n_losses, self._errors = dict(n_losses or {}), errors or {}
        self._failing, self._n_held = failing, n_held
        self._held: list[Future[TrialResult]] = []
        self._jobs: dict[Future[TrialResult], Job] = {}
        self.events: list[tuple[str, int]] = []

    @property
    def environment(self) -> Environment:
        return describe_environment()

    @property
    def submitted(self) -> list[int]:
        return [seed for event, seed in self.events if event == "submit"]

    def submit(self, work: Work, data: Data, trial: Trial) -> Future[TrialResult]:
        assert data is DATA
        self.events.append(("submit", trial.seed))
        future: Future[TrialResult] = Future()
        self._jobs[future] = work, trial
        self._held.append(future)
        if len(self._held) >= self._n_held:
            for held in reversed(self._held):
                self._end(held)
            self._held.clear()
        return future

    def _end(self, future: Future[TrialResult]) -> None:
        work, trial = self._jobs[future]
        failed = trial.seed in self._failing
        future.set_result(failed_result_of(trial) if failed else result_of(work, trial))

    def collect(self, future: Future[TrialResult]) -> TrialResult:
        seed = self._jobs[future][1].seed
        self.events.append(("collect", seed))
        if self._n_losses.get(seed, 0):
            self._n_losses[seed] -= 1
            raise LostTrialError
        if seed in self._errors:
            raise InputError(self._errors[seed])
        return future.result(timeout=0)


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress("train it", 4, "trials") as progress:
        yield progress


def told(results: list[TrialResult]) -> list[tuple[Any, ...]]:
    return [(result.row, result.curve, bits(result.weights)) for result in results]


def expected(planned: list[Job]) -> list[tuple[Any, ...]]:
    return told([result_of(work, trial) for work, trial in planned])


def test_results_come_in_the_order_of_the_jobs_whichever_ends_first(
    tmp_path: Path, progress: Progress
) -> None:
    planned = jobs(3, 1, 4, 2)
    workers = ScriptedWorkers(n_held=4)
    results = Runner(DATA, workers, tmp_path, progress, SCORE).run(planned)
    assert told(results) == expected(planned)
    collected = [seed for event, seed in workers.events if event == "collect"]
    assert collected != [3, 1, 4, 2]


def test_all_trials_are_in_flight_before_the_first_is_awaited(
    tmp_path: Path, progress: Progress
) -> None:
    workers = ScriptedWorkers()
    Runner(DATA, workers, tmp_path, progress, SCORE).run(jobs(1, 2, 3))
    assert [event for event, _ in workers.events] == ["submit"] * 3 + ["collect"] * 3


def test_without_jobs_there_are_no_results(tmp_path: Path, progress: Progress) -> None:
    assert Runner(DATA, ScriptedWorkers(), tmp_path, progress, SCORE).run([]) == []


def test_what_the_store_has_is_not_submitted(tmp_path: Path, progress: Progress) -> None:
    Runner(DATA, ScriptedWorkers(), tmp_path, progress, SCORE).run(jobs(2, 4))
    planned = jobs(1, 2, 3, 4)
    workers = ScriptedWorkers(n_held=2)
    results = Runner(DATA, workers, tmp_path, progress, SCORE).run(planned)
    assert workers.submitted == [1, 3]
    assert told(results) == expected(planned)


def test_works_do_not_share_their_trials(tmp_path: Path, progress: Progress) -> None:
    planned = [*jobs(1, 2), *jobs(2, 1, work=OTHER)]
    runner = Runner(DATA, ScriptedWorkers(), tmp_path, progress, SCORE)
    assert told(runner.run(planned)) == expected(planned)
    again = ScriptedWorkers()
    assert told(Runner(DATA, again, tmp_path, progress, SCORE).run(planned)) == expected(planned)
    assert again.submitted == []


def test_a_finished_trial_is_kept_though_the_next_one_ends_the_run(
    tmp_path: Path, progress: Progress
) -> None:
    runner = Runner(DATA, ScriptedWorkers(errors={2: "gone"}), tmp_path, progress, SCORE)
    with pytest.raises(InputError):
        runner.run(jobs(1, 2))
    assert TrialStore(tmp_path).get(WORK.key, trial(1)) is not None
    assert TrialStore(tmp_path).get(WORK.key, trial(2)) is None


def test_a_failed_trial_is_a_result_that_is_not_kept(tmp_path: Path, progress: Progress) -> None:
    planned = jobs(1, 2, 3)
    runner = Runner(DATA, ScriptedWorkers(failing=frozenset({2})), tmp_path, progress, SCORE)
    first, failed, last = runner.run(planned)
    assert failed == failed_result_of(trial(2))
    assert told([first, last]) == expected(jobs(1, 3))
    mended = ScriptedWorkers()
    results = Runner(DATA, mended, tmp_path, progress, SCORE).run(planned)
    assert mended.submitted == [2]
    assert told(results) == expected(planned)


def test_a_lost_trial_is_submitted_again(tmp_path: Path, progress: Progress) -> None:
    planned = jobs(1, 2, 3)
    workers = ScriptedWorkers(n_losses={1: MAX_LOSSES - 1, 3: 1})
    results = Runner(DATA, workers, tmp_path, progress, SCORE).run(planned)
    assert told(results) == expected(planned)
    assert sorted(workers.submitted) == [1] * MAX_LOSSES + [2] + [3] * 2


def test_a_trial_that_is_lost_too_often_is_named(tmp_path: Path, progress: Progress) -> None:
    workers = ScriptedWorkers(n_losses={2: MAX_LOSSES})
    message = rf"^it, confirmation, seed 2: lost {MAX_LOSSES} times on the way to a worker or back$"
    with pytest.raises(InputError, match=message):
        Runner(DATA, workers, tmp_path, progress, SCORE).run(jobs(1, 2))
    assert workers.submitted.count(2) == MAX_LOSSES


def test_losses_of_several_trials_do_not_add_up(tmp_path: Path, progress: Progress) -> None:
    planned = [*jobs(1, 2), *jobs(1, work=OTHER)]
    workers = ScriptedWorkers(n_losses={1: 2, 2: 2})
    results = Runner(DATA, workers, tmp_path, progress, SCORE).run(planned)
    assert told(results) == expected(planned)


def test_what_ends_the_run_is_told_with_the_trial(tmp_path: Path, progress: Progress) -> None:
    workers = ScriptedWorkers(errors={2: "2 workers died while running it"})
    message = r"^it, confirmation, seed 2: 2 workers died while running it$"
    with pytest.raises(InputError, match=message):
        Runner(DATA, workers, tmp_path, progress, SCORE).run(jobs(1, 2))


def test_a_person_sees_how_far_the_trials_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train it", 2, "trials") as progress:
        Runner(DATA, ScriptedWorkers(), tmp_path, progress, SCORE).run(jobs(900, 100))
    capsys.readouterr()
    with Progress("train it", 4, "trials") as progress:
        runner = Runner(DATA, ScriptedWorkers(failing=frozenset({950})), tmp_path, progress, SCORE)
        runner.run(jobs(100, 500, 950))
        runner.run(jobs(900))
    line = capsys.readouterr().err.strip()
    assert line.startswith("train it: 4 of 4 trials, ")
    assert line.endswith(" s, best 0.9000, 2 kept")


def test_a_person_sees_the_lowest_score_where_lower_is_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train it", 3, "trials") as progress:
        runner = Runner(DATA, ScriptedWorkers(), tmp_path, progress, replace(SCORE, sign=-1))
        runner.run(jobs(500, 100))
        runner.run(jobs(900))
    assert capsys.readouterr().err.strip().endswith(" s, best 0.1000")
