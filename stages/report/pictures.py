"""Writes charts as PNG files, for pages that cannot draw them, such as a pull request."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import vl_convert
from PIL import Image

from stages.common.files import replacing
from stages.report.charts.base import Figure, spec

NAMES = ("ranking", "curves", "sensitivity")
WIDTH = 640
FONTS = "FONTCONFIG_FILE"
CONFIG = {
    "background": "#ffffff",
    "font": "Liberation Sans",
    "legend": {"orient": "top", "symbolOpacity": 1},
    "padding": 12,
}


def choose_pictures(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The main charts that there are."""
    return {name: figures[name] for name in NAMES if name in figures}


def write_pictures(folder: Path, pictures: Mapping[str, Figure]) -> None:
    """Writes the chart of each figure as `NAME.png`."""
    texts = [cell for figure in pictures.values() for row in figure.table.rows for cell in row]
    with _own_fonts(are_enough=all(map(str.isascii, texts))):
        for name, figure in pictures.items():
            if figure.chart is None:
                continue
            png = vl_convert.vegalite_to_png(spec(figure.chart, CONFIG, WIDTH), scale=2)
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
