"""Everything that the stage reads and writes."""

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from pathlib import Path

from stages.common.confirmation import CONFIRMATION, ROWS
from stages.common.files import write_text
from stages.common.params import load_params
from stages.common.results import (
    COMPARISON,
    CONFUSION,
    CURVES,
    EVALUATION,
    FITTED,
    METRICS,
    MISTAKES,
    PLOTS,
    REPORT,
    TUNING,
)
from stages.report.charts.base import Figure, Results, spec
from stages.report.charts.registry import draw
from stages.report.page import build_page
from stages.report.pictures import CONFIG, NAMES, WIDTH, write_pictures
from stages.report.script import keep_script
from stages.report.summary import describe, summarise


def read_results() -> Results:
    return Results(
        params=load_params(),
        comparison=COMPARISON.read(EVALUATION),
        scores=ROWS.read(CONFIRMATION),
        curves=CURVES.read(PLOTS),
        tuning=TUNING.read(PLOTS),
        confusion=CONFUSION.read(PLOTS),
        fitted=FITTED.read(PLOTS),
        mistakes=MISTAKES.read(EVALUATION),
    )


def choose_pictures(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The main charts that there are."""
    return {name: figures[name] for name in NAMES if name in figures}


def draw_pictures(
    folder: Path, pictures: Mapping[str, Figure], drawing: Executor
) -> "Future[None]":
    """Lets the executor write the pictures."""
    texts = [cell for figure in pictures.values() for row in figure.table.rows for cell in row]
    charts = {name: figure.chart for name, figure in pictures.items()}
    return drawing.submit(
        write_pictures,
        folder,
        {name: spec(chart, CONFIG, WIDTH) for name, chart in charts.items() if chart is not None},
        own_fonts_are_enough=all(map(str.isascii, texts)),
    )


def write_report(results: Results, drawing: Executor) -> str:
    """Writes the page, pictures and summary.

    Args:
        results: What the report is made from.
        drawing: Makes the page's script and draws the pictures meanwhile.

    Returns:
        The text for the terminal.
    """
    kept = drawing.submit(keep_script)
    figures = draw(results)
    pictures = choose_pictures(figures)
    drawn = draw_pictures(REPORT, pictures, drawing)
    page = REPORT / "index.html"
    kept.result()
    write_text(page, build_page(results, figures))
    summary = summarise(results.comparison, results.params, pictures)
    write_text(REPORT / "summary.md", summary)
    drawn.result()
    text = describe(results.comparison)
    return f"{text}\n\nResults: {page}, {METRICS.name}, {EVALUATION}, {PLOTS}"
