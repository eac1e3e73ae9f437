"""How many digits of a score are worth printing."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from math import ceil, floor, isfinite, log10

from stages.common.score import Score

# The format of an accuracy.
USUAL = ".4f"
# With more decimals than this, a number is shorter with an exponent.
MOST_DECIMALS = 8


def score_format(score: Score, best: float | None, margin: float | None) -> str:
    """The format of scores and of their differences, for Python's `format` and for D3's.

    Scores that cannot exceed a bound, such as an accuracy or R², have four decimals, and R² more
    where it comes close to 1. Errors have no natural size, so they get three significant digits of
    the best one and two of the margin, whichever asks for more decimals.

    >>> from stages.common.params import Task
    >>> from stages.common.score import score_of
    >>> error = score_of(Task(name="regression", loss="auto", score="mse", direction="auto"))
    >>> score_format(error, 1.234e-5, 0.01), score_format(error, 25_432.1, 100.0)
    ('.7f', '.0f')

    Args:
        score: The score to be printed.
        best: The best mean score; None if no trial completed.
        margin: The loss of score that makes no difference in practice, above 0; None to leave it
            out of account.
    """
    if score.is_count:
        return USUAL
    ideal = score.highest if score.sign > 0 else score.lowest
    sizes = []
    if best is not None:
        sizes.append((3, abs(best - ideal) if isfinite(ideal) else abs(best)))
    if margin is not None:
        sizes.append((2, margin))
    least = 4 if score.sign > 0 and isfinite(ideal) else 0
    decimals = [digits - 1 - floor(log10(size)) for digits, size in sizes if size > 0]
    n = max([least, *decimals])
    return f".{n}f" if n <= MOST_DECIMALS else ".2e"


def rounded_up(bound: float, style: str = USUAL) -> str:
    """Formats an upper bound, rounded up, since rounding down would promise too much."""
    n = int(style[1:-1])
    if style.endswith("f"):
        return format(ceil(round(bound * 10**n, 6)) / 10**n, style)
    return format(Context(n + 1, ROUND_CEILING).create_decimal_from_float(bound), style)


def rounded_down(bound: float, style: str = USUAL) -> str:
    """Formats a lower bound, rounded down, since rounding up would promise too much."""
    n = int(style[1:-1])
    if style.endswith("f"):
        return format(floor(round(bound * 10**n, 6)) / 10**n, style)
    return format(Context(n + 1, ROUND_FLOOR).create_decimal_from_float(bound), style)
