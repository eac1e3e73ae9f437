"""`python -m stages.sources`: notes which files of the user's own each optimizer's trials run.

Each train stage depends on its optimizer's note alone, so that an edit of an own optimizer trains
that one again and no other; an edit of an own network trains all.
"""

from hashlib import sha256

from stages.common.console import run_stage
from stages.common.data import SOURCES
from stages.common.files import Json
from stages.common.own import name_of, trial_files
from stages.common.params import load_params


def main() -> None:
    params = load_params()
    for name, optimizer in params.optimizers.items():
        files = trial_files(name, params.model, optimizer)
        digests = {name_of(path): sha256(path.read_bytes()).hexdigest() for path in files}
        Json(f"{name}.json", dict[str, dict[str, str]]).write(SOURCES, {"sha256": digests})


run_stage(main)
