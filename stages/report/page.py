"""`report/index.html`: one file that opens without a network, all it needs inlined."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import altair as alt
import numpy as np
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from stages.common.artifacts import Comparison, Pair, UInt8Array
from stages.report import tables
from stages.report.figures import Figure, Look, Results, assign_looks, spec
from stages.report.tables import number

FOLDER = Path(__file__).parent
# The page's style colours what the theme would; its one legend stands for all.
CONFIG = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "axis": {
        "labelFontSize": 12,
        "labelLimit": 120,
        "labelOverlap": True,
        "labelSeparation": 4,
        "titleFontSize": 12,
        "titleFontWeight": 400,
    },
    "legend": {"disable": True},
    "mark": {"aria": False},
    "view": {"stroke": None},
}
# Vega's symbols, in a square from -1 to 1.
OUTLINES = {
    "circle": "M-.8 0a.8.8 0 1 0 1.6 0a.8.8 0 1 0-1.6 0z",
    "square": "M-.75-.75h1.5v1.5h-1.5z",
    "triangle-up": "M0-.8.9.75h-1.8z",
    "triangle-down": "M0 .8.9-.75h-1.8z",
    "triangle-right": "M.8 0-.75.9v-1.8z",
    "diamond": "M0-1 .75 0 0 1-.75 0z",
    "cross": "M-.9-.3h.6v-.6h.6v.6h.6v.6h-.6v.6h-.6v-.6h-.6z",
}


@dataclass(frozen=True)
class Cell:
    """What may be said of a row's optimizer beside a column's."""

    label: str
    difference: str
    details: str


@dataclass(frozen=True)
class Mistake:
    """A picture of the strip, as a data URI."""

    image: str
    actual: str
    predicted: str
    n_wrong: int
    n_trials: int


def render(
    template: str,
    charts: Mapping[str, alt.LayerChart],
    looks: Mapping[str, Look],
    **content: object,
) -> str:
    """A page of HTML.

    Args:
        template: Of this folder; extends `base.html.j2`.
        charts: By name; the template has a place for each, with the id `chart-NAME`.
        looks: Of the optimizers, for the legend.
        content: What the template names. All of it is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    snippet = (FOLDER / "page.js").read_text(encoding="utf-8")
    script = vl_convert.javascript_bundle(snippet, vl_version=version)
    return environment.get_template(template).render(
        specs={name: spec(chart, CONFIG, "container") for name, chart in charts.items()},
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        looks=looks,
        outlines=OUTLINES,
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )


def build_page(results: Results, figures: Mapping[str, Figure]) -> str:
    """The report's page."""
    comparison, params = results.comparison, results.params
    return render(
        "page.html.j2",
        {name: figure.chart for name, figure in figures.items()},
        assign_looks(params.optimizers),
        figures=figures,
        comparison=comparison,
        dataset=comparison.dataset,
        leader=next(iter(comparison.optimizers)),
        subject=_subject(results),
        matrix=_matrix(comparison),
        mistakes=_mistakes(results),
        seeds_needed=tables.seeds_needed(comparison),
        warnings=tables.warnings(comparison),
        protocol=_protocol(results),
        standings=tables.standings(comparison),
        standings_caption=tables.standings_caption(comparison),
        pairs=tables.pairs(comparison),
        pairs_caption=tables.PAIRS_CAPTION,
        criteria=tables.criteria(comparison),
        criteria_caption=tables.criteria_caption(comparison),
        settings=tables.settings(comparison, params),
    )


def _subject(results: Results) -> str:
    comparison, params = results.comparison, results.params
    epochs = params.train.epochs
    return (
        f"{comparison.dataset.name}, {comparison.dataset.n_train:,} images to train on · "
        f"{params.model.name}, {comparison.n_parameters:,} parameters · "
        f"{comparison.n_trials:,} trials of {epochs} epoch{'s' * (epochs > 1)}"
    )


def _matrix(comparison: Comparison) -> list[tuple[str, list[Cell | None]]]:
    cells: dict[tuple[str, str], Cell] = {}
    for pair in comparison.pairs:
        cells[pair.first, pair.second] = _cell(pair, 1)
        cells[pair.second, pair.first] = _cell(pair, -1)
    names = list(comparison.optimizers)
    rows = [(row, [cells.get((row, column)) for column in names]) for row in names]
    return rows if cells else []


def _cell(pair: Pair, sign: int) -> Cell:
    label = "worse" if pair.label == "better" and sign < 0 else pair.label
    if pair.mean_difference is None or pair.low is None or pair.high is None:
        plural = "s" * (pair.n_seeds != 1)
        return Cell(label, "-", f"{pair.n_seeds} seed{plural} completed with both")
    low, high = sorted((sign * pair.low, sign * pair.high))
    return Cell(
        label=label,
        # No minus before a zero.
        difference=f"{sign * round(pair.mean_difference, 4) + 0.0:+.4f}",
        details=f"{low:+.4f} to {high:+.4f} over {pair.n_seeds} seeds; "
        f"adjusted p {number(pair.p_adjusted, '.2g')}",
    )


def _mistakes(results: Results) -> list[Mistake]:
    mistakes, comparison = results.mistakes, results.comparison
    names = comparison.dataset.class_names
    leader = next(iter(comparison.optimizers.values()))
    # Test images may be brighter than all that the maximum was taken from.
    brightened = mistakes.images * (255 / comparison.dataset.pixel_maximum)
    pixels = np.minimum(brightened, 255).astype(np.uint8)
    return [
        Mistake(
            image=_data_uri(pixels[i]),
            actual=names[mistakes.actual[i]],
            predicted=names[mistakes.predicted[i]],
            n_wrong=int(mistakes.n_wrong[i]),
            n_trials=leader.tuned.n_trials - leader.tuned.n_diverged,
        )
        for i in range(len(mistakes.images))
    ]


def _data_uri(pixels: UInt8Array) -> str:
    """`(height, width, channels) uint8` as a PNG; of other than 1 or 3 channels, the first."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    image.thumbnail((64, 64))
    file = BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _protocol(results: Results) -> str:
    tuning, confirmation = results.params.tuning, results.params.confirmation
    n_rates, n_tuning, n_fresh = (
        len(tuning.learning_rate_factors), len(tuning.seeds), len(confirmation.seeds),
    )  # fmt: skip
    return (
        "Each optimizer was given the same: its learning rate times "
        f"{n_rates} factor{'s' * (n_rates > 1)}, with {n_tuning} seed{'s' * (n_tuning > 1)} each. "
        "The rate with the best mean validation accuracy, and the configured one, were then "
        f"trained with {n_fresh} fresh seed{'s' * (n_fresh > 1)}, which tuning never saw. A seed "
        "fixes the initial weights and the order of the images, the same for every optimizer, so "
        "that differences are paired. The test images were read once, for the networks of the "
        "fresh seeds."
    )
