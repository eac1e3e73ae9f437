"""`python -m stages.preprocess`: decodes data/raw, checks it and holds out the validation split."""

from stages.common.artifacts import (
    RAW,
    TEST,
    TRAIN,
    VALIDATION,
    read_source,
    write_dataset,
    write_examples,
)
from stages.common.console import run_stage
from stages.common.params import load_params
from stages.preprocess.decode import decode
from stages.preprocess.split import split


def main() -> None:
    params = load_params()
    source = read_source()
    parts = split(source, decode(RAW, source), params.split)
    write_examples(TRAIN, parts.train)
    write_examples(VALIDATION, parts.validation)
    write_examples(TEST, parts.test)
    write_dataset(parts.dataset)


run_stage(main)
