"""`python -m stages.report.history`: the results of every commit, in report/history.html."""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from io import SEEK_CUR, BytesIO
from pathlib import Path
from typing import Any

import altair as alt
import yaml
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from tabulate import tabulate

from stages.common.artifacts import METRICS, REPORT, write_text
from stages.common.console import InputError, run_stage
from stages.common.params import PARAMS_PATH, yaml_to_json
from stages.report.figures import SHOWN, assign_looks, look_scale, shown
from stages.report.page import render
from stages.report.tables import interval

PAGE = REPORT / "history.html"
N_ON_TERMINAL = 20


@dataclass(frozen=True)
class Score:
    """What a `metrics.json` says of one optimizer; older files say less."""

    test_accuracy: FiniteFloat | None = None
    test_accuracy_low: FiniteFloat | None = None
    test_accuracy_high: FiniteFloat | None = None
    configured_test_accuracy: FiniteFloat | None = None
    learning_rate: FiniteFloat | None = None


@dataclass(frozen=True)
class Metrics:
    """A `metrics.json`; `best` is None where it is undecided, empty where the file has none."""

    optimizers: Mapping[str, Score]
    best: str | None = ""


@dataclass(frozen=True)
class Entry:
    """A commit, by its abbreviated hash, or the working tree.

    `metrics` is without optimizers where the file cannot be read; `notes` tell of that, of what
    was merged, and of what changed in `params.yaml`.
    """

    commit: str
    date: str
    subject: str
    metrics: Metrics
    notes: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """Entries from the newest to the oldest; a shallow clone lacks what came before."""

    entries: tuple[Entry, ...]
    is_shallow: bool

    @property
    def shallow_note(self) -> str:
        oldest = self.entries[-1].commit
        return (
            f"This clone is shallow: its history begins at {oldest}, though the results there may "
            "be older. `git fetch --unshallow` brings the rest."
        ) * self.is_shallow


def optimizers(entries: Sequence[Entry]) -> list[str]:
    """Every name once, the first entry's first."""
    return list(dict.fromkeys(name for entry in entries for name in entry.metrics.optimizers))


# What Git knows


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
    """Reads what Git knows of `metrics.json`, and of the `params.yaml` beside it.

    Every commit up to HEAD that changed `metrics.json` is an entry, so is a merge of two lines that
    did, and so is the working tree if it differs. Parameters are compared with those of the entry
    before, a merge's with those of its first parent.

    Raises:
        InputError: If there is no Git repository, or no commit with a `metrics.json`.
    """
    shallow = _git(folder, "no Git repository here", "rev-parse", "--is-shallow-repository")
    commits = _commits(folder)
    last, metrics, params = commits[0], _bytes(folder / METRICS), _bytes(folder / PARAMS_PATH)
    # By lines, since Git may have changed their ends.
    if metrics is not None and metrics.splitlines() != (last.metrics or b"").splitlines():
        now = _Commit("", (last.hash,), "not committed", "", "", metrics, params)
        commits = [now, *commits]
    known = {commit.hash: commit for commit in commits}
    entries = (_entry(commit, [known[parent] for parent in commit.parents]) for commit in commits)
    return History(tuple(entries), is_shallow=shallow.strip() == b"true")


def _commits(folder: Path) -> list[_Commit]:
    """The newest first; Git makes each one's parents the nearest that are listed too."""
    fault = f"no commit has {METRICS}; run `make run` and commit what it writes"
    listing = ("--full-history", "--simplify-merges", "--date-order", "--parents")
    style = ("--encoding=UTF-8", "--format=%h%x00%as%x00%s")
    output = _git(folder, fault, "rev-list", *listing, *style, "HEAD", "--", str(METRICS))
    lines = output.decode(errors="replace").split("\n")[:-1]
    if not lines:
        raise InputError(f"history: {fault}")
    families = [header.split()[1:] for header in lines[::2]]
    names = [f"{own}:./{path}\n" for own, *_ in families for path in (METRICS, PARAMS_PATH)]
    contents = _contents(folder, names)
    commits = []
    for (own, *parents), line in zip(families, lines[1::2], strict=True):
        short, date, subject = _legible(line).split("\0")
        both = next(contents), next(contents)
        commits.append(_Commit(own, tuple(parents), short, date, subject, *both))
    return commits


def _contents(folder: Path, names: Sequence[str]) -> Iterator[bytes | None]:
    """What Git has under each name, by one process for all; None where it has nothing."""
    lines = "".join(names).encode()
    output = _git(folder, "cannot be read", "cat-file", "--batch", "--buffer", stdin=lines)
    with BytesIO(output) as batch:
        for _ in names:
            *_, size = batch.readline().split()
            yield batch.read(int(size)) if size.isdigit() else None
            batch.seek(size.isdigit(), SEEK_CUR)  # the end of the line after a content


def _git(folder: Path, fault: str, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ("git", *arguments)
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True)  # noqa: S603
    except FileNotFoundError:
        raise InputError("history: Git is not installed") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.decode(errors="replace").split())
        raise InputError(f"history: {fault} ({reason})") from None
    return done.stdout


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _legible(text: str) -> str:
    """Without the characters that steer a terminal or have no place in UTF-8."""
    return re.sub(r"[\x01-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text)


# What the two files say; a fault becomes words in their place


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
    legible = tuple(map(_legible, notes))
    return Entry(commit.abbreviated, commit.date, commit.subject, metrics, legible)


def _parse_metrics(content: bytes | None) -> tuple[Metrics, list[str]]:
    if content is None:
        return Metrics({}), [f"no {METRICS}"]
    try:
        metrics = TypeAdapter(Metrics).validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join([METRICS.name, *map(str, fault["loc"])])
        return Metrics({}), [f"{where} cannot be read: {fault['msg']}"]
    scores = {_legible(name): score for name, score in metrics.optimizers.items()}
    return Metrics(scores, metrics.best and _legible(metrics.best)), []


@cache
def _parse_params(content: bytes | None) -> dict[str, Any] | str:
    if content is None:
        return f"no {PARAMS_PATH}"
    try:
        loaded = json.loads(yaml_to_json(content))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        return f"{PARAMS_PATH} cannot be read: {' '.join(str(error).split())}"
    return loaded if isinstance(loaded, dict) else f"{PARAMS_PATH} cannot be read: no keys"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two `params.yaml`: `train.epochs 5 → 50`, `optimizers.lion added`.

    An optimizer whose entry stands under a new name is `optimizers: a renamed to b`.
    """
    old, new = before.get("optimizers"), after.get("optimizers")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return list(_differences(before, after))
    renamed: dict[str, str] = {}
    for name in sorted(new.keys() - old.keys()):
        twins = (n for n in old if n not in new and n not in renamed and old[n] == new[name])
        renamed.update((twin, name) for twin in [*twins][:1])
    kept = {renamed.get(name, name): entry for name, entry in old.items()}
    return [
        *(f"optimizers: {name} renamed to {now}" for name, now in renamed.items()),
        *_differences({**before, "optimizers": kept}, after),
    ]


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], section: str = ""
) -> Iterator[str]:
    for key in {**before, **after}:
        name = f"{section}{key}"
        if key not in after:
            yield f"{name} removed"
        elif key not in before:
            yield f"{name} added"
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from _differences(before[key], after[key], f"{name}.")
        elif before[key] != after[key]:
            yield f"{name} {_value(before[key])} → {_value(after[key])}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# As people see it


def chart(history: History) -> alt.LayerChart:
    """Test accuracies with their intervals, a line for each optimizer, a ring around the best."""
    names = optimizers(history.entries)
    named = assign_looks(names)
    rows = [_row(entry, name) for entry in reversed(history.entries) for name in names]
    about = [f"{name}:N" for name in ("commit", "date", "subject", "optimizer", "interval")]
    base = alt.Chart(alt.InlineData(values=rows)).transform_filter(SHOWN)
    base = base.encode(
        x=alt.X("commit:N", sort=None, title="oldest to newest").axis(labelOverlap=True),
        xOffset="optimizer:N",
        y=alt.Y("test_accuracy:Q", title="test accuracy").scale(zero=False),
        color=alt.Color("optimizer:N", scale=look_scale(named, "colour"), title=None),
        tooltip=[*about, alt.Tooltip("test_accuracy:Q", title="accuracy", format=".4f")],
    )
    low = alt.Y("test_accuracy_low:Q", title="test accuracy").scale(zero=False)
    has_interval = "isValid(datum.test_accuracy_low) && isValid(datum.test_accuracy_high)"
    layers = (
        base.mark_line(opacity=0.4),
        base.transform_filter(has_interval).mark_rule().encode(y=low, y2="test_accuracy_high:Q"),
        base.mark_point(filled=True, opacity=1, size=40).encode(
            shape=alt.Shape("optimizer:N", scale=look_scale(named, "shape"), title=None)
        ),
        base.transform_filter("datum.best").mark_point(size=160),
    )
    return alt.LayerChart(layer=layers, height=320).add_params(shown(names))


def _row(entry: Entry, optimizer: str) -> dict[str, Any]:
    about = {"commit": entry.commit, "date": entry.date, "subject": entry.subject}
    best = entry.metrics.best == optimizer
    score = entry.metrics.optimizers.get(optimizer, Score())
    between = interval(score.test_accuracy_low, score.test_accuracy_high)
    return {**about, "optimizer": optimizer, "best": best, "interval": between, **asdict(score)}


def page(history: History) -> str:
    """The page as HTML."""
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
    """The newest entries for a terminal; 80 columns hold five optimizers."""
    entries = history.entries[:N_ON_TERMINAL]
    names = optimizers(entries)
    n_older = len(history.entries) - len(entries)
    captions = (
        "Test accuracy, * the best, ± half the width of its interval.",
        f"And {n_older:,} older: {PAGE}" * bool(n_older),
        history.shallow_note,
    )
    table = tabulate(
        [line for entry in entries for line in _two_lines(entry, names)],
        ["commit", *(textwrap.fill(name, 9) for name in names)],
        disable_numparse=True,
        colalign=("left", *("right",) * len(names)),
    ).splitlines()
    body = len(table) - 2 * len(entries)
    lines = table[:body]
    for entry, *pair in zip(entries, table[body::2], table[body + 1 :: 2], strict=True):
        remarks = [*["undecided"] * (entry.metrics.best is None), *entry.notes]
        lines += ["", *pair, *_fill(entry.subject, "  "), *_fill("; ".join(remarks), "  ")]
    for caption in filter(None, captions):
        lines += ["", *_fill(caption)]
    return "\n".join(lines)


def _two_lines(entry: Entry, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Accuracies, and below them half the widths of their intervals."""
    accuracies, half_widths = [entry.commit], [entry.date]
    for name in names:
        score = entry.metrics.optimizers.get(name, Score())
        low, mean, high = score.test_accuracy_low, score.test_accuracy, score.test_accuracy_high
        mark = "*" * (name == entry.metrics.best)
        accuracies.append("-" if mean is None else f"{mark}{mean:.4f}")
        half_widths.append("" if low is None or high is None else f"±{(high - low) / 2:.4f}")
    return accuracies, half_widths


def _fill(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 80, initial_indent=indent, subsequent_indent=indent)


def main() -> None:
    history = read_history()
    write_text(PAGE, page(history))
    print(f"{describe(history)}\n\nResult: {PAGE}")


if __name__ == "__main__":
    run_stage(main)
