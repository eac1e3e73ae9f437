"""`python -m stages.report`: writes report/summary.md and prints the comparison."""

from stages.common.artifacts import (
    EVALUATION,
    METRICS,
    PLOTS,
    REPORT,
    read_comparison,
    write_text,
)
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.report.summary import describe, summarise


def main() -> None:
    params = load_params()
    comparison = read_comparison()
    summary = REPORT / "summary.md"
    write_text(summary, summarise(comparison, params))
    print(f"{describe(comparison)}\n\nResults: {summary}, {METRICS}, {EVALUATION}, {PLOTS}")


run_stage(main)
