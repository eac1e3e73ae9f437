"""`make plots`: DVC's plots, and Vega for their page, so that it opens without a network."""

import subprocess
import sys

import vl_convert

from stages.common.console import run_stage
from stages.common.files import locate_cache, write_text

# Where .dvc/plots/page.html looks for it.
SCRIPT = locate_cache("vega.js")
# The version in the $schema of .dvc/plots/*.json.
VEGA_LITE = "5.21"
GLOBAL = "window.vegaEmbed = vegaEmbed;"


def write_script() -> None:
    """Writes Vega, Vega-Lite and Vega-Embed as one script, unless there is one; takes seconds."""
    if not SCRIPT.exists():
        write_text(SCRIPT, vl_convert.javascript_bundle(GLOBAL, vl_version=VEGA_LITE))


def main() -> None:
    write_script()
    command = (sys.executable, "-m", "dvc", "plots", "show")
    sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603


if __name__ == "__main__":
    run_stage(main)
