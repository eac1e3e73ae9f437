"""Runs trials in parallel, except those in the store, and stores each as soon as it is done."""

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stages.common.console import Progress
from stages.common.decimals import score_format
from stages.common.errors import InputError
from stages.common.runs import Completed, Failed
from stages.common.score import Score
from stages.engine.store import TrialStore
from stages.engine.trial import Data, LostTrialError, Trial, TrialResult, Work, Workers

Job = tuple[Work, Trial]
# Yields the trials that it asks for next, and is sent their results in the same order.
Search = Generator[Sequence[Job], Sequence[TrialResult], None]
MAX_LOSSES = 3


@dataclass(frozen=True)
class _Round:
    """Trials that a search asks for at once, and the results so far by their place."""

    search: Search
    jobs: Sequence[Job]
    results: dict[int, TrialResult] = field(default_factory=dict)
    n_losses: Counter[int] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        return len(self.results) == len(self.jobs)

    def in_order(self) -> list[TrialResult]:
        return [self.results[index] for index in range(len(self.jobs))]


class Runner:
    """Runs trials on the workers, with the store of finished ones and a progress bar."""

    def __init__(
        self, data: Data, workers: Workers, store_folder: Path, progress: Progress, score: Score
    ) -> None:
        self._data, self._workers, self._progress = data, workers, progress
        self._store = TrialStore(store_folder)
        self._score = score
        self._n_kept = 0
        self._best: float | None = None

    def run(self, jobs: Sequence[Job]) -> list[TrialResult]:
        """The trials' results in the order of the jobs; see `run_searches`."""
        results: list[TrialResult] = []

        def ask_once() -> Search:
            results.extend((yield jobs))

        self.run_searches([ask_once()])
        return results

    def run_searches(self, searches: Iterable[Search]) -> None:
        """Runs searches side by side: each goes on as soon as its own trials have their results.

        Results do not depend on where trials run or which come from the store. All missing trials
        are submitted at once; one that was lost is submitted again. A failed trial is not stored,
        because its cause may be fixed before the next run.

        Raises:
            InputError: If the workers cannot go on.
        """
        done: SimpleQueue[Any] = SimpleQueue()
        running: dict[Any, tuple[_Round, int]] = {}

        def submit(round_: _Round, index: int) -> None:
            work, trial = round_.jobs[index]
            future = self._workers.submit(work, self._data, trial)
            running[future] = round_, index
            future.add_done_callback(done.put)

        def go_on(search: Search, results: Sequence[TrialResult] | None) -> None:
            with suppress(StopIteration):
                round_ = self._ask(search, results)
                while round_.is_over:
                    round_ = self._ask(search, round_.in_order())
                for index in range(len(round_.jobs)):
                    if index not in round_.results:
                        submit(round_, index)

        for search in searches:
            go_on(search, None)
        while running:
            future = done.get()
            round_, index = running.pop(future)
            try:
                self._collect(future, round_, index)
            except LostTrialError:
                submit(round_, index)
            if round_.is_over:
                go_on(round_.search, round_.in_order())

    def _ask(self, search: Search, results: Sequence[TrialResult] | None) -> _Round:
        """The next round, with what the store has of it."""
        round_ = _Round(search, search.send(results))  # type: ignore[arg-type]
        for index, (work, trial) in enumerate(round_.jobs):
            kept = self._store.get(work.key, trial)
            if kept is not None:
                round_.results[index] = kept
        self._n_kept += len(round_.results)
        self._note(round_.results.values())
        self._progress.find(len(round_.results), self._summary)
        return round_

    def _collect(self, future: Any, round_: _Round, index: int) -> None:
        """Takes the result of a trial, and stores it."""
        work, trial = round_.jobs[index]
        what = f"{work.name}, {trial.phase}, seed {trial.seed}"
        try:
            result = self._workers.collect(future)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        except LostTrialError:
            round_.n_losses[index] += 1
            if round_.n_losses[index] == MAX_LOSSES:
                raise InputError(
                    f"{what}: lost {MAX_LOSSES} times on the way to a worker or back"
                ) from None
            raise
        if not isinstance(result.row, Failed):
            self._store.put(work.key, trial, result)
        self._note([result])
        self._progress.advance(1, self._summary)
        round_.results[index] = result

    def _note(self, results: Iterable[TrialResult]) -> None:
        """Remembers the best validation score so far, to be shown with the progress."""
        for result in results:
            if isinstance(result.row, Completed):
                given = result.row.validation_score
                known = given if self._best is None else self._best
                self._best = max(given, known, key=self._score.merit)

    @property
    def _summary(self) -> str:
        style = score_format(self._score, self._best, None)
        best = "" if self._best is None else f"best {self._best:{style}}"
        kept = f"{self._n_kept} kept" if self._n_kept else ""
        return ", ".join(filter(None, (best, kept)))
