"""What a person sees on the terminal: progress, notices and errors."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from typing import NoReturn, Self, TextIO, cast

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from stages.common.errors import InputError, describe_refusal, legible, one_line, shorten

LINE_INTERVAL_S = 10.0
_LONGEST_LINE = 400


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's main function.

    Bad input, a full disk and the like are reported in plain lines, without a traceback.
    """
    try:
        main()
    except InputError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory: {one_line(error)}".rstrip(": "))
    except OSError as error:
        if not (refusal := describe_refusal(error)):
            raise
        _fail(refusal)
    except KeyboardInterrupt:
        print("\nstopped; `dvc repro` runs this stage again", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    lines = (shorten(legible(line), _LONGEST_LINE) for line in message.split("\n"))
    print("\n".join(lines), file=sys.stderr)
    sys.exit(1)


def notice(message: str) -> None:
    """Prints a line without disturbing a progress bar."""
    tqdm.write(legible(message), file=sys.stderr)


class Progress:
    """Shows how far a piece of work is and about how long the rest will take.

    The estimate leaves out the first units, which include one-time work such as compilation.

    On a terminal this is a bar; elsewhere it prints a line now and then, and one at the end.

    Args:
        label: What is being done.
        total: The number of units in all.
        unit: What is counted: `trials`, `B`.
        done: Units that an earlier run finished; the estimate ignores them.
        n_first: How many units the estimate leaves out.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0, n_first: int = 1) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._n_first = n_first
        self._done = self._done_before = done
        self._note = ""
        self._started_s = self._printed_s = time.monotonic()
        self._paced_from_s: float | None = None
        self._is_terminal = sys.stderr.isatty()
        self._printing = ExitStack()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            unit_scale=unit == "B",
            bar_format="{desc} |{bar:6}| {n_fmt} of {total_fmt} {unit}, {remaining} left{postfix}",
            disable=not self._is_terminal,
        )

    def advance(self, n: int = 1, note: str = "") -> None:
        """Counts n more units as done; the note is shown beside the bar."""
        self._done += n
        self._note = note
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        now_s = time.monotonic()
        done_now = self._done - self._done_before
        if self._paced_from_s is None:
            # Until the pace is known, the bar begins anew with each unit.
            self._bar.start_t, self._bar.initial, self._bar.n = time.time(), self._done, self._done
            self._bar.refresh()
            if done_now >= self._n_first:
                self._paced_from_s, self._done_before = now_s, self._done
            return
        self._bar.update(n)
        if now_s - self._printed_s >= LINE_INTERVAL_S and done_now and self._done < self._total:
            self._printed_s = now_s
            left_s = (now_s - self._paced_from_s) * (self._total - self._done) / done_now
            self._print_line(f"about {left_s:.0f} s left")

    def find(self, n: int, note: str = "") -> None:
        """Counts n more units that an earlier run finished."""
        self._done_before += n
        if self._is_terminal:
            self._bar.initial += n
        self.advance(n, note)

    def skip(self, n: int) -> None:
        """Takes n units off the total: they turned out not to be needed."""
        self._total -= n
        self._bar.total = self._total

    def __enter__(self) -> Self:
        if self._is_terminal:
            # Output of the user's own code goes above the bar.
            self._printing.enter_context(redirect_stdout(cast("TextIO", DummyTqdmFile(sys.stdout))))
        return self

    def __exit__(self, *_: object) -> None:
        self._printing.close()
        self._bar.close()
        self._print_line(f"{time.monotonic() - self._started_s:.1f} s")

    def _print_line(self, time_note: str) -> None:
        if not self._is_terminal:
            facts = (f"{self._done} of {self._total} {self._unit}", time_note, self._note)
            notice(f"{self._label}: {', '.join(filter(None, facts))}")
