"""The charts as PNG files, for pages that cannot draw them: a pull request, the README."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import vl_convert
from PIL import Image

from stages.common.artifacts import replacing
from stages.report.figures import Figure, spec

NAMES = ("ranking", "curves", "sensitivity")
WIDTH = 640
# A font that vl-convert brings along, so that the bytes do not depend on the machine's.
CONFIG = {
    "background": "#ffffff",
    "font": "Liberation Sans",
    "legend": {"orient": "top", "symbolOpacity": 1},
    "padding": 12,
}


def write_pictures(folder: Path, figures: Mapping[str, Figure]) -> list[Figure]:
    """Writes `NAME.png` for the main charts and says which there are."""
    pictures = [figures[name] for name in NAMES if name in figures]
    for figure in pictures:
        png = vl_convert.vegalite_to_png(spec(figure.chart, CONFIG, WIDTH), scale=2)
        with Image.open(BytesIO(png)) as image, replacing(folder / f"{figure.name}.png") as path:
            # A tenth of the bytes, for Git's history.
            image.convert("RGB").quantize(128).save(path, optimize=True)
    return pictures
