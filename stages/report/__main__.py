"""`python -m stages.report`: writes the page, the pictures and the summary, prints the table."""

from stages.common.artifacts import (
    EVALUATION,
    METRICS,
    PLOTS,
    REPORT,
    read_budget_points,
    read_comparison,
    read_confusion,
    read_curve_points,
    read_mistakes,
    read_scores,
    read_tuning_points,
    write_text,
)
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.report.figures import Results, draw
from stages.report.page import build_page
from stages.report.pictures import write_pictures
from stages.report.summary import describe, summarise


def main() -> None:
    results = Results(
        params=load_params(),
        comparison=read_comparison(),
        scores=read_scores(),
        curves=read_curve_points(),
        tuning=read_tuning_points(),
        budget=read_budget_points(),
        confusion=read_confusion(),
        mistakes=read_mistakes(),
    )
    figures = draw(results)
    page = REPORT / "index.html"
    write_text(page, build_page(results, figures))
    pictures = write_pictures(REPORT, figures)
    summary = summarise(results.comparison, results.params, pictures)
    write_text(REPORT / "summary.md", summary)
    print(f"{describe(results.comparison)}\n\nResults: {page}, {METRICS}, {EVALUATION}, {PLOTS}")


run_stage(main)
