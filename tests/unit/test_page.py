"""The report's files without a browser: the same bytes everywhere, and nothing from elsewhere."""

import base64
import hashlib
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from PIL import Image

from stages.common.errors import InputError
from stages.common.results import COMPARISON, Finding
from stages.report.charts.base import Results, assign_looks
from stages.report.charts.registry import draw
from stages.report.drawing import open_drawing
from stages.report.page import N_WARNINGS, build_page
from stages.report.report import choose_pictures, draw_pictures
from stages.report.script import VEGA_LITE
from tests.conftest import PROJECT
from tests.examples import scored_run
from tests.results import CASES, results, rising

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


def test_the_script_draws_what_altair_writes() -> None:
    assert alt.SCHEMA_VERSION.startswith(f"v{VEGA_LITE}.")


@pytest.mark.thorough
@pytest.mark.slow
def test_a_script_that_was_kept_is_used_unless_it_is_damaged(
    usual: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.report.script.locate_cache", lambda name: tmp_path / name)
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
    odd = CASES["odd_names"]()
    html = build_page(odd, draw(odd))
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
    html = build_page(usual, draw(usual))
    begin = html.index('<h2 id="race">')
    section = html[begin : html.index("</section>", begin)]
    assert re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", section) == [
        "seeds", "leader", "bound", "still in", "out", "10", "sgd", "0.0000", "1", "adam",
    ]  # fmt: skip


def test_where_nothing_can_be_taken_the_page_has_no_empty_list() -> None:
    lost = CASES["all_diverged"]()
    assert lost.comparison.details == ()
    assert '<ul class="details">' not in body(lost)


def provenance(results: Results) -> dict[str, str]:
    """What the first lines of the page say that it rests on, shortened."""
    found = re.findall(r'<a class="digest"[^>]*>(\w+) <code>(\w{8})</code>', body(results))
    return dict(found)


def test_the_page_says_what_it_rests_on(usual: Results) -> None:
    before = provenance(usual)
    content = COMPARISON.encode(usual.comparison)
    assert before["results"] == hashlib.sha256(content).hexdigest()[:8]
    assert before["data"] == usual.comparison.dataset.files[0].sha256[:8]
    assert "fresh seeds 100 to 109 · keras 3.15.1" in " ".join(body(usual).split())
    train = usual.params.train.model_copy(update={"epochs": 3})
    longer = replace(usual, params=usual.params.model_copy(update={"train": train}))
    assert {key for key, value in provenance(longer).items() if value != before[key]} == {
        "settings"
    }


def test_warnings_come_before_the_charts_and_the_further_ones_are_folded_away(
    usual: Results,
) -> None:
    many = tuple(
        Finding("absent_class", (), {"split": "test", "classes": [f"fault {i}"]})
        for i in range(N_WARNINGS + 2)
    )
    html = body(replace(usual, comparison=replace(usual.comparison, warnings=many)))
    assert html.index('id="warnings"') < html.index('id="legend"')
    shown, folded = html.split('<details class="data"><summary>2 more warnings</summary>')
    assert f"&#39;fault {N_WARNINGS - 1}&#39;." in shown
    assert f"&#39;fault {N_WARNINGS}&#39;." in folded


def test_of_many_optimizers_the_leaders_are_ticked(usual: Results) -> None:
    many = results({f"o{i:02}": scored_run(rising(0.9 - i / 100)) for i in range(12)})
    ticked = re.findall(r'<input type="checkbox" value="(\w+)"( checked)?', body(many))
    assert [name for name, checked in ticked if checked] == [f"o{i:02}" for i in range(10)]
    assert 'value="first">Best 10</button>' in body(many)
    assert "<button" not in body(usual)


@pytest.mark.parametrize("name", ["report", "report-dark"])
def test_the_readmes_pictures_are_of_the_committed_page(name: str) -> None:
    committed = hashlib.sha256(COMMITTED.encode()).hexdigest()
    with Image.open(PROJECT / "docs" / f"{name}.png") as image:
        shown = image.info.get("page")
    assert shown == committed, f"docs/{name}.png shows another page: run `make screenshots`"


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


@pytest.mark.slow
def test_pictures_are_of_what_there_is(usual: Results, tmp_path: Path) -> None:
    names = ["ranking", "curves", "sensitivity"]
    pictures = choose_pictures(draw(usual))
    assert list(pictures) == names
    with open_drawing() as drawing:
        draw_pictures(tmp_path, pictures, drawing).result()
    for name in names:
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width > 1000
    lost = draw(CASES["all_diverged"]())
    assert list(choose_pictures(lost)) == ["ranking", "sensitivity"]


@pytest.mark.slow
def test_pictures_keep_the_colours_of_ten_optimizers(tmp_path: Path) -> None:
    ten = CASES["ten"]()
    with open_drawing() as drawing:
        draw_pictures(tmp_path, choose_pictures(draw(ten)), drawing).result()
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            palette: list[Any] = [pixel for _, pixel in image.convert("RGB").getcolors(1000) or []]
        for look in assign_looks(ten.params.optimizers).values():
            colour = bytes.fromhex(look.colour[1:])
            assert min(math.dist(colour, pixel) for pixel in palette) < 10, (path.name, look)


def test_the_style_stands_as_it_was_written() -> None:
    style = (PROJECT / "stages" / "report" / "style.css").read_text(encoding="utf-8")
    assert style in COMMITTED


@pytest.mark.slow
def test_the_death_of_the_process_that_draws_is_told() -> None:
    with pytest.raises(InputError, match="draws the pictures died"), open_drawing() as drawing:
        drawing.submit(os._exit, 1).result()
