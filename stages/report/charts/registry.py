"""Every chart of the report, in the order of the page.

A chart is a function from the results to its figure, or to None where there is nothing to show. To
add one, write a module beside this one and name its function in CHARTS.
"""

from collections.abc import Callable

from altair.utils.schemapi import debug_mode

from stages.report.charts.base import Figure, Results
from stages.report.charts.classes import classes
from stages.report.charts.confusion import confusion
from stages.report.charts.curves import curves
from stages.report.charts.fitted import fitted
from stages.report.charts.pairs import pairs
from stages.report.charts.race import race
from stages.report.charts.ranking import ranking
from stages.report.charts.sensitivity import sensitivity
from stages.report.charts.settings import settings
from stages.report.charts.speed import speed

Chart = Callable[[Results], Figure | None]

CHARTS: tuple[Chart, ...] = (
    ranking,
    race,
    pairs,
    curves,
    sensitivity,
    settings,
    speed,
    fitted,
    confusion,
    classes,
)
NAMES = tuple(chart.__name__ for chart in CHARTS)


def draw(results: Results) -> dict[str, Figure]:
    """Draws every chart that the results have data for; keys are the names of the functions."""
    # Altair would check every object against its schema as it is made.
    with debug_mode(False):
        figures = {name: chart(results) for name, chart in zip(NAMES, CHARTS, strict=True)}
    return {name: figure for name, figure in figures.items() if figure is not None}
