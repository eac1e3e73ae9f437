"""`python -m stages.report`: writes the page, pictures and summary, and prints the table."""

from stages.common.confirmation import CONFIRMATION, ROWS
from stages.common.console import run_stage
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
from stages.report.pictures import write_pictures
from stages.report.summary import describe, summarise


def main() -> None:
    results = Results(
        params=load_params(),
        comparison=COMPARISON.read(EVALUATION),
        scores=ROWS.read(CONFIRMATION),
        curves=CURVES.read(PLOTS),
        tuning=TUNING.read(PLOTS),
        confusion=CONFUSION.read(PLOTS),
        fitted=FITTED.read(PLOTS),
        mistakes=MISTAKES.read(EVALUATION),
    )
    figures = draw(results)
    page = REPORT / "index.html"
    write_text(page, build_page(results, figures))
    pictures = write_pictures(REPORT, figures)
    summary = summarise(results.comparison, results.params, pictures)
    write_text(REPORT / "summary.md", summary)
    text = describe(results.comparison)
    print(f"{text}\n\nResults: {page}, {METRICS.name}, {EVALUATION}, {PLOTS}")


run_stage(main)
