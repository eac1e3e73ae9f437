"""`python -m stages.download`: fills data/raw with the configured data set."""

from stages.common.console import run_stage
from stages.common.data import RAW, SOURCE
from stages.common.files import write_digests
from stages.common.params import load_params
from stages.download.catalogue import obtain


def main() -> None:
    params = load_params()
    source = obtain(params.dataset, RAW)
    SOURCE.write(RAW, source)
    write_digests(RAW, SOURCE.name, *(file.name for file in source.files))


run_stage(main)
