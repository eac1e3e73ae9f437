"""`python -m stages.download`: fills data/raw with the configured data set."""

from stages.common.console import run_stage
from stages.common.data import RAW, SOURCE
from stages.common.params import load_params
from stages.download.catalogue import obtain


def main() -> None:
    params = load_params()
    SOURCE.write(RAW, obtain(params.dataset, RAW))


run_stage(main)
