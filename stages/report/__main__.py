"""`python -m stages.report`: writes the page, pictures and summary, and prints the table."""

from concurrent.futures import ThreadPoolExecutor

import vl_convert

from stages.common.console import run_stage


def main() -> None:
    with ThreadPoolExecutor(1) as drawing:
        # The program that draws takes most of a second to start, as do the imports below.
        drawing.submit(vl_convert.vegalite_to_vega, {"mark": "point"})
        from stages.report.report import read_results, write_report

        print(write_report(read_results(), drawing))


run_stage(main)
