"""`python -m tests.browser.screenshots`: the README's pictures of the committed page.

Each picture holds the page's SHA-256, by which a test tells whether it still shows that page. The
pixels cannot tell, as each version of a browser draws others.
"""

import hashlib
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

from stages.common.files import replacing
from tests.browser.conftest import COMMITTED, Visit, launch, opened
from tests.conftest import PROJECT

FOLDER = PROJECT / "docs"
WIDTH = 1100
MARGIN = 14


def capture(visit: Visit, first: str, last: str, path: Path) -> None:
    """From the top of one element to the foot of another, in few colours."""
    top, bottom = (visit.page.locator(each).bounding_box() for each in (first, last))
    if top is None or bottom is None:
        sys.exit(f"screenshots: {first} or {last} is not to be seen")
    y = max(0, top["y"] - MARGIN)
    height = bottom["y"] + bottom["height"] + MARGIN - y
    about = PngInfo()
    about.add_text("page", hashlib.sha256(COMMITTED.read_bytes()).hexdigest())
    png = visit.page.screenshot(
        clip={"x": 0, "y": y, "width": WIDTH, "height": height}, full_page=True
    )
    with Image.open(BytesIO(png)) as image, replacing(path) as temporary:
        colours = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        colours.save(temporary, optimize=True, pnginfo=about)


def main() -> None:
    parts = {
        "report": ("light", "header", "section[aria-labelledby=pairs]"),
        "report-dark": (
            "dark",
            "section[aria-labelledby=curves]",
            "section[aria-labelledby=sensitivity]",
        ),
    }
    with sync_playwright() as playwright, launch(playwright) as browser:
        size = {"width": WIDTH, "height": 900}
        for name, (scheme, first, last) in parts.items():
            with opened(browser, COMMITTED, viewport=size, color_scheme=scheme) as visit:
                # It would cover what lies under it.
                visit.page.add_style_tag(content="#legend { position: static; }")
                capture(visit, first, last, FOLDER / f"{name}.png")
                print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
