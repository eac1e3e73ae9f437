"""Runs trials in parallel, except those in the store, and stores each as soon as it is done."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stages.common.console import Progress
from stages.common.errors import InputError
from stages.common.runs import Completed, Failed
from stages.common.score import Score
from stages.engine.store import TrialStore
from stages.engine.trial import Data, LostTrialError, Trial, TrialResult, Work, Workers

Job = tuple[Work, Trial]
MAX_LOSSES = 3


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
        """The trials' results in the order of the jobs; all missing trials are submitted at once.

        Results do not depend on where trials run or which come from the store. A failed trial is
        not stored, because its cause may be fixed before the next run.

        Raises:
            InputError: If the workers cannot go on.
        """
        results = {
            index: kept
            for index, (work, trial) in enumerate(jobs)
            if (kept := self._store.get(work.key, trial)) is not None
        }
        missing = {index: job for index, job in enumerate(jobs) if index not in results}
        self._n_kept += len(results)
        self._note(results.values())
        self._progress.find(len(results), self._summary)
        for index, result in self._train(missing):
            work, trial = jobs[index]
            if not isinstance(result.row, Failed):
                self._store.put(work.key, trial, result)
            self._note([result])
            self._progress.advance(1, self._summary)
            results[index] = result
        return [results[index] for index in range(len(jobs))]

    def _train(self, jobs: Mapping[int, Job]) -> Iterator[tuple[int, TrialResult]]:
        """Yields results as they finish; a trial that was lost is submitted again."""
        done: SimpleQueue[Any] = SimpleQueue()
        running: dict[Any, int] = {}
        n_losses: Counter[int] = Counter()

        def submit(index: int) -> None:
            work, trial = jobs[index]
            future = self._workers.submit(work, self._data, trial)
            running[future] = index
            future.add_done_callback(done.put)

        for index in jobs:
            submit(index)
        while running:
            future = done.get()
            index = running.pop(future)
            work, trial = jobs[index]
            what = f"{work.name}, {trial.phase}, seed {trial.seed}"
            try:
                result = self._workers.collect(future)
            except InputError as error:
                raise InputError(f"{what}: {error}") from None
            except LostTrialError:
                n_losses[index] += 1
                if n_losses[index] == MAX_LOSSES:
                    raise InputError(
                        f"{what}: lost {MAX_LOSSES} times on the way to a worker or back"
                    ) from None
                submit(index)
            else:
                yield index, result

    def _note(self, results: Iterable[TrialResult]) -> None:
        """Remembers the best validation score so far, to be shown with the progress."""
        for result in results:
            if isinstance(result.row, Completed):
                given = result.row.validation_score
                known = given if self._best is None else self._best
                self._best = max(given, known, key=self._score.merit)

    @property
    def _summary(self) -> str:
        best = "" if self._best is None else f"best {self._best:.4f}"
        kept = f"{self._n_kept} kept" if self._n_kept else ""
        return ", ".join(filter(None, (best, kept)))
