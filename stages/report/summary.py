"""The comparison as Markdown for a pull request, and as plain text for the terminal."""

import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from stages.common.artifacts import Comparison
from stages.common.params import Params
from stages.report import tables
from stages.report.figures import Figure
from stages.report.tables import Table


def summarise(comparison: Comparison, params: Params, pictures: Iterable[Figure]) -> str:
    """The Markdown page: verdict, tables, pictures, warnings, settings and versions."""
    settings = tables.settings(comparison, params)
    criteria = [_tabulate(tables.criteria(comparison), "github")]
    captions = [
        tables.criteria_caption(comparison),
        *([comparison.budget] * bool(comparison.budget)),
    ]
    lines = (
        "# Which optimizer?",
        "",
        f"**{comparison.verdict}**",
        "",
        _tabulate(tables.standings(comparison), "github"),
        "",
        tables.standings_caption(comparison),
        *_section("Warnings", _bullets(tables.warnings(comparison))),
        *_section("Pictures", [f"![{each.title}]({each.name}.png)" for each in pictures]),
        *_section(
            "Pairs",
            [_tabulate(tables.pairs(comparison), "github"), "", tables.PAIRS_CAPTION]
            if comparison.pairs
            else [],
        ),
        *_section(
            "Other criteria", [*criteria, *(line for each in captions for line in ("", each))]
        ),
        *_section("Settings", _bullets(f"{key}: {value}" for key, value in settings.items())),
    )
    return "\n".join(lines) + "\n"


def describe(comparison: Comparison) -> str:
    """The same for a terminal of 80 columns."""
    seeds = tables.seeds_needed(comparison)
    paragraphs = [
        _tabulate(tables.standings(comparison), "simple"),
        tables.standings_caption(comparison),
        _fill(comparison.verdict),
        *([_fill(f"{seeds}; report/summary.md has all pairs.")] if seeds else []),
        *([_fill(comparison.budget)] if comparison.budget else []),
        *(_fill(warning, start="! ") for warning in tables.warnings(comparison)),
    ]
    return "\n" + "\n\n".join(paragraphs)


def _tabulate(table: Table, style: str) -> str:
    align = ("left", *("right",) * (len(table.headers) - 1))
    return tabulate(
        table.rows, table.headers, tablefmt=style, disable_numparse=True, colalign=align
    )


def _fill(text: str, start: str = "") -> str:
    indent = " " * len(start)
    return textwrap.fill(text, 80, initial_indent=start, subsequent_indent=indent)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {text}" for text in texts]
