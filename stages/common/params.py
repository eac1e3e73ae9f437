"""`params.yaml` as typed, frozen values.

`python -m stages.common.params` checks the file and does nothing else; with `schema`, it prints the
JSON schema that editors use.
"""

import difflib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

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
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.errors import InputError, legible, one_line, shorten

PARAMS_PATH = Path("params.yaml")
MAX_SEED = 2**32 - 1
# Fresh seeds that every optimizer is trained with.
FIRST_LOOK = 10
# Closer ones would soon be the same to the digits that they are written with.
_LEAST_STEP = 1.1
_N_SHOWN = 80

# Short enough for the name of a folder, whatever the alphabet.
OptimizerName = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*$", max_length=60)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
T = TypeVar("T", int, float)


def _join(values: Iterable[float]) -> str:
    return shorten(", ".join(map(str, values)), _N_SHOWN)


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = sorted(value for value, n in Counter(values).items() if n > 1)
    if repeated:
        raise ValueError(f"{_join(repeated)} repeated; each may stand once")
    return values


def _check_steps(factors: tuple[float, ...]) -> tuple[float, ...]:
    for low, high in pairwise(sorted(factors)):
        if high < low * _LEAST_STEP:
            raise ValueError(f"{low} and {high} are too close; should differ by a tenth or more")
    return factors


Distinct = Annotated[
    tuple[T, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_check_distinct),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Simulated(_Section):
    """Seeded class prototypes plus noise, for tests and benchmarks."""

    n_train: PositiveInt = Field(description="Examples before the validation split.")
    n_test: PositiveInt
    height: PositiveInt
    width: PositiveInt
    n_classes: int = Field(ge=2, le=256)
    noise: float = Field(ge=0, description="Standard deviation of the noise, as a fraction of 255.")
    seed: Seed


class Custom(_Section):
    """Data of the user's own, in `dataset.path`."""

    format: Literal["auto", "pictures", "arrays", "table", "idx"] = Field(
        description="How the data are stored; `auto` looks at what lies there."
    )
    target: str = Field(min_length=1, description="The column of a table that is to be predicted.")
    resize: Annotated[tuple[PositiveInt, ...], Field(max_length=2)] = Field(
        description="Height and width that pictures are made; [] for their own size."
    )


class DatasetParams(_Section):
    name: str = Field(
        description="A data set of stages/download/catalogue.py, or `custom`.",
        examples=["digits", "fashion_mnist", "mnist", "kmnist", "simulated", "custom"],
    )
    path: str = Field(min_length=1, description="Where the data lie if name is `custom`.")
    custom: Custom = Field(description="Read only where name is `custom`.")
    simulated: Simulated = Field(description="Read only where name is `simulated`.")


class Task(_Section):
    """What is learned, and what it is judged by."""

    name: Literal["classification", "regression"]
    loss: str = Field(
        description="`auto` is the cross-entropy or the squared error; else a loss of Keras's.",
        examples=["auto", "mean_absolute_error", "huber"],
    )
    score: str = Field(
        description="`auto` is the accuracy or R²; else a metric of Keras's that is a mean over "
        "examples.",
        examples=["auto", "sparse_top_k_categorical_accuracy", "mean_absolute_error"],
    )
    direction: Literal["auto", "higher", "lower"] = Field(
        description="Which scores are better; `auto` knows it of Keras's."
    )


class Split(_Section):
    """How examples are held out, for validation and, where there is no test part, for the test."""

    validation_fraction: Fraction
    seed: Seed
    stratify: bool = Field(description="Keep the classes' proportions in both parts.")
    test_fraction: Fraction = Field(description="Read only for data without a test part.")
    test_seed: Seed


class BuiltInModel(_Section):
    """A network of stages/engine/models.py."""

    name: str = Field(description="A network of `MODELS` there.", examples=["mlp", "cnn"])
    hidden_units: tuple[PositiveInt, ...] = Field(
        description="Width of each dense hidden layer; [] for none."
    )
    activation: Literal["relu", "sigmoid"]
    dropout: float = Field(ge=0, lt=1, description="Rate after each dense hidden layer.")


class OwnModel(BaseModel):
    """A function of the user's own that builds a network; the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(
        pattern=":",
        description="FILE.py:FUNCTION below models/, or package.module:FUNCTION.",
        examples=["models/resnet.py:build"],
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function is called with, beside the shapes."""
        return dict(self.model_extra or {})


def _kind_of_model(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return "own" if isinstance(name, str) and ":" in name else "built-in"


Model = Annotated[
    Annotated[BuiltInModel, Tag("built-in")] | Annotated[OwnModel, Tag("own")],
    Discriminator(_kind_of_model),
]


class Train(_Section):
    epochs: PositiveInt
    batch_size: PositiveInt
    jit_compile: Literal["auto", True, False] = Field(
        description="XLA: `auto` is on without convolutions and dropout, or on a GPU."
    )


class Tuning(_Section):
    """The budget that each optimizer is tuned with, the same for every one."""

    learning_rate_factors: Annotated[Distinct[PositiveFloat], AfterValidator(_check_steps)] = Field(
        description="The first settings: multiples of each optimizer's own learning_rate."
    )
    n_settings: int = Field(
        ge=1,
        le=24,
        description="Settings in all; those after the first lie beyond or around the best.",
    )
    seeds: Distinct[Seed] = Field(description="Every setting is trained with these.")
    final_seeds: Annotated[tuple[Seed, ...], AfterValidator(_check_distinct)] = Field(
        description="The three best settings are trained with these as well."
    )


class Confirmation(_Section):
    """Fresh seeds, which tuning never saw."""

    first_seed: Seed = Field(description="Fresh seeds are this one and those after it.")
    at_most: int = Field(
        ge=FIRST_LOOK,
        description="Fresh seeds for an optimizer, unless the answer stands earlier. The race is "
        "looked at with 10, 15, 20, 30, 40, 60, 80, 120, 160, ... of them.",
    )


class ComparisonParams(_Section):
    confidence: Fraction = Field(
        description="Level of the intervals; tests are made at 1 - confidence."
    )
    margin: float = Field(ge=0, description="A loss of score that makes no difference in practice.")
    target: Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[float, Tag("number")],
        Discriminator(lambda value: "auto" if value == "auto" else "number"),
    ] = Field(description="Validation score to be reached: a number, or `auto`.")


class _KerasObject(BaseModel):
    """A Keras class with its arguments, which only Keras can check."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    class_name: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check_finite(self) -> "_KerasObject":
        for key, value in self.arguments.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{shorten(key, _N_SHOWN)} should be a finite number")
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

    dataset: DatasetParams
    task: Task
    split: Split
    model: Model
    train: Train
    tuning: Tuning
    confirmation: Confirmation
    comparison: ComparisonParams
    optimizers: dict[OptimizerName, Optimizer] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_budget(self) -> "Params":
        tuning, confirmation = self.tuning, self.confirmation
        n_first = len(tuning.learning_rate_factors)
        if tuning.n_settings < n_first:
            raise ValueError(
                f"tuning.n_settings: should be at least {n_first}, the number of "
                f"learning_rate_factors (is {tuning.n_settings})"
            )
        repeated = sorted(set(tuning.seeds) & set(tuning.final_seeds))
        if repeated:
            raise ValueError(f"tuning.final_seeds: {_join(repeated)} stand in tuning.seeds already")
        last = confirmation.first_seed + confirmation.at_most - 1
        if last > MAX_SEED:
            raise ValueError(f"confirmation: seeds go to {last}, should be at most {MAX_SEED}")
        fresh = range(confirmation.first_seed, last + 1)
        shared = sorted(seed for seed in (*tuning.seeds, *tuning.final_seeds) if seed in fresh)
        if shared:
            raise ValueError(
                f"confirmation.first_seed: the {confirmation.at_most} seeds from there should be "
                f"ones that tuning never saw, not {_join(shared)}"
            )
        return self


def fresh_seeds(confirmation: Confirmation, n: int) -> tuple[int, ...]:
    """The first n seeds that tuning never saw, in the order of their use."""
    return tuple(range(confirmation.first_seed, confirmation.first_seed + n))


def load_params(path: Path = PARAMS_PATH) -> Params:
    """Reads and checks the whole file, so that no stage starts on half-good parameters.

    Raises:
        InputError: If the file is missing, is not YAML or breaks a rule: one line for each fault,
            with the key and what would be right.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        loaded = read_yaml(content)
    except ValueError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    try:
        # Through JSON, because pydantic's strict mode for JSON accepts what a YAML author means:
        # 1 for a float and a list for a tuple, but no text for a number.
        return Params.model_validate_json(json.dumps(loaded))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = (f"{path}: {legible(_describe(fault))}" for fault in faults)
        raise InputError("\n".join(lines)) from None


def read_yaml(content: bytes) -> Any:
    """The value of a YAML 1.2 document, read as DVC reads it; dates and the like become text.

    Raises:
        ValueError: If it is not valid YAML, nothing that JSON can hold, or has a key that YAML
            takes for something else than text.
    """
    try:
        loaded = YAML(typ="safe").load(content)
        text = json.dumps(loaded, default=str, skipkeys=True)
        _check_keys(loaded)
        return json.loads(text)
    except (YAMLError, RecursionError, LookupError, TypeError, ValueError) as error:
        raise ValueError(one_line(error)) from None


def _check_keys(value: Any) -> None:
    if isinstance(value, list):
        for entry in value:
            _check_keys(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                text = shorten(json.dumps(key, default=str), _N_SHOWN)
                raise ValueError(f"the key {text} is no text in YAML; put it in quotes")  # noqa: TRY004
            _check_keys(entry)


def schema() -> str:
    """The JSON schema of `params.yaml`, as text."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"


def _describe(fault: ErrorDetails) -> str:
    # Behind the keys of two kinds of value pydantic names the kind, which is no key of the file.
    of_two_kinds = {"learning_rate", "target", "model"}
    parts = [str(part) for part in fault["loc"] if part != "[key]"]
    location = [part for before, part in pairwise(("", *parts)) if before not in of_two_kinds]
    message = fault["msg"]
    given = shorten(json.dumps(fault["input"], ensure_ascii=False, default=str), _N_SHOWN)
    match fault["type"]:
        case "value_error" if not location:
            return shorten(message.removeprefix("Value error, "))
        case "missing":
            message = "missing"
        case "extra_forbidden":
            known = _keys_of(location[:-1])
            near = difflib.get_close_matches(location[-1], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            message = f"unknown key; {hint}"
        case "model_type" | "dict_type" | "model_attributes_type":
            message = f"should be a mapping of keys to values (is {given})"
        case "tuple_type":
            message = f"should be a list (is {given})"
        case "string_pattern_mismatch":
            message = "no name for a stage; use letters, digits, _ and -, and no - at the beginning"
        case "too_short":
            message = "empty; give at least one"
        case _:
            message = message.replace("Input should", "should").removeprefix("Value error, ")
            message = f"{message} (is {given})"
    key = ".".join(shorten(part, _N_SHOWN) for part in location) or "the file"
    return f"{key}: {shorten(message)}"


def _keys_of(location: list[str]) -> list[str]:
    section: Any = Params
    for part in location:
        section = BuiltInModel if part == "model" else section.model_fields[part].annotation
    return list(section.model_fields)


if __name__ == "__main__":
    if sys.argv[1:] == ["schema"]:
        print(schema(), end="")
    else:
        try:
            load_params()
        except InputError as error:
            sys.exit(str(error))
