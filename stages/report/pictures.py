"""The charts as PNG files, for pages that cannot draw them: a pull request, the README."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import vl_convert
from PIL import Image

from stages.common.artifacts import replacing
from stages.report.figures import Figure, spec

NAMES = ("ranking", "curves", "sensitivity")
WIDTH = 640
FONTS = "FONTCONFIG_FILE"
CONFIG = {
    "background": "#ffffff",
    "font": "Liberation Sans",
    "legend": {"orient": "top", "symbolOpacity": 1},
    "padding": 12,
}


def write_pictures(folder: Path, figures: Mapping[str, Figure]) -> list[Figure]:
    """Writes `NAME.png` for the main charts and says which there are."""
    pictures = [figures[name] for name in NAMES if name in figures]
    texts = [cell for figure in pictures for row in figure.table.rows for cell in row]
    with _own_fonts(are_enough=all(map(str.isascii, texts))):
        for figure in pictures:
            png = vl_convert.vegalite_to_png(spec(figure.chart, CONFIG, WIDTH), scale=2)
            with (
                Image.open(BytesIO(png)) as image,
                replacing(folder / f"{figure.name}.png") as path,
            ):
                # A tenth of the bytes, for Git's history.
                image.convert("RGB").quantize(128).save(path, optimize=True)
    return pictures


@contextmanager
def _own_fonts(*, are_enough: bool) -> Iterator[None]:
    """Has vl-convert see the fonts that it brings along and, if those are enough, no others.

    It looks for fonts once, when it first draws. A machine's own would make other bytes.
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
            os.environ |= {FONTS: before} if before else {}
