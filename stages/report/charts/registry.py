"""Every chart of the report, in the order of the page."""

from collections.abc import Callable

from stages.report.charts.base import Figure, Results
from stages.report.charts.classes import classes
from stages.report.charts.confusion import confusion
from stages.report.charts.curves import curves
from stages.report.charts.fitted import fitted
from stages.report.charts.ranking import ranking
from stages.report.charts.sensitivity import sensitivity
from stages.report.charts.speed import speed

Chart = Callable[[Results], Figure | None]

CHARTS: tuple[Chart, ...] = (ranking, curves, sensitivity, speed, fitted, confusion, classes)
NAMES = tuple(chart.__name__ for chart in CHARTS)


def draw(results: Results) -> dict[str, Figure]:
    """Draws every chart that the results have data for; keys are the names of the functions."""
    figures = {name: chart(results) for name, chart in zip(NAMES, CHARTS, strict=True)}
    return {name: figure for name, figure in figures.items() if figure is not None}
