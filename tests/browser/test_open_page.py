"""The report's page as a browser shows it."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from stages.common import results
from stages.report import history
from stages.report.charts.base import assign_looks
from stages.report.past import read_history
from tests.browser.conftest import COMMITTED, Open, Visit, opened
from tests.conftest import PROJECT, git_environment, mainly
from tests.results import CASES, ODD_DATASET, ODD_NAMES

METRICS = json.loads((PROJECT / "metrics.json").read_text(encoding="utf-8"))
COMPARISON = results.COMPARISON.read(PROJECT / results.EVALUATION)
MARKS = ".role-mark path, .role-mark line, .role-mark text"
NOTHING = r"\b(?:NaN|nan|null|undefined|None|Infinity|inf)\b"
# Vega has drawn the charts as wide as there is room. Of an expression that is no function, the
# page's policy would forbid the evaluation.
FITS = (
    "() => [...document.querySelectorAll('.chart svg')].every(svg =>"
    "  Math.abs(svg.getAttribute('width') - svg.parentElement.clientWidth) <= 1)"
)
PAGES = ("committed", *(case for case in (*CASES, "many") if case != "usual"), "history")
USUAL = ("committed", "many", "numbers", "history")


@pytest.fixture(scope="session")
def history_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of a repository with two commits."""
    folder = tmp_path_factory.mktemp("history")

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=git_environment(), check=True)

    git("init", "--quiet")
    for best, subject in ((0.9, "First"), (0.92, 'A <b>better</b> "rate" 학습률')):
        scores = {"adam": {"score": best}, "sgd": {"score": 0.8}}
        for score in scores.values():
            score["low"] = score["score"] - 0.01
            score["high"] = score["score"] + 0.01
        metrics = {"best": "adam", "optimizers": scores}
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        git("add", "--all")
        git("commit", "--quiet", "--message", subject)
    path = folder / "history.html"
    path.write_text(history.page(read_history(folder)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=mainly(USUAL, PAGES))
def visit(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Visit]:
    """Each page in turn, open for all the tests that only look."""
    if request.param == "committed":
        path = COMMITTED
    elif request.param == "history":
        path = request.getfixturevalue("history_page")
    else:
        path = request.getfixturevalue("rendered")(request.param)
    with opened(browser, path) as visit:
        yield visit


def test_a_page_opens_without_a_complaint_and_asks_for_nothing_else(visit: Visit) -> None:
    assert visit.complaints == []
    own = visit.page.url
    assert [url for url in visit.requests if not url.startswith("data:")] == [own]
    assert own.startswith("file://")


def test_every_chart_has_marks(visit: Visit) -> None:
    charts = visit.page.locator(".chart").all()
    assert charts != []
    assert [c.get_attribute("id") for c in charts if not c.locator(MARKS).count()] == []


def test_nothing_is_said_of_what_is_not_known(visit: Visit) -> None:
    # With the tables open, and what charts hold beside their text.
    visit.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    told = visit.page.locator("body").inner_text().splitlines()
    attributes = visit.page.evaluate(
        "[...document.querySelectorAll('main, main *')].flatMap("
        "  each => [...each.attributes].map(({name, value}) => `${name}=${value}`))"
    )
    assert [each for each in (*told, *attributes) if re.search(NOTHING, each)] == []


def test_tooltips_say_what_is_known(visit: Visit) -> None:
    tooltips = visit.page.evaluate(
        """() => {
            const texts = new Set();
            const at = {bubbles: true, clientX: 9, clientY: 9};
            for (const mark of document.querySelectorAll(".chart .role-mark *")) {
                for (const type of ["pointermove", "mousemove"])
                    mark.dispatchEvent(new MouseEvent(type, at));
                const tooltip = document.querySelector("#vg-tooltip-element.visible");
                if (tooltip) texts.add(tooltip.innerText.replace(/\\s+/g, " ").trim());
            }
            document.querySelector("#vg-tooltip-element")?.classList.remove("visible");
            return [...texts];
        }"""
    )
    assert tooltips != []
    assert [text for text in tooltips if re.search(NOTHING, text)] == []


def outside(visit: Visit) -> list[str]:
    """What charts write beyond their own room."""
    found: list[str] = visit.page.evaluate(
        """() => [...document.querySelectorAll(".chart text")].filter(text => {
            const [own, room] = [text, text.closest(".chart")].map(e => e.getBoundingClientRect());
            return own.left < room.left - 1 || own.right > room.right + 1
                || own.top < room.top - 1 || own.bottom > room.bottom + 1;
        }).map(text => `${text.closest(".chart").id}: ${text.textContent}`)"""
    )
    return found


@pytest.mark.parametrize("width", [360, 1400])
def test_all_of_a_page_fits_the_window(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.wait_for_function(FITS)
    widths = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    beyond = outside(visit)
    visit.page.set_viewport_size({"width": 1400, "height": 900})
    assert widths == [width, width]
    assert beyond == []


def barriers(visit: Visit) -> list[tuple[str, str]]:
    """What keeps somebody from reading the page: the rule, and an example."""
    found = Axe().run(visit.page).response["violations"]
    serious = [each for each in found if each["impact"] in {"serious", "critical"}]
    return [(each["id"], each["nodes"][0]["html"]) for each in serious]


def test_a_page_is_accessible(visit: Visit) -> None:
    assert barriers(visit) == []


@pytest.fixture(params=["committed", "history"])
def own_visit(request: pytest.FixtureRequest, open_page: Open) -> Visit:
    """A page of each kind, for one test alone."""
    is_history = request.param == "history"
    return open_page(request.getfixturevalue("history_page") if is_history else COMMITTED)


def test_a_dark_page_is_accessible(own_visit: Visit) -> None:
    own_visit.page.emulate_media(color_scheme="dark")
    assert barriers(own_visit) == []


def luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_printed_page_is_dark_on_white(
    own_visit: Visit, scheme: Literal["light", "dark"]
) -> None:
    own_visit.page.emulate_media(media="print", color_scheme=scheme)
    texts = own_visit.page.evaluate(
        "[...document.querySelectorAll('main *')].filter(each => each.childNodes.length"
        "  && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())"
        "  && each.getClientRects().length).map(each => each.ownerSVGElement"
        "  ? getComputedStyle(each).fill : getComputedStyle(each).color)"
    )
    page = own_visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance(page) == 1
    assert texts != []
    assert {text for text in texts if 1.05 / (luminance(text) + 0.05) < 4.5} == set()


LINES = "#chart-curves .mark-line.role-mark path"


def wait_for_lines(visit: Visit, n: int) -> None:
    visit.page.wait_for_function(
        "([lines, n]) => document.querySelectorAll(lines).length === n", arg=[LINES, n]
    )


def test_the_legend_chooses_the_optimizers(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    colour = assign_looks(METRICS["optimizers"])["adam"].colour
    charts = [f"#chart-{name}" for name in ("curves", "sensitivity", "classes")]
    own = ", ".join(f"{c} [stroke='{colour}'], {c} [fill='{colour}']" for c in charts)
    before, adams = visit.count(LINES), visit.count(own)
    assert before == 2 * len(METRICS["optimizers"])  # validation and training
    assert adams > 0
    box = visit.page.get_by_label("adam", exact=True)
    box.uncheck()
    wait_for_lines(visit, before - 2)
    assert visit.count(own) == 0
    box.focus()
    visit.page.keyboard.press("Space")
    wait_for_lines(visit, before)
    assert visit.count(own) == adams
    assert visit.complaints == []


def test_choosing_none_and_others_leaves_room_for_the_labels(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    boxes = visit.page.locator("#legend input").all()
    for box in boxes:
        box.uncheck()
    wait_for_lines(visit, 0)
    # Laid out anew, with nothing to label.
    visit.page.set_viewport_size({"width": 1000, "height": 900})
    visit.page.wait_for_function(FITS)
    for box in boxes[1:]:
        box.check()
    wait_for_lines(visit, 2 * len(boxes[1:]))
    assert outside(visit) == []
    assert visit.complaints == []


def test_the_standings_are_those_of_the_metrics(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    rows = visit.page.locator("section[aria-labelledby=protocol] tbody tr").all()
    shown = [row.locator("th, td").all_inner_texts() for row in rows]
    assert {row[0]: row[1:5] for row in shown} == {
        name: [
            f"{score['score']:.4f}",
            f"{score['low']:.4f}-{score['high']:.4f}",
            f"{score['rate']:.3g}",
            f"{COMPARISON.optimizers[name].configured.test_score.mean:.4f}",
        ]
        for name, score in METRICS["optimizers"].items()
    }
    diverged = {row[0]: int(row[5].split()[0]) for row in shown}
    assert diverged == {name: score["failed"] for name, score in METRICS["optimizers"].items()}


def test_the_verdict_and_its_lines_are_those_of_the_comparison(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    assert visit.page.locator(".verdict").inner_text() == COMPARISON.verdict
    assert visit.page.locator(".details li").all_inner_texts() == list(COMPARISON.details)
    looks = visit.page.locator("section[aria-labelledby=race] tbody tr").all()
    assert [int(look.locator("th").inner_text()) for look in looks] == [
        look.n_seeds for look in COMPARISON.looks
    ]


def test_the_warnings_are_as_many_as_the_metrics_count(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    n_warnings = METRICS["warnings"]
    assert visit.count(".warnings li") == n_warnings
    told = visit.page.locator("header a:not(.digest)").all_inner_texts()
    assert told == [f"{n_warnings} warning{'s' * (n_warnings > 1)}"] * (n_warnings > 0)


def test_no_other_script_runs(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    visit.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.intruder = true";
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.intruder = true");
            image.src = "data:,";
            document.body.append(script, image);
            return new Promise(resolve => image.addEventListener("error", () => resolve()));
        }"""
    )
    assert visit.page.evaluate("window.intruder") is None
    assert len(visit.complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in visit.complaints)


def test_odd_names_are_text(open_page: Open, rendered: Callable[[str], Path]) -> None:
    visit = open_page(rendered("odd_names"))
    page = visit.page
    assert page.title() == f"Which optimizer? {ODD_DATASET.name}"
    texts = page.locator("main").inner_text()
    assert [name for name in (ODD_DATASET.name, *ODD_NAMES) if name not in texts] == []
    assert page.locator("#legend label").all_inner_texts() == sorted(ODD_NAMES)
    assert visit.count("main i, main [onerror], main b[title], main script") == 0
    # Whole, if need be in several lines.
    ticks = page.locator("#chart-ranking .role-axis-label text").all_text_contents()
    assert [name for name in ODD_NAMES if name not in ticks] == []
    # On both sides of the confusion matrix, cut where they are long.
    labels = page.locator("#chart-confusion .role-axis-label text").all_text_contents()
    assert [labels.count(name) for name in ODD_NAMES] == [2, 2, 0, 2]
    # The legend, which stays on top, may cover it.
    page.locator("#chart-ranking .mark-symbol.role-mark path").first.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    assert ODD_NAMES[0] in tooltip.inner_text()
    assert visit.count("#vg-tooltip-element b") == 0
    # The legend finds its optimizers whatever they are called.
    before = visit.count(LINES)
    page.get_by_label(ODD_NAMES[1], exact=True).uncheck()
    wait_for_lines(visit, before - 2)
    assert visit.complaints == []


def drawn_intervals(visit: Visit) -> int:
    return visit.count("#chart-ranking .mark-rule.role-mark line")


@pytest.mark.parametrize(
    ("case", "n_intervals"), [("one", 1), ("one_diverged", 2), ("all_diverged", 0)]
)
def test_an_interval_is_drawn_only_where_there_is_one(
    open_page: Open, rendered: Callable[[str], Path], case: str, n_intervals: int
) -> None:
    assert drawn_intervals(open_page(rendered(case))) == n_intervals


OTHERS = "#chart-pairs .role-axis-label text"


def test_one_optimizer_has_no_pairs_and_each_of_ten_can_be_compared_with_the_others(
    open_page: Open, rendered: Callable[[str], Path]
) -> None:
    one, ten = open_page(rendered("one")), open_page(rendered("ten"))
    assert (one.count("#pairs"), one.count("#legend input")) == (0, 1)
    assert (ten.count("[aria-labelledby=pairs] tbody tr"), ten.count("#legend input")) == (
        9 + 45,
        10,
    )
    choice = ten.page.get_by_label("Compare with the others")
    names = choice.locator("option").all_inner_texts()
    others = [text for text in ten.page.locator(OTHERS).all_text_contents() if text in names]
    assert others == names[1:]
    choice.select_option(names[3])
    ten.page.wait_for_function(
        "([labels, name]) =>"
        "  [...document.querySelectorAll(labels)].every(each => each.textContent !== name)",
        arg=[OTHERS, names[3]],
    )
    assert names[0] in ten.page.locator(OTHERS).all_text_contents()
    assert ten.complaints == []


def test_of_many_the_charts_show_the_leaders_until_others_are_ticked(
    open_page: Open, rendered: Callable[[str], Path]
) -> None:
    visit = open_page(rendered("many"))
    dots = "#chart-ranking .mark-symbol.role-mark path"
    height = "#chart-ranking svg"

    def heights() -> float:
        return float(visit.page.locator(height).get_attribute("height") or 0)

    before = heights()
    assert visit.count(dots) == 10
    for name, n in (("All", 12), ("Clear", 0), ("Best", 10)):
        visit.page.get_by_role("button", name=name).click()
        visit.page.wait_for_function(
            "([dots, n]) => document.querySelectorAll(dots).length === n", arg=[dots, n]
        )
        if name == "All":
            assert heights() > before
            assert outside(visit) == []
    assert heights() == before
    assert visit.complaints == []


def test_a_tap_shows_what_a_pointer_would_and_another_hides_it(open_page: Open) -> None:
    visit = open_page(COMMITTED, viewport={"width": 390, "height": 844}, has_touch=True)
    mark = visit.page.locator("#chart-sensitivity .mark-symbol.role-mark path").nth(2)
    # Away from the legend, which stays on top.
    mark.evaluate("mark => mark.scrollIntoView({block: 'center'})")
    box = mark.bounding_box()
    assert box is not None
    # Beside it, as fingers do.
    visit.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] + 5)
    tooltip = visit.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "learning rate" in tooltip.inner_text()
    room = tooltip.bounding_box()
    assert room is not None
    assert room["x"] >= 0
    visit.page.locator("figcaption").first.tap()
    tooltip.wait_for(state="hidden")


def test_paper_has_the_tables_and_no_controls(open_page: Open) -> None:
    visit = open_page(COMMITTED)
    visit.page.get_by_label("sgd", exact=True).uncheck()
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")

    def shown(selector: str) -> list[bool]:
        return [each.is_visible() for each in visit.page.locator(selector).all()]

    assert not any(shown("input, button, summary"))
    assert all(shown("details.data table"))
    assert visit.page.locator("#legend label:visible").all_inner_texts() == [
        name for name in sorted(METRICS["optimizers"]) if name != "sgd"
    ]
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(shown("details.data table"))


def test_a4_has_no_empty_page(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    open_page(COMMITTED).page.pdf(path=path, prefer_css_page_size=True)
    content = path.read_bytes()
    pages = re.findall(rb"/Type /Page\b.*?/Contents (\d+) 0 R", content, re.DOTALL)
    lengths = dict(re.findall(rb"\n(\d+) 0 obj\n<<[^>]*?/Length (\d+)", content))
    assert len(pages) > 3
    # In bytes of what is drawn; of an empty page about a hundred.
    assert [page for page in pages if int(lengths[page]) < 300] == []


def test_diverged_trials_are_told(open_page: Open, rendered: Callable[[str], Path]) -> None:
    some, all_of_them = open_page(rendered("one_diverged")), open_page(rendered("all_diverged"))

    def notes(visit: Visit) -> list[str]:
        return visit.page.locator("#chart-ranking .mark-text.role-mark text").all_text_contents()

    assert notes(some) == ["every trial failed"]
    assert notes(all_of_them) == ["every trial failed"] * 2
    assert all_of_them.page.locator(".verdict").inner_text() == (
        "No optimizer can be taken: every trial failed."
    )
    crosses = all_of_them.page.locator("#chart-sensitivity .mark-symbol.role-mark path")
    assert crosses.count() > 0


def test_the_history_has_a_mark_for_each_result_and_shows_subjects_as_text(
    open_page: Open, history_page: Path
) -> None:
    visit = open_page(history_page)
    # Two optimizers at two commits, and a ring around each commit's best.
    assert visit.count("#chart-history .mark-symbol.role-mark path") == 4 + 2
    assert 'A <b>better</b> "rate" 학습률' in visit.page.locator("table").inner_text()
    assert visit.count("td b") == 0
    visit.page.get_by_label("adam", exact=True).uncheck()
    visit.page.wait_for_function(
        "() => document.querySelectorAll('#chart-history .mark-symbol.role-mark path').length === 2"
    )
