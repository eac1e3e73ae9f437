"""Writes the comparison as Markdown for a pull request and as text for the terminal."""

from collections.abc import Iterable, Mapping

from stages.common.params import Params
from stages.common.results import Comparison
from stages.report import tables
from stages.report.charts.base import Figure
from stages.report.tables import as_text, fill


def summarise(comparison: Comparison, params: Params, pictures: Mapping[str, Figure]) -> str:
    """The Markdown page: verdict, tables, pictures, warnings, settings and versions."""
    race = [as_text(tables.race(comparison), "github"), tables.RACE_CAPTION]
    pairs = [as_text(tables.pairs(comparison), "github"), tables.PAIRS_CAPTION]
    criteria = as_text(tables.criteria(comparison), "github")
    settings = tables.settings(comparison, params)
    sections = {
        "Warnings": [_bullets(tables.warnings(comparison))],
        "Pictures": ["\n".join(f"![{fig.title}]({name}.png)" for name, fig in pictures.items())],
        "The race": race if len(comparison.optimizers) > 1 else [],
        "Pairs": pairs if comparison.pairs else [],
        "Other criteria": [criteria, tables.criteria_caption(comparison)],
        "Settings": [_bullets(f"{key}: {value}" for key, value in settings.items())],
    }
    paragraphs = [
        "# Which optimizer?",
        f"**{comparison.verdict}**",
        _bullets(comparison.details),
        as_text(tables.standings(comparison), "github"),
        tables.standings_caption(comparison),
    ]
    for title, texts in sections.items():
        if any(texts):
            paragraphs += [f"## {title}", *filter(None, texts)]
    return "\n\n".join(paragraphs) + "\n"


def describe(comparison: Comparison) -> str:
    """The comparison in brief for a terminal of 80 columns."""
    paragraphs = [
        as_text(tables.standings(comparison), "simple"),
        fill(tables.standings_caption(comparison)),
        fill(comparison.verdict),
        "\n".join(fill(detail, start="- ") for detail in comparison.details),
        *(fill(warning, start="! ") for warning in tables.warnings(comparison)),
    ]
    return "\n" + "\n\n".join(filter(None, paragraphs))


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
