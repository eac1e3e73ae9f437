"""The process that draws, because vl-convert keeps the interpreter's lock while it does."""

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from stages.common.errors import InputError
from stages.common.processes import follow_parent


@contextmanager
def open_drawing() -> Iterator[Executor]:
    """Starts the process, which takes most of a second, while the stage imports what else it needs.

    Raises:
        InputError: If the process died.
    """
    drawing = ProcessPoolExecutor(1, get_context("spawn"), follow_parent)
    drawing.submit(_start)
    try:
        yield drawing
    except BrokenProcessPool:
        raise InputError(
            "the process that draws the pictures died, perhaps of too little memory"
        ) from None
    finally:
        drawing.shutdown(cancel_futures=True)


def _start() -> None:
    import vl_convert

    vl_convert.vegalite_to_vega({"mark": "point"})
