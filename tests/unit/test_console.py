"""What a person sees on the terminal."""

import errno
import re
import sys
import time
from io import StringIO

import pytest

from stages.common import console
from stages.common.console import Progress, run_stage
from stages.common.errors import InputError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("params.yaml: train.epochs: missing"), 1, "params.yaml: train.epochs: missing"),
        (InputError("a\x1b[31m" + "y" * 9000), 1, "a\ufffd[31m" + "y" * 393 + "…"),
        (MemoryError(), 1, "not enough memory"),
        (MemoryError("no room for 3 TiB"), 1, "not enough memory: no room for 3 TiB"),
        (
            PermissionError(errno.EACCES, "Permission denied", "data/raw"),
            1,
            "data/raw: Permission denied; `dvc repro` goes on from there",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "No space left on device; `dvc repro` goes on from there",
        ),
        (KeyboardInterrupt(), 130, "stopped; `dvc repro` runs this stage again"),
    ],
)
def test_a_stage_ends_with_a_line_instead_of_a_traceback(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == line


@pytest.mark.parametrize("error", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "none")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run_stage(main)


def test_progress_without_a_terminal_is_one_line_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("train adam", 3, "trials") as progress:
        for seed in range(3):
            progress.advance(note=f"seed {seed}")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"train adam: 3 of 3 trials, \d+\.\d s, seed 2\n", err)


def test_long_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    with Progress("a.gz", 400, "B") as progress:
        for _ in range(4):
            progress.advance(100)
    first, second, end = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"a\.gz: 200 of 400 B, about \d+ s left", first)
    assert re.fullmatch(r"a\.gz: 300 of 400 B, about \d+ s left", second)
    assert re.fullmatch(r"a\.gz: 400 of 400 B, \d+\.\d s", end)


def test_the_time_left_counts_neither_what_was_kept_nor_the_first_units_compilation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("stages.common.console.time.monotonic", lambda: now_s)
    with Progress("train adam", 20, "trials") as progress:
        progress.find(10)
        for took_s in (100.0, 3.0, 3.0, 3.0, 3.0):
            now_s += took_s
            progress.advance()
        lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(", ")[2] for line in lines] == ["about 24 s left"]


def test_the_time_left_leaves_out_as_many_first_units_as_compile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("stages.common.console.time.monotonic", lambda: now_s)
    with Progress("train sgd and 2 more", 20, "trials", n_first=3) as progress:
        for took_s in (100.0, 50.0, 50.0, 6.0, 6.0, 6.0):
            now_s += took_s
            progress.advance()
        lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train sgd and 2 more: 4 of 20 trials, about 96 s left",
        "train sgd and 2 more: 6 of 20 trials, about 84 s left",
    ]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_tells_no_time_left_before_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("train", 20, "trials", n_first=2) as progress:
        progress.advance()
        time.sleep(0.2)
        progress.advance()
    assert "1 of 20 trials, ? left" in terminal.getvalue()
    assert "2 of 20 trials, ? left" in terminal.getvalue()


def test_what_own_code_prints_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("tqdm.std.tqdm.write", lambda text, **_: written.append(text))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    before = sys.stdout
    with Progress("train", 2, "trials"):
        print("my network has 3 layers")
    assert "".join(written).split("\n")[0] == "my network has 3 layers"
    assert sys.stdout is before
