"""The page of `dvc plots show`, without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.conftest import PROJECT

# A classification has no fitted values.
CHARTS = ["scores", "learning_curves", "sensitivity", "confusion"]


@pytest.fixture(scope="module")
def plots_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the committed results, with Vega beside it."""
    folder = tmp_path_factory.mktemp("plots")
    for name in (".dvc/plots", "plots"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in (".dvc/config", "dvc.yaml", "params.yaml"):
        shutil.copy2(PROJECT / name, folder / name)
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    command = (sys.executable, "-m", "commands.plots")
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "dvc_plots" / "index.html"


def visit_offline(browser: Browser, path: Path) -> Visit:
    page = browser.new_context(offline=True).new_page()
    page.set_default_timeout(PATIENCE_MS)
    visit = Visit(page)
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: visit.complaints.append(message.text) if message.type == "error" else None,
    )
    page.goto(path.as_uri())
    return visit


def test_plots_are_drawn_from_this_machine_alone(browser: Browser, plots_page: Path) -> None:
    visit = visit_offline(browser, plots_page)
    visit.page.wait_for_function(
        f"() => document.querySelectorAll('svg.marks').length === {len(CHARTS) + 1}"
    )
    drawn = visit.page.locator(".vega-embed:visible").evaluate_all("all => all.map(e => e.id)")
    assert drawn == CHARTS
    assert visit.complaints == []
    script = plots_page.parent.parent / ".cache" / "vega.js"
    assert [url for url in visit.requests if not url.startswith("data:")] == [
        plots_page.as_uri(),
        script.as_uri(),
    ]
    visit.page.context.close()


def test_without_vega_the_page_asks_the_network_and_says_what_to_do(
    browser: Browser, plots_page: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "dvc_plots" / plots_page.name
    alone.parent.mkdir()
    shutil.copy2(plots_page, alone)
    visit = visit_offline(browser, alone)
    assert "make plots" in visit.page.locator("body").inner_text()
    asked = [url for url in visit.requests if url.startswith("https://")]
    assert any("vega-embed" in url for url in asked)
    visit.page.context.close()
