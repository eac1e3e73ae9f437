"""`params.yaml` as typed, frozen values.

Run as a program, it prints the JSON schema that editors use: `python -m stages.common.params`.
"""

import difflib
import json
import re
from collections.abc import Iterable
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from stages.common.console import InputError

PARAMS_PATH = Path("params.yaml")
MAX_SEED = 2**32 - 1

OptimizerName = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
T = TypeVar("T", int, float)


def _join(values: Iterable[float]) -> str:
    return ", ".join(map(str, values))


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{_join(repeated)} repeated; each may stand once")
    return values


Distinct = Annotated[
    tuple[T, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_check_distinct),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Simulated(_Section):
    """Seeded class prototypes plus noise, for tests and benchmarks."""

    n_train: PositiveInt = Field(description="Images before the validation split.")
    n_test: PositiveInt
    height: PositiveInt
    width: PositiveInt
    n_classes: int = Field(ge=2, le=256)
    noise: float = Field(ge=0, description="Standard deviation of the noise, as a fraction of 255.")
    seed: Seed


class Dataset(_Section):
    name: str = Field(
        description="A data set of stages/download/catalogue.py.",
        examples=["digits", "fashion_mnist", "mnist", "kmnist", "simulated"],
    )
    simulated: Simulated = Field(description="Read only where name is `simulated`.")


class Split(_Section):
    """How the validation images are held out of the training images."""

    validation_fraction: Fraction
    seed: Seed
    stratify: bool = Field(description="Keep the classes' proportions in both parts.")


class Model(_Section):
    name: str = Field(description="A model of stages/train/models.py.", examples=["mlp", "cnn"])
    hidden_units: tuple[PositiveInt, ...] = Field(
        description="Width of each dense hidden layer; [] for none."
    )
    activation: Literal["relu", "sigmoid"]
    dropout: float = Field(ge=0, lt=1, description="Rate after each dense hidden layer.")


class Train(_Section):
    epochs: PositiveInt
    batch_size: PositiveInt
    jit_compile: Literal["auto", True, False] = Field(
        description="XLA: `auto` is on without convolutions and dropout, or on a GPU."
    )


class Tuning(_Section):
    """The learning rates and seeds that each optimizer is tuned with."""

    learning_rate_factors: Distinct[PositiveFloat] = Field(
        description="Multiples of each optimizer's own learning_rate."
    )
    seeds: Distinct[Seed]


class Confirmation(_Section):
    """Fresh seeds, which tuning never saw."""

    seeds: Distinct[Seed]


class Comparison(_Section):
    confidence: Fraction = Field(
        description="Level of the intervals; tests are made at 1 - confidence."
    )
    margin: float = Field(
        ge=0, lt=1, description="Optimizers closer than this are tied, unless one is surely better."
    )
    target_accuracy: Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[Fraction, Tag("number")],
        Discriminator(lambda value: "auto" if value == "auto" else "number"),
    ] = Field(description="Validation accuracy to be reached: a fraction, or `auto`.")


class _KerasObject(BaseModel):
    """A Keras class with its arguments, which only Keras can check."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    class_name: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check_finite(self) -> "_KerasObject":
        for key, value in self.arguments.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{key} should be a finite number")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The entry's further keys: Keras's own argument names with their values."""
        return dict(self.model_extra or {})


class Schedule(_KerasObject):
    """A class of `keras.optimizers.schedules`."""


class Optimizer(_KerasObject):
    """A class of `keras.optimizers`."""

    learning_rate: Annotated[
        Annotated[PositiveFloat, Tag("number")] | Annotated[Schedule, Tag("schedule")],
        Discriminator(lambda value: "schedule" if isinstance(value, dict | Schedule) else "number"),
    ]


class Params(_Section):
    """Every knob of the experiment."""

    dataset: Dataset
    split: Split
    model: Model
    train: Train
    tuning: Tuning
    confirmation: Confirmation
    comparison: Comparison
    optimizers: dict[OptimizerName, Optimizer] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_seeds_fresh(self) -> "Params":
        shared = sorted(set(self.tuning.seeds) & set(self.confirmation.seeds))
        if shared:
            raise ValueError(
                f"confirmation.seeds: take seeds that tuning never saw, not {_join(shared)}"
            )
        return self


def load_params(path: Path = PARAMS_PATH) -> Params:
    """Reads and checks the whole file, so that no stage starts on half-good parameters.

    Raises:
        InputError: If the file is missing, is no YAML or breaks a rule: one line for each fault,
            with the key and what would be right.
    """
    try:
        # By way of JSON, where strict means what a reader of YAML expects: 1 is a number that a
        # fraction accepts, a list is a list, and "1" is text.
        content = yaml_to_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise InputError("\n".join(f"{path}: {_describe(fault)}" for fault in faults)) from None


def yaml_to_json(text: str | bytes) -> str:
    """YAML as this project reads it, in JSON's clothes.

    Raises:
        yaml.YAMLError, ValueError, TypeError: If it is none, or nothing that JSON can hold.
    """
    return json.dumps(yaml.load(text, Loader=_Loader), default=str)  # noqa: S506, a SafeLoader


def schema() -> str:
    """The JSON schema of `params.yaml`, as text."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"


class _Loader(yaml.SafeLoader):
    """PyYAML reads `1e-3` as text; DVC, by YAML 1.2, as a number. So do we."""


# Nor do yes, no, on and off mean true and false to it.
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if first in "tTfF" or rule[0] != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _describe(fault: ErrorDetails) -> str:
    # Behind the keys of two kinds of value pydantic names the kind, which is no key of the file.
    of_two_kinds = {"learning_rate", "target_accuracy"}
    parts = [str(part) for part in fault["loc"] if part != "[key]"]
    location = [part for before, part in pairwise(("", *parts)) if before not in of_two_kinds]
    message, given = fault["msg"], json.dumps(fault["input"], ensure_ascii=False, default=str)
    match fault["type"]:
        case "value_error" if not location:
            return message.removeprefix("Value error, ")
        case "missing":
            message = "missing"
        case "extra_forbidden":
            known = _keys_of(location[:-1])
            near = difflib.get_close_matches(location[-1], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            message = f"unknown key; {hint}"
        case "model_type" | "dict_type" | "model_attributes_type":
            message = f"should be a mapping of keys to values (is {given})"
        case "string_pattern_mismatch":
            message = "no name for a stage; use letters, digits, _ and -, and no - at the beginning"
        case "too_short":
            message = "empty; give at least one"
        case _:
            message = message.replace("Input should", "should").removeprefix("Value error, ")
            message = f"{message} (is {given})"
    return f"{'.'.join(location) or 'the file'}: {message}"


def _keys_of(location: list[str]) -> list[str]:
    section: Any = Params
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


if __name__ == "__main__":
    print(schema(), end="")
