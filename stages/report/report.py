"""Everything that the stage reads and writes."""

from concurrent.futures import Executor

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
from stages.report.charts.base import Results
from stages.report.charts.registry import draw
from stages.report.page import build_page
from stages.report.pictures import choose_pictures, write_pictures
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


def write_report(results: Results, drawing: Executor) -> str:
    """Writes the page, pictures and summary.

    Args:
        results: What the report is made from.
        drawing: Draws the pictures, while the page is made.

    Returns:
        The text for the terminal.
    """
    figures = draw(results)
    pictures = choose_pictures(figures)
    drawn = drawing.submit(write_pictures, REPORT, pictures)
    page = REPORT / "index.html"
    write_text(page, build_page(results, figures))
    summary = summarise(results.comparison, results.params, pictures)
    write_text(REPORT / "summary.md", summary)
    drawn.result()
    text = describe(results.comparison)
    return f"{text}\n\nResults: {page}, {METRICS.name}, {EVALUATION}, {PLOTS}"
