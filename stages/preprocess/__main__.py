"""`python -m stages.preprocess`: decodes data/raw, checks it and holds out the validation split."""

from stages.common.console import run_stage
from stages.common.data import DATASET, PROCESSED, RAW, SOURCE, TEST, TRAIN, VALIDATION
from stages.common.files import write_digests
from stages.common.params import load_params
from stages.preprocess.decode import decode
from stages.preprocess.split import split
from stages.preprocess.table import read_table


def main() -> None:
    params = load_params()
    source = SOURCE.read(RAW)
    columns = None
    if source.format == "table":
        columns, arrays = read_table(RAW, source)
    else:
        arrays = decode(RAW, source)
    parts = split(source, arrays, params.split, params.task.name, columns)
    TRAIN.write(PROCESSED, parts.train)
    VALIDATION.write(PROCESSED, parts.validation)
    TEST.write(PROCESSED, parts.test)
    DATASET.write(PROCESSED, parts.dataset)
    write_digests(PROCESSED, TRAIN.name, VALIDATION.name, TEST.name, DATASET.name)


run_stage(main)
