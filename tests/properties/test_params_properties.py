"""Whatever stands in params.yaml, it is read as meant or refused, never a traceback."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stages.common.errors import InputError
from stages.common.params import Params, fresh_seeds, load_params, read_yaml

SECTIONS: dict[str, Any] = {
    "dataset": {
        "name": "digits",
        "path": "data/custom",
        "custom": {"format": "auto", "target": "target", "resize": []},
        "simulated": {
            "n_train": 60,
            "n_test": 20,
            "height": 4,
            "width": 4,
            "n_classes": 3,
            "noise": 1.0,
            "seed": 0,
        },
    },
    "task": {"name": "classification", "loss": "auto", "score": "auto", "direction": "auto"},
    "split": {
        "validation_fraction": 0.2,
        "seed": 42,
        "stratify": False,
        "test_fraction": 0.25,
        "test_seed": 43,
    },
    "model": {"name": "mlp", "hidden_units": [100], "activation": "relu", "dropout": 0.0},
    "train": {
        "epochs": 5,
        "batch_size": 32,
        "schedule": {"warmup": 0.0, "decay": "none", "final": 0.0},
        "jit_compile": "auto",
    },
    "tuning": {
        "learning_rate_factors": [0.1, 1.0, 10.0],
        "n_settings": 5,
        "seeds": [1, 2, 3],
        "final_seeds": [4, 5],
    },
    "confirmation": {"first_seed": 42, "at_most": 20},
    "comparison": {"confidence": 0.95, "margin": 0.002, "target": "auto"},
    "optimizers": {"sgd": {"class_name": "SGD", "learning_rate": 0.1}},
}
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=5,
)
places = st.sampled_from(
    [(section, key) for section, entries in SECTIONS.items() for key in (None, "new", *entries)]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("params") / "params.yaml"


def load(path: Path, text: str) -> Params:
    path.write_text(text, encoding="utf-8")
    return load_params(path)


def with_section(name: str, entries: Any) -> dict[str, Any]:
    return {**SECTIONS, name: entries}


@given(place=places, value=anything)
def test_any_value_anywhere_is_accepted_or_refused(
    path: Path, place: tuple[str, str | None], value: Any
) -> None:
    section, key = place
    entries = value if key is None else {**SECTIONS[section], key: value}
    with suppress(InputError):
        load(path, yaml.safe_dump(with_section(section, entries), allow_unicode=True))


@given(
    number=st.floats(1e-300, 1e300),
    style=st.sampled_from(["{!r}", "{:e}", "{:E}", "{:g}", "{:.0e}"]),
)
def test_a_learning_rate_is_the_number_that_stands_there(
    path: Path, number: float, style: str
) -> None:
    text = style.format(number)
    entry = f"{{class_name: SGD, learning_rate: {text}}}"
    rest = {name: section for name, section in SECTIONS.items() if name != "optimizers"}
    params = load(path, f"{yaml.safe_dump(rest)}\noptimizers: {{sgd: {entry}}}\n")
    assert params.optimizers["sgd"].learning_rate == float(text)


@given(name=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_an_optimizer_s_name_is_accepted_if_it_can_name_a_stage(path: Path, name: str) -> None:
    # As JSON, which is YAML with each key in quotation marks: "0E0" is a name, 0E0 a number.
    content = json.dumps(with_section("optimizers", {name: SECTIONS["optimizers"]["sgd"]}))
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        assert list(load(path, content).optimizers) == [name]
    else:
        with pytest.raises(InputError, match="not a valid name"):
            load(path, content)


seeds = st.lists(st.integers(0, 20), max_size=4)


@given(
    first=seeds.filter(len), final=seeds, first_seed=st.integers(0, 15), at_most=st.integers(10, 12)
)
def test_seeds_are_accepted_if_no_trial_would_be_made_twice(
    path: Path, first: list[int], final: list[int], first_seed: int, at_most: int
) -> None:
    tuning = {**SECTIONS["tuning"], "seeds": first, "final_seeds": final}
    content = with_section("tuning", tuning)
    content["confirmation"] = {"first_seed": first_seed, "at_most": at_most}
    fresh = range(first_seed, first_seed + at_most)
    both = [*first, *final, *fresh]
    if len(set(both)) == len(both):
        params = load(path, json.dumps(content))
        assert fresh_seeds(params.confirmation, at_most) == tuple(fresh)
    else:
        told = r"seeds?: .*(repeated|already|tuning never saw)"
        with pytest.raises(InputError, match=told):
            load(path, json.dumps(content))


# What a person might type: numbers of every kind, the words and marks of YAML, any text.
yaml_scalars = (
    st.from_regex(
        r"[-+]?(0[obx])?[0-9_]{0,4}(\.[0-9_]{0,3})?([eE][-+]?[0-9]{1,3})?(:[0-9]{1,2}){0,2}",
        fullmatch=True,
    )
    | st.sampled_from(
        ["yes", "No", "ON", "off", "true", "FALSE", "y", "~", "null", ".nan", "-.INF"]
    )
    | st.from_regex(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:.]{5,8})?", fullmatch=True)
    | st.text("0189abefox_+-.:~'\"!&*#{}[],%@|>=? \n\t", max_size=8)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)


def has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and has_text_keys(v) for k, v in value.items())
    return not isinstance(value, list) or all(map(has_text_keys, value))


def assert_read_as_dvc_does(text: str) -> None:
    """That both read the same, as JSON has it and types included, or both refuse it.

    Keys that are no text are refused in any case.
    """
    try:
        loaded = parse_yaml(text, "params.yaml")
        expected = json.loads(json.dumps(loaded, default=str))
    except Exception:  # noqa: BLE001, DVC has many for what is not YAML
        loaded, expected = {0: 0}, None
    if not has_text_keys(loaded):
        with pytest.raises(ValueError, match=r"\S"):
            read_yaml(text.encode())
    else:
        # As text, since NaN is not equal to itself.
        assert repr(read_yaml(text.encode())) == repr(expected)


@given(scalar=yaml_scalars)
@example("010")
@example("089")
@example("0o10")
@example("1:30")
@example("1e-3")
@example("5\0")
@example("!!int five")
@example("&a [*a]")
def test_a_scalar_is_read_as_dvc_reads_it(scalar: str) -> None:
    assert_read_as_dvc_does(f"key: {scalar}\n")


@given(
    rows=st.lists(st.tuples(yaml_scalars, yaml_scalars), min_size=1, max_size=4),
    nested=st.lists(st.tuples(yaml_scalars, yaml_scalars), max_size=3),
)
def test_a_mapping_is_read_as_dvc_reads_it(
    rows: list[tuple[str, str]], nested: list[tuple[str, str]]
) -> None:
    lines = [f"{key}: {value}" for key, value in rows]
    lines += ["section:", *(f"  {key}: {value}" for key, value in nested)]
    assert_read_as_dvc_does("\n".join(lines))
    assert_read_as_dvc_does(f"{{section: {{{', '.join(lines[: len(rows)])}}}}}")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc01"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(value=st.dictionaries(st.text("abc01_"), values, max_size=3), flow=st.booleans())
def test_what_a_yaml_writer_wrote_is_read_as_dvc_reads_it(value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow)
    assert_read_as_dvc_does(text)
