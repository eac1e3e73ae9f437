"""Writes `report/index.html`: one file, with everything inlined, that needs no network."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import altair as alt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from stages.common.files import UInt8Array
from stages.common.results import COMPARISON
from stages.report import tables
from stages.report.charts.base import Figure, Look, Results, assign_looks, leaders, spec
from stages.report.script import load_script
from stages.report.tables import plural

FOLDER = Path(__file__).parent
# What the stage depends on; of the others, data and comparison tell.
SECTIONS = {"task", "split", "model", "train", "tuning", "confirmation", "optimizers"}
# The page folds away the warnings after these.
N_WARNINGS = 4
# Colours come from style.css, and one legend serves all charts.
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
# Vega's symbols as SVG paths in a square from -1 to 1, for the legend.
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
class Mistake:
    """A misclassified test picture, as a data URI, with what it was taken for."""

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
    """Renders a page of HTML.

    Args:
        template: A file of this folder that extends `base.html.j2`.
        charts: By name; the template has an element with the id `chart-NAME` for each.
        looks: The optimizers' looks, for the legend.
        content: The template's variables. They are escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    script = load_script()
    return environment.get_template(template).render(
        specs={name: spec(chart, CONFIG, "container") for name, chart in charts.items()},
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        looks=looks,
        outlines=OUTLINES,
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )


def build_page(
    results: Results,
    figures: Mapping[str, Figure],
    step_costs: Mapping[str, float] | None = None,
) -> str:
    """Renders the report's page.

    Args:
        results: What is reported.
        figures: The charts, by name.
        step_costs: Seconds per step of each optimizer relative to plain SGD, where `make cost` has
            measured them.
    """
    comparison, params = results.comparison, results.params
    return render(
        "page.html.j2",
        {name: figure.chart for name, figure in figures.items() if figure.chart is not None},
        assign_looks(params.optimizers),
        figures=figures,
        comparison=comparison,
        params=params,
        tables=tables,
        step_costs=step_costs,
        leader=next(iter(comparison.optimizers)),
        n_warnings=N_WARNINGS,
        subject=_subject(results),
        shown=leaders(comparison),
        digests=_digests(results),
        seeds=_seeds(results),
        mistakes=_mistakes(results),
        protocol=_protocol(results),
    )


def _subject(results: Results) -> str:
    comparison, params = results.comparison, results.params
    return (
        f"{comparison.dataset.name}, {comparison.dataset.n_train:,} examples to train on · "
        f"{params.model.name}, {comparison.n_parameters:,} parameters · "
        f"{comparison.n_trials:,} trials of {plural(params.train.epochs, 'epoch')}"
    )


def _digests(results: Results) -> dict[str, str]:
    """SHA-256 of what the page rests on.

    No date and no commit: the page is committed itself, and the same results give the same bytes.
    """
    comparison = results.comparison
    files = [file.sha256 for file in comparison.dataset.files]
    settings = [
        results.params.model_dump_json(include=SECTIONS),
        f"{comparison.confidence} {comparison.margin} {comparison.target}",
    ]
    return {
        "data": files[0] if len(files) == 1 else _sha256("".join(files)),
        "settings": _sha256("\n".join(settings)),
        "results": hashlib.sha256(COMPARISON.encode(comparison)).hexdigest(),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _seeds(results: Results) -> str:
    first = results.params.confirmation.first_seed
    return f"fresh seeds {first} to {first + results.comparison.n_seeds - 1}"


def _mistakes(results: Results) -> list[Mistake]:
    mistakes, comparison = results.mistakes, results.comparison
    names = comparison.dataset.class_names
    leader = next(iter(comparison.optimizers.values()))
    # Within a class, those that most trials got wrong remain the first.
    by_class = sorted(enumerate(mistakes.pictures), key=lambda item: mistakes.actual[item[0]])
    return [
        Mistake(
            image=_data_uri(pixels),
            actual=names[mistakes.actual[i]],
            predicted=names[mistakes.predicted[i]],
            n_wrong=int(mistakes.n_wrong[i]),
            n_trials=leader.tuned.n_trials - leader.tuned.n_failed,
        )
        for i, pixels in by_class
    ]


def _data_uri(pixels: UInt8Array) -> str:
    """A PNG of `(height, width, channels) uint8`; unless there are 3 channels, of the first."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    image.thumbnail((64, 64))
    file = BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _protocol(results: Results) -> str:
    tuning, comparison = results.params.tuning, results.comparison
    n_first = comparison.looks[0].n_seeds
    final = ""
    if tuning.final_seeds:
        final = f", and the best three with {plural(len(tuning.final_seeds), 'more seed')}"
    further = ""
    if comparison.n_seeds > n_first:
        further = f", and those that could still be the best with more, up to {comparison.n_seeds}"
    return (
        f"Every optimizer was tuned with the same budget: {plural(tuning.n_settings, 'setting')}, "
        "the first from params.yaml and the others beyond or around the best, with "
        f"{plural(len(tuning.seeds), 'seed')} each{final}. What validation chose was trained with "
        f"{n_first} fresh seeds, which tuning never saw{further}. A seed fixes the initial weights "
        "and the order of the examples, the same for every optimizer, so differences are paired. "
        "The test examples chose nothing but what was trained further and what to take."
    )
