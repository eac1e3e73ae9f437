"""`python -m stages.sources`: notes which files of the user's own each optimizer is made of.

Each train stage depends on its optimizer's note alone, so that an edit of an own optimizer trains
that one again and no other.
"""

from hashlib import sha256

from stages.common.console import run_stage
from stages.common.data import SOURCES
from stages.common.files import Json
from stages.common.own import own_files
from stages.common.params import load_params


def main() -> None:
    params = load_params()
    for name, optimizer in params.optimizers.items():
        files = own_files(f"optimizers.{name}.class_name", optimizer.class_name)
        digests = {str(path): sha256(path.read_bytes()).hexdigest() for path in files}
        Json(f"{name}.json", dict[str, dict[str, str]]).write(SOURCES, {"sha256": digests})


run_stage(main)
