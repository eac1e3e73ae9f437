"""`python -m stages.sources`: records which of the user's own files each optimizer's trials run.

Each train stage depends only on its own optimizer's record, so an edit of a custom optimizer trains
that one again and no other; an edit of a custom network trains all of them again.
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
