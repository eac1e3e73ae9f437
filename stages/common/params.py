"""`params.yaml` as typed, frozen values.

`python -m stages.common.params` checks the file and does nothing else; with `schema`, it prints the
JSON schema that editors use.
"""

import difflib
import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from math import inf, prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
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
from stages.common.fields import (
    MAX_SEED,
    N_SHOWN,
    Distinct,
    Factors,
    Fraction,
    Section,
    Seed,
    check_distinct,
    join,
)
from stages.common.optimizer_params import Choices, Optimizer, Range, RateSchedule

PARAMS_PATH = Path("params.yaml")
# How many fresh seeds every optimizer is trained with at first.
FIRST_LOOK = 10
# Short enough for the name of a folder, whatever the alphabet.
OptimizerName = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*$", max_length=60)]


class Simulated(Section):
    """Seeded class prototypes plus noise, for tests and benchmarks."""

    n_train: PositiveInt = Field(description="Examples before the validation split.")
    n_test: PositiveInt = Field(description="Examples to test on.")
    height: PositiveInt = Field(description="Height of a picture, in pixels.")
    width: PositiveInt = Field(description="Width of a picture, in pixels.")
    n_classes: int = Field(ge=2, le=256, description="Classes, of equal size on average.")
    noise: float = Field(ge=0, description="Standard deviation of the noise, as a fraction of 255.")
    seed: Seed = Field(description="Seed of the prototypes and the noise.")


class Custom(Section):
    """The user's own data, in `dataset.path`."""

    format: Literal["auto", "pictures", "arrays", "table", "idx"] = Field(
        description="How the data are stored; `auto` tells it from the files."
    )
    target: str = Field(min_length=1, description="The column of a table to predict.")
    resize: Annotated[tuple[PositiveInt, ...], Field(max_length=2)] = Field(
        description="Height and width to resize pictures to; [] keeps their size."
    )


class DatasetParams(Section):
    name: str = Field(
        description="A data set of stages/download/catalogue.py, or `custom`.",
        examples=["digits", "fashion_mnist", "mnist", "kmnist", "simulated", "custom"],
    )
    path: str = Field(min_length=1, description="Where the data are if name is `custom`.")
    custom: Custom = Field(description="Used only if name is `custom`.")
    simulated: Simulated = Field(description="Used only if name is `simulated`.")


class Task(Section):
    """What is learned, and what it is judged by."""

    name: Literal["classification", "regression"] = Field(
        description="Whether classes or numbers are predicted."
    )
    loss: str = Field(
        description="`auto` is the cross-entropy or the squared error; or name a Keras loss.",
        examples=["auto", "mean_absolute_error", "huber"],
    )
    score: str = Field(
        description="`auto` is the accuracy or R²; or name a Keras metric that is a mean over "
        "examples.",
        examples=["auto", "sparse_top_k_categorical_accuracy", "mean_absolute_error"],
    )
    direction: Literal["auto", "higher", "lower"] = Field(
        description="Which scores are better; `auto` knows this for Keras's metrics."
    )


class Split(Section):
    """How examples are held out for validation and, if there is no test part, for testing."""

    validation_fraction: Fraction = Field(
        description="Fraction of the training examples; tuning chooses settings by them."
    )
    seed: Seed = Field(description="Decides which examples are held out for validation.")
    stratify: bool = Field(description="Keep the classes' proportions in both parts.")
    test_fraction: Fraction = Field(
        description="Fraction held out for testing; used only for data without a test part."
    )
    test_seed: Seed = Field(description="Decides which examples are held out for testing, if any.")


class BuiltInModel(Section):
    """A built-in network, from stages/engine/models.py."""

    name: str = Field(description="A key of `MODELS` in that file.", examples=["mlp", "cnn"])
    hidden_units: tuple[PositiveInt, ...] = Field(
        description="Width of each dense hidden layer; [] for none."
    )
    activation: Literal["relu", "sigmoid"] = Field(description="Activation of the hidden layers.")
    dropout: float = Field(ge=0, lt=1, description="Dropout rate after each dense hidden layer.")


class OwnModel(BaseModel):
    """The user's own function that builds a network; the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(
        pattern=":",
        description="models/FILE.py:FUNCTION or package.module:FUNCTION.",
        examples=["models/resnet.py:build"],
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function is called with besides the shapes."""
        return dict(self.model_extra or {})


def _kind_of_model(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return "own" if isinstance(name, str) and ":" in name else "built-in"


Model = Annotated[
    Annotated[BuiltInModel, Tag("built-in")] | Annotated[OwnModel, Tag("own")],
    Discriminator(_kind_of_model),
]


class Train(Section):
    epochs: PositiveInt = Field(description="How often a trial goes through the training examples.")
    batch_size: PositiveInt = Field(description="Number of examples in a step.")
    schedule: RateSchedule = Field(
        description="How the learning rate changes, for every optimizer without its own schedule."
    )
    jit_compile: Literal["auto", True, False] = Field(
        description="Whether XLA compiles the training; `auto` does so on a GPU, and for networks "
        "without convolutions and dropout."
    )


class Tuning(Section):
    """The budget for tuning, the same for every optimizer."""

    learning_rate_factors: Factors = Field(
        description="The first settings: multiples of each optimizer's own learning_rate."
    )
    n_settings: int = Field(
        ge=1,
        le=24,
        description="Number of settings in all; the later ones lie beyond or around the best.",
    )
    seeds: Distinct[Seed] = Field(description="Every setting is trained with these.")
    final_seeds: Annotated[tuple[Seed, ...], AfterValidator(check_distinct)] = Field(
        description="The three best settings are trained with these as well."
    )


class Confirmation(Section):
    """Fresh seeds, which tuning never saw."""

    first_seed: Seed = Field(description="Fresh seeds are this one and those after it.")
    at_most: int = Field(
        ge=FIRST_LOOK,
        description="The most fresh seeds for an optimizer; fewer if the answer is clear earlier. "
        "The race is judged after 10, 15, 20, 30, 40, 60, 80, 120, 160, ... of them.",
    )


class ComparisonParams(Section):
    confidence: Fraction = Field(
        description="Level of the intervals; tests are made at 1 - confidence."
    )
    margin: float = Field(ge=0, description="A loss of score that makes no difference in practice.")
    target: Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[float, Tag("number")],
        Discriminator(lambda value: "auto" if value == "auto" else "number"),
    ] = Field(description="The validation score to reach: a number, or `auto`.")


class Params(Section):
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
        for key, factors in (
            ("tuning", tuning.learning_rate_factors),
            *((f"optimizers.{n}", o.learning_rate_factors) for n, o in self.optimizers.items()),
        ):
            if factors and tuning.n_settings < len(factors):
                raise ValueError(
                    f"tuning.n_settings: should be at least {len(factors)}, the number of "
                    f"{key}.learning_rate_factors (is {tuning.n_settings})"
                )
        for name, optimizer in self.optimizers.items():
            n_points = count_points(optimizer, tuning)
            if n_points < tuning.n_settings:
                raise ValueError(
                    f"optimizers.{name}.search: has {n_points} settings, fewer than "
                    f"tuning.n_settings ({tuning.n_settings}); search a range as well"
                )
        repeated = sorted(set(tuning.seeds) & set(tuning.final_seeds))
        if repeated:
            raise ValueError(f"tuning.final_seeds: {join(repeated)} are in tuning.seeds already")
        last = confirmation.first_seed + confirmation.at_most - 1
        if last > MAX_SEED:
            raise ValueError(f"confirmation: seeds go to {last}, should be at most {MAX_SEED}")
        fresh = range(confirmation.first_seed, last + 1)
        shared = sorted(seed for seed in (*tuning.seeds, *tuning.final_seeds) if seed in fresh)
        if shared:
            raise ValueError(
                f"confirmation.first_seed: the {confirmation.at_most} seeds from there should be "
                f"ones that tuning never saw, not {join(shared)}"
            )
        return self


def choose_arguments(params: Params, name: str, arguments: Mapping[str, Any]) -> Params:
    """The same parameters with these values for the arguments that the optimizer's search tries."""
    chosen = params.optimizers[name].with_arguments(arguments)
    return params.model_copy(update={"optimizers": {**params.optimizers, name: chosen}})


def count_points(optimizer: Optimizer, tuning: Tuning) -> float:
    """How many different settings the optimizer's search space has, the configured one included."""
    factors = optimizer.learning_rate_factors or tuning.learning_rate_factors
    dimensions = optimizer.search.values()
    if not dimensions or len(factors) > 1 or any(isinstance(d, Range) for d in dimensions):
        return inf
    return prod(len(set(d.choices)) for d in dimensions if isinstance(d, Choices)) + 1


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
        ValueError: If it is not valid YAML, cannot be written as JSON, or has a key that YAML does
            not read as text.
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
                text = shorten(json.dumps(key, default=str), N_SHOWN)
                raise ValueError(f"the key {text} is not text in YAML; put it in quotes")  # noqa: TRY004
            _check_keys(entry)


def schema() -> str:
    """The JSON schema of `params.yaml`, as text."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"


def _describe(fault: ErrorDetails) -> str:
    # After a key with two kinds of value, pydantic names the kind, which is not a key of the file.
    of_two_kinds = {"learning_rate", "target", "model"}
    parts = [str(part) for part in fault["loc"] if part != "[key]"]
    if parts[2:3] == ["search"]:
        del parts[4:5]
    location = [part for before, part in pairwise(("", *parts)) if before not in of_two_kinds]
    message = fault["msg"]
    given = shorten(json.dumps(fault["input"], ensure_ascii=False, default=str), N_SHOWN)
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
            message = "not a valid name; use letters, digits, _ and -, and do not begin with -"
        case "too_short":
            message = "empty; give at least one"
        case _:
            message = message.replace("Input should", "should").removeprefix("Value error, ")
            message = f"{message} (is {given})"
    key = ".".join(shorten(part, N_SHOWN) for part in location) or "the file"
    return f"{key}: {shorten(message)}"


def _keys_of(location: list[str]) -> list[str]:
    section: Any = Params
    if location[:1] == ["optimizers"]:
        section = {"schedule": RateSchedule, "search": Range}[location[2]]
        return list(section.model_fields)
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
