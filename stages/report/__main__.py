"""`python -m stages.report`: writes the page, pictures and summary, and prints the table."""

from stages.common.console import run_stage
from stages.report.drawing import open_drawing


def main() -> None:
    with open_drawing() as drawing:
        from stages.report.report import read_results, write_report

        print(write_report(read_results(), drawing))


run_stage(main)
