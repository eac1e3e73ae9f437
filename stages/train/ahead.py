"""`python -m stages.train.ahead`: the trials of all pending optimizers at once, into the store.

DVC runs one stage after the other, and each leaves workers idle at its end. `make run` comes here
first; the stages then find their trials in the store, and DVC's own files stay what they are.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from stages.common.artifacts import TRAIN, VALIDATION, read_dataset, read_examples
from stages.common.console import InputError, notice, run_stage
from stages.common.params import load_params
from stages.train.optimizers import check_optimizers
from stages.train.store import locate_store
from stages.train.sweep import sweep
from stages.train.work import Data
from stages.train.workers import open_workers


def main() -> None:
    params = load_params()
    names = find_pending(params.optimizers)
    if len(names) < 2:
        return  # one stage alone does as well
    check_optimizers(params.optimizers)
    data = Data(read_examples(TRAIN), read_examples(VALIDATION))
    with open_workers() as workers:
        sweep(names, params, read_dataset(), data, store_folder=locate_store(), workers=workers)
    notice(f"trials of {', '.join(names)}: in {locate_store()}, where their stages find them")


def find_pending(names: Iterable[str]) -> list[str]:
    """Those whose train stage DVC would run.

    Raises:
        InputError: If DVC cannot tell.
    """
    stages = {f"train@{name}": name for name in names}
    # Without their names, which DVC would look up one by one.
    command = (sys.executable, "-m", "dvc", "status", "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        status = json.loads(done.stdout)
    except ValueError:
        raise InputError(f"dvc status: {done.stderr.strip()}") from None
    return [
        stages[stage]
        for stage, changes in status.items()
        if stage in stages and not all(map(_is_in_cache, changes))
    ]


def _is_in_cache(change: Any) -> bool:
    """Whether DVC needs only to put outputs back that were deleted."""
    match change:
        case {"changed outs": outs, **others}:
            return not others and set(outs.values()) == {"deleted"}
    return False


if __name__ == "__main__":
    run_stage(main)
