"""`python -m stages.report.history`: writes the results of every commit to report/history.html."""

import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import altair as alt

from stages.common.console import run_stage
from stages.common.errors import InputError, legible, one_line
from stages.common.files import describe_fault, write_text
from stages.common.params import PARAMS_PATH, read_yaml
from stages.common.results import METRICS, REPORT, Metrics, OptimizerMetrics
from stages.report.charts.base import SCORE, assign_looks, by_shape, choosable_layers, plot
from stages.report.page import render
from stages.report.tables import Table, as_text, fill, in_words, interval

PAGE = REPORT / "history.html"
N_ON_TERMINAL = 20


@dataclass(frozen=True)
class Entry:
    """A commit, by its abbreviated hash, or the working tree.

    `metrics` has no optimizers if the file cannot be read. `notes` say so, and also what was
    merged and what changed in `params.yaml`.
    """

    commit: str
    date: str
    subject: str
    metrics: Metrics
    notes: tuple[str, ...]

    @property
    def best(self) -> str:
        """The optimizer to take, or why there is none; older results could leave it open."""
        if self.metrics.best is not None:
            return self.metrics.best
        return "undecided" if self.metrics.seeds is None else "every trial failed"


@dataclass(frozen=True)
class History:
    """Entries from newest to oldest; a shallow clone lacks the oldest ones, and a note says so."""

    entries: tuple[Entry, ...]
    shallow_note: str


def optimizers(entries: Sequence[Entry]) -> list[str]:
    """Every name once, in the order of the entries."""
    return list(dict.fromkeys(name for entry in entries for name in entry.metrics.optimizers))


# Reading Git


@dataclass(frozen=True)
class _Commit:
    hash: str
    parents: tuple[str, ...]
    abbreviated: str
    date: str
    subject: str
    metrics: bytes | None
    params: bytes | None


def read_history(folder: Path = Path()) -> History:
    """Reads every version of `metrics.json`, and of the `params.yaml` beside it, from Git.

    Every commit up to HEAD that changed `metrics.json` is an entry, as is every merge of two
    branches that did, and the working tree if it differs. Parameters are compared with those of the
    previous entry; for a merge, with those of its first parent.

    Raises:
        InputError: If there is no Git repository, or no commit with a `metrics.json`.
    """
    shallow = _git(folder, "no Git repository here", "rev-parse", "--is-shallow-repository")
    commits = _commits(folder)
    last, metrics, params = commits[0], _bytes(folder / METRICS.name), _bytes(folder / PARAMS_PATH)
    # Compared by lines, since Git may have converted the line endings.
    if metrics is not None and metrics.splitlines() != (last.metrics or b"").splitlines():
        now = _Commit("", (last.hash,), "not committed", "", "", metrics, params)
        commits = [now, *commits]
    known = {commit.hash: commit for commit in commits}
    entries = (_entry(commit, [known[parent] for parent in commit.parents]) for commit in commits)
    note = ""
    if shallow.strip() == b"true":
        note = (
            f"This clone is shallow: its history begins at {commits[-1].abbreviated}, though the "
            "results there may be older. `git fetch --unshallow` gets the rest."
        )
    return History(tuple(entries), note)


def _commits(folder: Path) -> list[_Commit]:
    """Newest first; Git rewrites parents to the nearest ancestors that are also listed."""
    fault = f"no commit has {METRICS.name}; run `make run` and commit what it writes"
    listing = ("--full-history", "--simplify-merges", "--date-order", "--parents")
    style = ("--encoding=UTF-8", "--format=%h%x00%as%x00%s")
    output = _git(folder, fault, "rev-list", *listing, *style, "HEAD", "--", METRICS.name)
    lines = output.decode(errors="replace").split("\n")[:-1]
    if not lines:
        raise InputError(f"history: {fault}")
    families = [header.split()[1:] for header in lines[::2]]
    names = [f"{own}:./{path}\n" for own, *_ in families for path in (METRICS.name, PARAMS_PATH)]
    contents = _contents(folder, names)
    commits = []
    for (own, *parents), line in zip(families, lines[1::2], strict=True):
        short, date, subject = map(legible, line.split("\0"))
        both = next(contents), next(contents)
        commits.append(_Commit(own, tuple(parents), short, date, subject, *both))
    return commits


def _contents(folder: Path, names: Sequence[str]) -> Iterator[bytes | None]:
    """The content of each name, or None if Git has none; one process reads them all."""
    lines = "".join(names).encode()
    output = _git(folder, "cannot be read", "cat-file", "--batch", "--buffer", stdin=lines)
    with BytesIO(output) as batch:
        for _ in names:
            *_, size = batch.readline().split()
            if size.isdigit():
                yield batch.read(int(size))
                batch.read(1)  # the end of the line
            else:
                yield None


def _git(folder: Path, fault: str, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ("git", *arguments)
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True)  # noqa: S603
    except FileNotFoundError:
        raise InputError("history: Git is not installed") from None
    except subprocess.CalledProcessError as error:
        reason = one_line(error.stderr.decode(errors="replace"))
        raise InputError(f"history: {fault} ({reason})") from None
    return done.stdout


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


# Parsing the two files; what cannot be read becomes a note


def _entry(commit: _Commit, parents: Sequence[_Commit]) -> Entry:
    metrics, notes = _parse_metrics(commit.metrics)
    if len(parents) > 1:
        notes.append(f"merge of {' and '.join(parent.abbreviated for parent in parents)}")
    after = _parse_params(commit.params)
    if isinstance(after, str):
        notes.append(after)
    elif parents:
        before = _parse_params(parents[0].params)
        unknown = f"changes since {parents[0].abbreviated} are unknown: {before}"
        notes += [unknown] if isinstance(before, str) else changes(before, after)
    return Entry(
        commit.abbreviated, commit.date, commit.subject, metrics, tuple(map(legible, notes))
    )


def _parse_metrics(content: bytes | None) -> tuple[Metrics, list[str]]:
    if content is None:
        return Metrics(optimizers={}), [f"no {METRICS.name}"]
    try:
        metrics = METRICS.decode(content)
    except ValueError as error:
        return Metrics(optimizers={}), [f"{METRICS.name} cannot be read: {describe_fault(error)}"]
    scores = {legible(name): score for name, score in metrics.optimizers.items()}
    best = metrics.best and legible(metrics.best)
    return replace(metrics, optimizers=scores, best=best), []


@cache
def _parse_params(content: bytes | None) -> dict[str, Any] | str:
    if content is None:
        return f"no {PARAMS_PATH}"
    try:
        loaded = read_yaml(content)
    except ValueError as error:
        return f"{PARAMS_PATH} cannot be read: {error}"
    return loaded if isinstance(loaded, dict) else f"{PARAMS_PATH} cannot be read: no keys"


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], section: str = ""
) -> Iterator[str]:
    """What differs between two `params.yaml`: `train.epochs 5 → 50`, `optimizers.lion added`."""
    for key in {**before, **after}:
        name = f"{section}{key}"
        if key not in after:
            yield f"{name} removed"
        elif key not in before:
            yield f"{name} added"
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from changes(before[key], after[key], f"{name}.")
        elif before[key] != after[key]:
            yield f"{name} {in_words(before[key])} → {in_words(after[key])}"


# Writing the page and the terminal's table


def chart(history: History) -> alt.LayerChart:
    """Test scores with intervals: a line per optimizer, and a ring around the best."""
    names = optimizers(history.entries)
    rows = [_row(entry, name) for entry in reversed(history.entries) for name in names]
    about = [f"{name}:N" for name in ("commit", "date", "subject", "optimizer", "interval")]
    base = plot(
        rows,
        x=alt.X("commit:N", sort=None, title="oldest to newest").axis(labelOverlap=True),
        xOffset="optimizer:N",
        y=alt.Y("score:Q", title="test score").scale(zero=False),
        tooltip=[*about, SCORE],
    )
    low = alt.Y("low:Q", title="test score").scale(zero=False)
    has_interval = "isValid(datum.low) && isValid(datum.high)"
    return choosable_layers(
        names,
        base.mark_line(opacity=0.4),
        base.transform_filter(has_interval).mark_rule().encode(y=low, y2="high:Q"),
        base.mark_point(filled=True, opacity=1, size=40).encode(shape=by_shape(names)),
        base.transform_filter("datum.best").mark_point(size=160),
        height=320,
    )


def _row(entry: Entry, optimizer: str) -> dict[str, Any]:
    score = entry.metrics.optimizers.get(optimizer, OptimizerMetrics())
    return {
        "commit": entry.commit,
        "date": entry.date,
        "subject": entry.subject,
        "optimizer": optimizer,
        "best": entry.metrics.best == optimizer,
        "interval": interval(score.low, score.high),
        **asdict(score),
    }


def page(history: History) -> str:
    """Renders the page as HTML."""
    names = optimizers(history.entries)
    return render(
        "history.html.j2",
        {"history": chart(history)},
        assign_looks(names),
        entries=history.entries,
        optimizers=names,
        shallow_note=history.shallow_note,
    )


def describe(history: History) -> str:
    """The newest entries, for a terminal; 80 columns hold five optimizers."""
    entries = history.entries[:N_ON_TERMINAL]
    names = optimizers(entries)
    n_older = len(history.entries) - len(entries)
    headers = ("commit", *(textwrap.fill(name, 9) for name in names))
    rows = [line for entry in entries for line in _two_lines(entry, names)]
    table = as_text(Table(headers, rows), "simple").splitlines()
    body = len(table) - 2 * len(entries)
    lines = table[:body]
    for entry, *pair in zip(entries, table[body::2], table[body + 1 :: 2], strict=True):
        remarks = entry.notes if entry.metrics.best is not None else (entry.best, *entry.notes)
        texts = (entry.subject, "; ".join(remarks))
        lines += ["", *pair, *(fill(text, "  ") for text in texts if text)]
    lines += ["", "Test score; * marks the best, ± is half the width of the interval."]
    if n_older:
        lines += ["", f"And {n_older:,} older: {PAGE}"]
    if history.shallow_note:
        lines += ["", fill(history.shallow_note)]
    return "\n".join(lines)


def _two_lines(entry: Entry, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The scores, and a second line with half the widths of their intervals."""
    scores, half_widths = [entry.commit], [entry.date]
    for name in names:
        score = entry.metrics.optimizers.get(name, OptimizerMetrics())
        low, mean, high = score.low, score.score, score.high
        mark = "*" if name == entry.metrics.best else ""
        scores.append("-" if mean is None else f"{mark}{mean:.4f}")
        half_widths.append("" if low is None or high is None else f"±{(high - low) / 2:.4f}")
    return scores, half_widths


def main() -> None:
    history = read_history()
    write_text(PAGE, page(history))
    print(f"{describe(history)}\n\nResult: {PAGE}")


if __name__ == "__main__":
    run_stage(main)
