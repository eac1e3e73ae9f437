"""A browser without a network, and the pages that it opens."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from stages.common.files import write_text
from stages.common.results import Look
from stages.report.charts.base import Results
from stages.report.charts.registry import draw
from stages.report.page import build_page
from tests.conftest import PROJECT, lock_shared

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Playwright's own 30 s are short where many tests share the cores.
PATIENCE_MS = 120_000
COMMITTED = PROJECT / "report" / "index.html"


@dataclass(frozen=True)
class Visit:
    """An open page, what it told the console as a warning or an error, and what it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()


Open = Callable[..., Visit]


def launch(playwright: Playwright) -> Browser:
    """The browser of this machine.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is installed")
    as_root = ["--no-sandbox"] if os.getuid() == 0 else []
    return playwright.chromium.launch(
        executable_path=path, args=["--disable-gpu", *as_root], timeout=PATIENCE_MS
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            started = launch(playwright)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        with started:
            yield started


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Visit]:
    """The page of a file, drawn, without a network."""
    options = {"viewport": {"width": 1400, "height": 900}, "offline": True, **options}
    with browser.new_context(**options) as context:
        context.set_default_timeout(PATIENCE_MS)
        visit = Visit(context.new_page())
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on(
            "console",
            lambda message: (
                visit.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        visit.page.goto(path.as_uri())
        visit.page.wait_for_selector("html.drawn")
        yield visit


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page of a file for this test alone."""
    with ExitStack() as stack:
        yield lambda path, **options: stack.enter_context(opened(browser, path, **options))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of one of `CASES` or of `many`, in a file, once for all of pytest's workers."""
    # Imports TensorFlow, which must have been set up.
    from tests.examples import scored_run
    from tests.results import CASES, results, rising

    # More than a chart shows at first, whose long names differ in their last letters alone.
    many = {f"sgd_with_a_long_schedule_{i:02}": rising(0.9 - i / 100) for i in range(12)}
    of_many = {name: scored_run(trials) for name, trials in many.items()}

    def two_looks() -> Results:
        found = results(of_many)
        first, *others = of_many
        looks = (
            Look(10, tuple(of_many), first, 0.03, tuple(others[3:])),
            Look(15, (first, *others[:3]), first, 0.02, ()),
        )
        return replace(found, comparison=replace(found.comparison, looks=looks))

    cases = {**CASES, "many": two_looks}

    def render(case: str) -> Path:
        with lock_shared(tmp_path_factory, f"{case}.html") as path:
            if not path.exists():
                found = cases[case]()
                write_text(path, build_page(found, draw(found)))
        return path

    return render
