"""A process that trains one trial after another for this one."""

import traceback
from contextlib import AbstractContextManager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from stages.common.errors import InputError
from stages.common.processes import follow_parent
from stages.engine.determinism import set_up_tensorflow
from stages.engine.trial import Data, Trial, TrialResult, Work


class Helper(AbstractContextManager["Helper"]):
    """A process that imports TensorFlow by itself; it is killed with the block."""

    def __init__(self) -> None:
        # Not forked, because TensorFlow does not survive that.
        context = get_context("spawn")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._data: Data | None = None

    def train(self, work: Work, data: Data, trial: Trial) -> TrialResult:
        """Trains and validates once, as `train_trial` does; the examples are sent only once.

        Raises:
            InputError: As `train_trial`, or if the process died.
        """
        try:
            self._connection.send((work, None if data is self._data else data, trial))
            self._data = data
            result: TrialResult | str = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise InputError(
                f"the process that trained it ended with exit code {self._process.exitcode}; if "
                "memory ran out, set TRAIN_WORKERS to fewer"
            ) from None
        if isinstance(result, str):
            raise InputError(result)
        return result

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def serve(connection: Connection) -> None:
    """Trains the trials that come over the connection, as long as the parent process lives."""
    follow_parent()
    set_up_tensorflow()
    from stages.engine.training import train_trial

    data: Any = None
    while True:
        work, sent, trial = connection.recv()
        data = sent or data
        try:
            connection.send(train_trial(work, data, trial))
        except InputError as error:
            connection.send(str(error))
        except Exception:  # noqa: BLE001, every error must be reported
            connection.send(traceback.format_exc())
