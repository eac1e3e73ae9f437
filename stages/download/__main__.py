"""`python -m stages.download`: fills data/raw with the configured data set."""

from stages.common.artifacts import RAW, write_source
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.download.catalogue import obtain


def main() -> None:
    params = load_params()
    write_source(obtain(params.dataset, RAW))


run_stage(main)
