"""`python -m stages.report.history`: writes the history of results to report/history.html."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import altair as alt

from stages.common.console import run_stage
from stages.common.files import write_text
from stages.common.results import REPORT, OptimizerMetrics
from stages.report.charts.base import SCORE, assign_looks, by_shape, choosable_layers, plot
from stages.report.page import render
from stages.report.past import Entry, History, optimizers, read_history
from stages.report.tables import fill, interval

PAGE = REPORT / "history.html"
N_ON_TERMINAL = 20
WIDTH = 80


def chart(entries: Sequence[Entry]) -> alt.LayerChart:
    """Test scores with intervals: a line per optimizer, and a ring around the best."""
    names = optimizers(entries)
    rows = [_row(entry, name) for entry in reversed(entries) for name in names]
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
    groups = [
        # The charts' places on the page.
        ("history" if i == 0 else f"history-{i + 1}", question, entries, optimizers(entries))
        for i, (question, entries) in enumerate(history.by_question.items())
    ]
    return render(
        "history.html.j2",
        {place: chart(entries) for place, _, entries, _ in groups},
        assign_looks(optimizers(history.entries)),
        groups=groups,
        remarks=history.remarks,
    )


def describe(history: History) -> str:
    """The newest entries for a terminal, those of a question together."""
    newest = replace(history, entries=history.entries[:N_ON_TERMINAL])
    lines = []
    for question, entries in newest.by_question.items():
        lines += [fill(question), "-" * WIDTH]
        for entry in entries:
            lines += [*_describe_entry(entry), ""]
    lines.append("Test score; * marks the best, ± is half the width of the interval.")
    n_older = len(history.entries) - len(newest.entries)
    if n_older:
        lines += ["", f"And {n_older:,} older: {PAGE}"]
    for remark in history.remarks:
        lines += ["", fill(remark)]
    return "\n".join(lines)


def _describe_entry(entry: Entry) -> list[str]:
    start = "  ".join(filter(None, (entry.commit, entry.date)))
    remarks = entry.notes if entry.metrics.best is not None else (entry.best, *entry.notes)
    lines = [fill(entry.subject, f"{start}  ") if entry.subject else start]
    lines += _side_by_side([_cells(name, entry) for name in entry.metrics.optimizers])
    return lines + [fill(text, "  ") for text in ("; ".join(remarks),) if text]


def _cells(name: str, entry: Entry) -> tuple[str, str, str]:
    """The optimizer, its score, and half the width of the interval."""
    found, style = entry.metrics.optimizers[name], entry.style
    low, mean, high = found.low, found.score, found.high
    mark = "*" if name == entry.metrics.best else ""
    score = "-" if mean is None else f"{mark}{mean:{style}}"
    return name, score, "" if low is None or high is None else f"±{(high - low) / 2:{style}}"


def _side_by_side(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """As many in a line as fit, aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        f"  {name:<{widths[0]}} {score:>{widths[1]}} {half_width:<{widths[2]}}"
        for name, score, half_width in rows
    ]
    n = max(1, WIDTH // (sum(widths) + 4)) if rows else 1
    return ["".join(texts[i : i + n]).rstrip() for i in range(0, len(texts), n)]


def main(arguments: Sequence[str] = ()) -> None:
    parser = ArgumentParser("python -m stages.report.history", description=__doc__)
    parser.add_argument("--all", action="store_true", help="with all of the project's own results")
    history = read_history(everything=parser.parse_args(arguments).all)
    write_text(PAGE, page(history))
    print(f"{describe(history)}\n\nResult: {PAGE}")


if __name__ == "__main__":
    run_stage(lambda: main(sys.argv[1:]))
