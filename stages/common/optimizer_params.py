"""An optimizer of `params.yaml`: its class, its learning rate, and what tuning searches."""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    Tag,
    model_validator,
)

from stages.common.errors import shorten
from stages.common.fields import N_SHOWN, Factors, Section


class RateSchedule(Section):
    """How the learning rate changes during a training, in fractions of its steps.

    The rate rises linearly over the first `warmup` of the steps to the optimizer's learning rate,
    its peak, then falls to `final` times the peak.
    """

    warmup: float = Field(
        ge=0, lt=1, description="The fraction of the steps in which the rate rises."
    )
    decay: Literal["none", "linear", "cosine"] = Field(description="How the rate falls after that.")
    final: float = Field(ge=0, le=1, description="The last rate, as a fraction of the peak.")

    @property
    def is_constant(self) -> bool:
        """Whether the rate stays at its peak from the first step to the last."""
        return self.warmup == 0 and (self.decay == "none" or self.final == 1)


class _KerasObject(BaseModel):
    """A Keras class with its arguments, which only Keras can check."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    class_name: str = Field(
        min_length=1,
        description="Keras's name of the class; for an optimizer of your own, "
        "optimizers/FILE.py:CLASS or package.module:CLASS.",
    )

    @model_validator(mode="after")
    def _check_finite(self) -> "_KerasObject":
        for key, value in self.arguments.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{shorten(key, N_SHOWN)} should be a finite number")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The entry's further keys: Keras's own argument names with their values."""
        return dict(self.model_extra or {})


class Schedule(_KerasObject):
    """A class of `keras.optimizers.schedules`."""


class Range(Section):
    """A range of numbers to try for an argument of an optimizer."""

    low: float = Field(description="The lowest value to try.")
    high: float = Field(description="The highest value to try.")
    scale: Literal["linear", "log", "one_minus_log"] = Field(
        description="The scale on which settings are spread evenly; `one_minus_log` is the "
        "logarithm of 1 - value, for momentum and the like."
    )

    @model_validator(mode="after")
    def _check_order(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low should be below high (are {self.low} and {self.high})")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low should be above 0 where scale is log (is {self.low})")
        if self.scale == "one_minus_log" and self.high >= 1:
            raise ValueError(
                f"high should be below 1 where scale is one_minus_log (is {self.high})"
            )
        return self


class Choices(Section):
    """A list of values to try for an argument of an optimizer."""

    choices: Annotated[
        tuple[bool | int | float | str, ...],
        Field(min_length=2, max_length=20, description="The values to try."),
    ]


Dimension = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(
        lambda value: (
            "choices"
            if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value)
            else "range"
        )
    ),
]


class Optimizer(_KerasObject):
    """A class of `keras.optimizers`."""

    learning_rate: Annotated[
        Annotated[PositiveFloat, Tag("number")] | Annotated[Schedule, Tag("schedule")],
        Discriminator(lambda value: "schedule" if isinstance(value, dict | Schedule) else "number"),
    ] = Field(description="Where tuning begins; a Keras schedule is scaled as a whole.")
    learning_rate_factors: Factors | None = Field(
        default=None, description="Replaces `tuning.learning_rate_factors` for this optimizer."
    )
    schedule: RateSchedule | None = Field(
        default=None, description="Replaces `train.schedule` for this optimizer."
    )
    search: dict[str, Dimension] = Field(
        default={},
        max_length=8,
        description="Further arguments to tune, within the same number of settings.",
    )

    @model_validator(mode="after")
    def _check_schedule(self) -> "Optimizer":
        if self.schedule is not None and isinstance(self.learning_rate, Schedule):
            raise ValueError("schedule: give the peak as learning_rate, or Keras's schedule alone")
        return self

    def with_arguments(self, arguments: Mapping[str, Any]) -> "Optimizer":
        """The same optimizer with these values for its arguments, and without a search."""
        chosen: dict[str, Any] = self.arguments | dict(arguments)
        return Optimizer.model_construct(
            class_name=self.class_name,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            **chosen,
        )
