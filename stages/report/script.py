"""The program of a page: `page.js` with all that it imports, as one text."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import vl_convert

from stages.common.errors import InputError
from stages.common.files import Json, locate_cache

# The version that Altair writes.
VEGA_LITE = "6.4"


@dataclass(frozen=True)
class _Script:
    """The page's script, and what it was made of."""

    source: str
    sha256: str
    script: str


def keep_script() -> None:
    """Makes the script, if it was not kept."""
    load_script()


def load_script() -> str:
    """The script, which is kept for the next page, since making it takes seconds."""
    snippet = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    source = f"vl-convert {metadata.version('vl-convert-python')}, Vega-Lite {VEGA_LITE}\n{snippet}"
    file = Json("script.json", _Script)
    folder = locate_cache("page")
    with suppress(InputError):
        kept = file.read(folder)
        if (kept.source, kept.sha256) == (source, _sha256(kept.script)):
            return kept.script
    script = vl_convert.javascript_bundle(snippet, vl_version=VEGA_LITE)
    file.write(folder, _Script(source, _sha256(script), script))
    return script


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
