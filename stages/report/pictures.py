"""Writes charts as PNG files, for pages that cannot draw them, such as a pull request."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import vl_convert
from PIL import Image

from stages.common.files import replacing

NAMES = ("ranking", "curves", "sensitivity")
WIDTH = 640
FONTS = "FONTCONFIG_FILE"
CONFIG = {
    "background": "#ffffff",
    "font": "Liberation Sans",
    "legend": {"orient": "top", "symbolOpacity": 1},
    "padding": 12,
}


def write_pictures(
    folder: Path, charts: Mapping[str, dict[str, Any]], *, own_fonts_are_enough: bool
) -> None:
    """Writes each chart, given as Vega-Lite, as `NAME.png`."""
    with _own_fonts(are_enough=own_fonts_are_enough):
        for name, chart in charts.items():
            png = vl_convert.vegalite_to_png(chart, scale=2)
            with Image.open(BytesIO(png)) as image, replacing(folder / f"{name}.png") as path:
                # Fewer colours take a tenth of the bytes, since Git keeps every version.
                few = image.convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE)
                few.save(path)


@contextmanager
def _own_fonts(*, are_enough: bool) -> Iterator[None]:
    """Lets vl-convert use only the fonts that it ships, if those are enough.

    It looks for fonts once, when it first draws. With the machine's own, the bytes would differ.
    """
    with TemporaryDirectory() as empty:
        config = Path(empty, "fonts.conf")
        config.write_text(f"<fontconfig><dir>{empty}</dir></fontconfig>", encoding="utf-8")
        before = os.environ.get(FONTS)
        if are_enough:
            os.environ[FONTS] = str(config)
        try:
            yield
        finally:
            os.environ.pop(FONTS, None)
            if before:
                os.environ[FONTS] = before
