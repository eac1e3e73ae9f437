"""Field types that the sections of `params.yaml` share."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat

from stages.common.errors import shorten

MAX_SEED = 2**32 - 1
# Closer factors would soon be equal when rounded to the digits that files hold.
_LEAST_STEP = 1.1
N_SHOWN = 80

Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
T = TypeVar("T", int, float)


def join(values: Iterable[float]) -> str:
    return shorten(", ".join(map(str, values)), N_SHOWN)


def check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = sorted(value for value, n in Counter(values).items() if n > 1)
    if repeated:
        raise ValueError(f"{join(repeated)} repeated; each may appear only once")
    return values


def _check_steps(factors: tuple[float, ...]) -> tuple[float, ...]:
    for low, high in pairwise(sorted(factors)):
        if high < low * _LEAST_STEP:
            raise ValueError(f"{low} and {high} are too close; should differ by a tenth or more")
    return factors


Distinct = Annotated[
    tuple[T, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(check_distinct),
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Factors = Annotated[Distinct[PositiveFloat], AfterValidator(_check_steps)]
