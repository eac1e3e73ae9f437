"""Writes charts as PNG files, for pages that cannot draw them, such as a pull request."""

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import vl_convert
from PIL import Image

from stages.common.files import replacing

NAMES = ("ranking", "curves", "sensitivity")
WIDTH = 640
CONFIG = {
    "background": "#ffffff",
    "font": "Liberation Sans",
    "legend": {"orient": "top", "symbolOpacity": 1},
    "padding": 12,
}


def write_pictures(
    folder: Path, charts: Mapping[str, dict[str, Any]], *, own_fonts_are_enough: bool
) -> None:
    """Writes each chart, given as Vega-Lite, as `NAME.png`.

    Args:
        folder: Where to.
        charts: By name.
        own_fonts_are_enough: Whether vl-convert may use only the fonts that it ships; with the
            machine's own, the bytes would differ. It looks for fonts once in a process.
    """
    with TemporaryDirectory() as empty:
        if own_fonts_are_enough:
            config = Path(empty, "fonts.conf")
            config.write_text(f"<fontconfig><dir>{empty}</dir></fontconfig>", encoding="utf-8")
            os.environ["FONTCONFIG_FILE"] = str(config)
        for name, chart in charts.items():
            png = vl_convert.vegalite_to_png(chart, scale=2)
            with Image.open(BytesIO(png)) as image, replacing(folder / f"{name}.png") as path:
                # Fewer colours take a tenth of the bytes, since Git keeps every version.
                few = image.convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE)
                few.save(path)
