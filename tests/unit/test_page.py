"""The report's files without a browser: the same bytes everywhere, and nothing from elsewhere."""

import base64
import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from stages.report.charts.base import Results, assign_looks
from stages.report.charts.registry import draw
from stages.report.page import build_page
from stages.report.pictures import write_pictures
from tests.conftest import PROJECT
from tests.results import CASES

COMMITTED = (PROJECT / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def usual() -> Results:
    return CASES["usual"]()


def body(results: Results) -> str:
    """What the page says, without its charts."""
    before, _, _ = build_page(results, {}).partition("</main>")
    return before.partition("<main>")[2]


def test_the_policy_allows_the_pages_own_script_and_nothing_else() -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', COMMITTED)
    *_, script = re.findall(r"<script>(.*?)</script>", COMMITTED, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"


def test_the_page_needs_no_other_file() -> None:
    head, _, script = COMMITTED.partition('<script type="application/json"')
    assert re.findall(r'\s(?:src|href)="(?!data:|#)[^"]*"|@import|url\(', head) == []
    assert "<script src" not in script


def test_the_page_is_small_enough_to_send() -> None:
    assert len(COMMITTED.encode()) < 3_000_000


def test_a_script_that_was_kept_is_used_unless_it_is_damaged(
    usual: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.report.page.locate_cache", lambda name: tmp_path / name)
    page = build_page(usual, draw(usual))
    kept = tmp_path / "page" / "script.json"
    content = kept.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("vl_convert.javascript_bundle", None)
        assert build_page(usual, draw(usual)) == page
    for damaged in (content.replace(b"vega", b"vegan", 1), content[:-9], b""):
        kept.write_bytes(damaged)
        assert build_page(usual, draw(usual)) == page
        assert kept.read_bytes() == content


def test_odd_names_are_escaped() -> None:
    results = CASES["odd_names"]()
    html = build_page(results, draw(results))
    words, _, _ = html.partition("<script>")
    assert re.findall(r"<i>|<b title|<img src=x", words) == []
    assert "&lt;img src=x onerror=alert(1)&gt;" in words
    assert "굵게" in words
    # The program and the data of the charts, and neither ends early.
    assert html.count("</script>") == 2


def test_the_page_says_what_was_compared(usual: Results) -> None:
    words = " ".join(body(usual).split())
    assert usual.comparison.verdict in words
    assert [line for line in usual.comparison.details if f"<li>{line}</li>" not in words] == []
    assert usual.comparison.details != ()
    assert "shapes, 75 examples to train on · mlp, 100 parameters · 39 trials of 2 epochs" in words
    assert "the same budget: 1 setting, " in words
    assert "with 1 seed each. What validation chose was" in words
    assert "trained with 10 fresh seeds, which tuning never saw" in words


def test_the_page_tells_the_race_look_by_look(usual: Results) -> None:
    html = body(usual)
    begin = html.index('<h2 id="race">')
    section = html[begin : html.index("</section>", begin)]
    assert re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", section) == [
        "seeds", "leader", "bound", "still in", "out", "10", "sgd", "0.0000", "1", "adam",
    ]  # fmt: skip


def test_where_nothing_can_be_taken_the_page_has_no_empty_list() -> None:
    lost = CASES["all_diverged"]()
    assert lost.comparison.details == ()
    assert '<ul class="details">' not in body(lost)


def cells(html: str) -> list[tuple[str, str]]:
    """The matrix: labels and differences, row by row."""
    return re.findall(r'<td class="\w+" title="[^"]+">(\w+)<small>([^<]+)</small>', html)


def test_the_matrix_says_of_each_pair_the_same_from_both_sides(usual: Results) -> None:
    (pair,) = usual.comparison.pairs
    assert (pair.first, pair.label) == ("sgd", "better")
    assert cells(body(usual)) == [("better", "+0.0200"), ("worse", "-0.0200")]
    assert cells(body(CASES["one"]())) == []
    assert cells(body(CASES["all_diverged"]())) == [("undecided", "-")] * 2


@pytest.mark.parametrize(("margin", "n_told"), [(1.0, 2), (0.02, 0)])
def test_the_matrix_tells_of_a_lead_that_is_too_small_to_matter(
    usual: Results, margin: float, n_told: int
) -> None:
    comparison = replace(usual.comparison, margin=margin)
    html = body(replace(usual, comparison=comparison))
    assert len(re.findall(r'title="[^"]*; by less than matters"', html)) == n_told


def test_the_page_of_a_regression_has_what_fits_it_and_no_classes(usual: Results) -> None:
    found = CASES["numbers"]()
    html = build_page(found, draw(found))
    assert 'id="chart-fitted"' in html
    assert [name for name in ("confusion", "classes") if f'id="chart-{name}"' in html] == []
    assert 'id="mistakes"' not in html
    assert "houses, 75 examples to train on" in html
    assert "Test R², averaged over fresh seeds" in html
    of_classes = build_page(usual, draw(usual))
    assert 'id="chart-fitted"' not in of_classes
    assert 'id="chart-confusion"' in of_classes
    assert 'id="mistakes"' in of_classes


def test_pictures_are_of_what_there_is(usual: Results, tmp_path: Path) -> None:
    names = ["ranking", "curves", "sensitivity"]
    assert list(write_pictures(tmp_path, draw(usual))) == names
    for name in names:
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width > 1000
    lost = draw(CASES["all_diverged"]())
    assert list(write_pictures(tmp_path, lost)) == ["ranking", "sensitivity"]


def test_pictures_keep_the_colours_of_ten_optimizers(tmp_path: Path) -> None:
    results = CASES["ten"]()
    write_pictures(tmp_path, draw(results))
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            palette = [pixel for _, pixel in image.convert("RGB").getcolors(1000) or []]
        for look in assign_looks(results.params.optimizers).values():
            colour = bytes.fromhex(look.colour[1:])
            assert min(math.dist(colour, pixel) for pixel in palette) < 10, (path.name, look)


def test_the_style_stands_as_it_was_written() -> None:
    style = (PROJECT / "stages" / "report" / "style.css").read_text(encoding="utf-8")
    assert style in COMMITTED
