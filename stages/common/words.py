"""Names in a sentence."""

from collections.abc import Iterable

N_NAMED = 5


def enumerate_names(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; if there are many, the first few and the number of others."""
    names = list(names)
    if len(names) > N_NAMED + 1:
        names[N_NAMED:] = [f"{len(names) - N_NAMED} others"]
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
