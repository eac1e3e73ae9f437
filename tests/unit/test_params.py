"""params.yaml as the stages see it: what is accepted, and what a person reads when it is not."""

from pathlib import Path

import pytest

from stages.common.errors import InputError
from stages.common.optimizer_params import Schedule
from stages.common.params import BuiltInModel, OwnModel, fresh_seeds, load_params, read_yaml, schema
from tests.conftest import PROJECT

GOOD = """\
dataset:
  name: digits
  path: data/custom
  custom: {format: auto, target: target, resize: []}
  simulated: {n_train: 60, n_test: 20, height: 4, width: 4, n_classes: 3, noise: 1.0, seed: 0}
task: {name: classification, loss: auto, score: auto, direction: auto}
split:
  {validation_fraction: 0.2, seed: 42, stratify: false, test_fraction: 0.25, test_seed: 43}
model: {name: mlp, hidden_units: [100], activation: relu, dropout: 0.0}
train: {epochs: 5, batch_size: 32, jit_compile: auto,
  schedule: {warmup: 0.0, decay: none, final: 0.0}}
tuning:
  learning_rate_factors: [0.1, 1.0, 10.0]
  n_settings: 5
  seeds: [1, 2, 3]
  final_seeds: [4, 5]
confirmation: {first_seed: 42, at_most: 20}
comparison: {confidence: 0.95, margin: 0.002, target: auto}
optimizers:
  sgd: {class_name: SGD, learning_rate: 0.1, momentum: 0.9, nesterov: true}
  adam: {class_name: Adam, learning_rate: 0.001}
"""
SGD = "sgd: {class_name: SGD, learning_rate: 0.1, momentum: 0.9, nesterov: true}"


def write_params(folder: Path, old: str = "", new: str = "") -> Path:
    """GOOD with one edit, as a person would make it."""
    assert old in GOOD
    path = folder / "params.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "key", "right"),
    [
        ("epochs: 5", "epochs: 5, batchsize: 3", "train.batchsize", "did you mean batch_size?"),
        ("epochs: 5", "epochs: 5, x: 3", "train.x", "known here: epochs, batch_size, schedule"),
        ("\ntrain:", "\ntrial: 1\ntrain:", "trial", "did you mean train?"),
        ("epochs: 5", "epochs: five", "train.epochs", "should be a valid integer"),
        ("epochs: 5", 'epochs: "5"', "train.epochs", "should be a valid integer"),
        ("seeds: [1, 2, 3]", "seeds: [1, 2.5]", "tuning.seeds.1", "should be a valid integer"),
        ("activation: relu", "activation: tanh", "model.activation", "'relu' or 'sigmoid'"),
        ("{first_seed: 42, at_most: 20}", "[42, 43]", "confirmation", "should be a mapping"),
        ("0.2, ", "0, ", "split.validation_fraction", "should be greater than 0"),
        ("0.2, ", "1.0, ", "split.validation_fraction", "should be less than 1"),
        ("target: auto", "target: most", "comparison.target", 'a valid number (is "most")'),
        ("target: auto", "target: .nan", "comparison.target", "should be a finite number"),
        ("0.25, ", "1.0, ", "split.test_fraction", "should be less than 1"),
        ("test_seed: 43", "test_seed: -1", "split.test_seed", "than or equal to 0"),
        (
            "name: classification",
            "name: ranking",
            "task.name",
            "'classification' or 'regression'",
        ),
        ("direction: auto", "direction: up", "task.direction", "'auto', 'higher' or 'lower'"),
        ("score: auto", "score: 1", "task.score", "should be a valid string"),
        ("score: auto", "score: auto, scores: auto", "task.scores", "did you mean score?"),
        ("resize: []", "resize: [1, 2, 3]", "dataset.custom.resize", "at most 2 items"),
        ("resize: []", "resize: [0, 2]", "dataset.custom.resize.0", "should be greater than 0"),
        ("format: auto", "format: xls", "dataset.custom.format", "'auto', 'pictures'"),
        ("path: data/custom", "path: ''", "dataset.path", "at least 1 character"),
        ("hidden_units: [100], ", "", "model.hidden_units", "missing"),
        ("dropout: 0.0", "dropouts: 0.0, dropout: 0.0", "model.dropouts", "did you mean dropout?"),
        ("rate: 0.1", "rate: -0.1", "optimizers.sgd.learning_rate", "should be greater than 0"),
        ("rate: 0.1", "rate: .nan", "optimizers.sgd.learning_rate", "should be a finite number"),
        ("rate: 0.1", "rate: .inf", "optimizers.sgd.learning_rate", "should be a finite number"),
        (", learning_rate: 0.1", "", "optimizers.sgd.learning_rate", "missing"),
        ("class_name: SGD, ", "", "optimizers.sgd.class_name", "missing"),
        ("rate: 0.1", "rate: {}", "optimizers.sgd.learning_rate.class_name", "missing"),
        (SGD, "sgd: SGD", "optimizers.sgd", "should be a mapping"),
        (
            SGD,
            "schedule: {class_name: A, learning_rate: 0}",
            "optimizers.schedule.learning_rate",
            "than 0",
        ),
        (GOOD[GOOD.index("optim") :], "optimizers: {}", "optimizers", "give at least one"),
        ("sgd:", "my sgd:", "optimizers.my sgd", "use letters, digits, _ and -"),
        ("sgd:", "sgd.2:", "optimizers.sgd.2", "use letters, digits, _ and -"),
        ("sgd:", "sgd/2:", "optimizers.sgd/2", "use letters, digits, _ and -"),
        ("sgd:", "-sgd:", "optimizers.-sgd", "do not begin with -"),
        ("[1, 2, 3]", "[1, 2, 1]", "tuning.seeds", "1 repeated; each may appear only once"),
        ("[4, 5]", "[4, 5, 5, 4]", "tuning.final_seeds", "4, 5 repeated"),
        ("[4, 5]", "[3, 5, 1]", "tuning.final_seeds", "1, 3 are in tuning.seeds already"),
        ("n_settings: 5", "n_settings: 0", "tuning.n_settings", "greater than or equal to 1"),
        ("n_settings: 5", "n_settings: 25", "tuning.n_settings", "less than or equal to 24"),
        (
            "n_settings: 5",
            "n_settings: 2",
            "tuning.n_settings",
            "should be at least 3, the number of tuning.learning_rate_factors (is 2)",
        ),
        ("at_most: 20", "at_most: 9", "confirmation.at_most", "greater than or equal to 10"),
        ("first_seed: 42", "first_seed: -1", "confirmation.first_seed", "than or equal to 0"),
        ("42, at_most: 20", "4294967277, at_most: 20", "confirmation", "at most 4294967295"),
        (
            ", at_most: 20",
            ", at_most: 20, seeds: [3]",
            "confirmation.seeds",
            "known here: first_seed",
        ),
        ("[0.1, 1.0", "[1.0, 1.0", "tuning.learning_rate_factors", "1.0 repeated"),
        ("[1, 2, 3]", "[1, 61]", "confirmation.first_seed", "that tuning never saw, not 61"),
        ("[4, 5]", "[4, 42]", "confirmation.first_seed", "that tuning never saw, not 42"),
        ("warmup: 0.0", "warmup: 1.0", "train.schedule.warmup", "should be less than 1"),
        ("decay: none", "decay: step", "train.schedule.decay", "'none', 'linear' or 'cosine'"),
        (
            "rate: 0.001",
            "rate: 0.001, schedule: {warmup: 0.1, decay: cosine}",
            "optimizers.adam.schedule.final",
            "missing",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, schedule: {warmup: 0.1, decay: none, final: 0.5, finale: 1}",
            "optimizers.adam.schedule.finale",
            "unknown key; did you mean final?",
        ),
        (
            "rate: 0.001",
            "rate: {class_name: CosineDecay}, schedule: {warmup: 0.1, decay: none, final: 1.0}",
            "optimizers.adam",
            "schedule: give the peak as learning_rate",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, search: {beta_1: {low: 0.9, high: 0.5, scale: linear}}",
            "optimizers.adam.search.beta_1",
            "low should be below high (are 0.9 and 0.5)",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, search: {beta_1: {low: 0, high: 0.5, scale: log}}",
            "optimizers.adam.search.beta_1",
            "low should be above 0",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, search: {beta_1: {low: 0, high: 1, scale: one_minus_log}}",
            "optimizers.adam.search.beta_1",
            "high should be below 1",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, search: {beta_1: {low: 0, high: 1, scale: linear, step: 1}}",
            "optimizers.adam.search.beta_1.step",
            "unknown key; known here: low, high, scale",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, learning_rate_factors: [1], search: {amsgrad: {choices: [true, false]}}",
            "optimizers.adam.search",
            "has 3 settings, fewer than tuning.n_settings (5)",
        ),
        (
            "rate: 0.001",
            "rate: 0.001, learning_rate_factors: [1, 2, 3, 4, 5, 6]",
            "tuning.n_settings",
            "should be at least 6, the number of optimizers.adam.learning_rate_factors (is 5)",
        ),
        (GOOD, "[1, 2]", "the file", "should be a mapping"),
        (GOOD, "", "the file", "should be a mapping"),
        (GOOD, "train: {epochs: 5", "not valid YAML", "line 1"),
        ("epochs: 5", "2020-01-01: 5", "not valid YAML", 'key "2020-01-01" is not text'),
        ("sgd:", "1:", "not valid YAML", "the key 1 is not text in YAML; put it in quotes"),
        ("sgd:", "true:", "not valid YAML", "the key true is not text in YAML; put it in quotes"),
        ("sgd:", "null:", "not valid YAML", "the key null is not text in YAML; put it in quotes"),
        ("epochs: 5", "epochs: 1:30", "train.epochs", 'should be a valid integer (is "1:30")'),
        ("epochs: 5", "epochs: yes", "train.epochs", 'should be a valid integer (is "yes")'),
        ("epochs: 5", "epochs: 08.5", "train.epochs", "should be a valid integer"),
        ("stratify: false", "stratify: no", "split.stratify", 'valid boolean (is "no")'),
        ("stratify: false", "stratify: off", "split.stratify", 'valid boolean (is "off")'),
    ],
)
def test_a_fault_is_one_line_with_file_key_and_what_is_right(
    tmp_path: Path, old: str, new: str, key: str, right: str
) -> None:
    path = write_params(tmp_path, old, new)
    with pytest.raises(InputError) as caught:
        load_params(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {key}: ")
    assert right in line


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = write_params(tmp_path, "epochs: 5, batch_size: 32", "epochs: 0, batch_size: many")
    with pytest.raises(InputError) as caught:
        load_params(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}: train.epochs: ")
    assert second.startswith(f"{path}: train.batch_size: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: cannot be read \(No such file"):
        load_params(tmp_path / "absent.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"params\.yaml: not valid YAML"):
        load_params(path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 0.001),
        ("1_0.5", 10.5),
        ("017", 17),
    ],
)
def test_a_number_may_be_written_as_dvc_reads_it(tmp_path: Path, text: str, number: float) -> None:
    params = load_params(write_params(tmp_path, "rate: 0.1", f"rate: {text}"))
    assert params.optimizers["sgd"].learning_rate == number


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("010", 10),
        ("0x10", 16),
        ("-5", None),
        ("1:30", None),
        ("'5'", None),
    ],
)
def test_a_whole_number_may_be_written_as_dvc_reads_it(
    tmp_path: Path, text: str, epochs: int | None
) -> None:
    path = write_params(tmp_path, "epochs: 5", f"epochs: {text}")
    if epochs is None:
        with pytest.raises(InputError, match=r"params\.yaml: train\.epochs: should be "):
            load_params(path)
    else:
        assert load_params(path).train.epochs == epochs


@pytest.mark.parametrize("text", ["yes", "off", "y", "1:30"])
def test_text_of_yaml_1_1_is_text(text: str) -> None:
    assert read_yaml(f"{{key: {text}, {text}: 1}}".encode()) == {"key": text, text: 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("~", None), ("", None)],
)
def test_truth_and_nothing_have_their_words(text: str, value: bool | None) -> None:
    assert read_yaml(f"key: {text}".encode()) == {"key": value}


def test_an_alias_is_what_it_stands_for(tmp_path: Path) -> None:
    path = write_params(tmp_path, "epochs: 5, batch_size: 32", "epochs: &n 5, batch_size: *n")
    assert load_params(path).train.batch_size == 5


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("epochs: 5", "epochs: 5, epochs: 5", 'duplicate key "epochs"'),
        ("\nsplit:", "\nsplit: {}\nsplit:", 'duplicate key "split"'),
        ("  adam:", "  sgd:", 'duplicate key "sgd"'),
        ("epochs: 5", "epochs: *none", "undefined alias"),
        ("epochs: 5", "epochs: &it [*it]", "Circular reference"),
        ("epochs: 5", "epochs: !five 5", "could not determine a constructor for the tag '!five'"),
        ("epochs: 5", "epochs: !!python/object:os.system x", "could not determine a constructor"),
        ("epochs: 5", "epochs: !!python/tuple [1]", "could not determine a constructor"),
        ("epochs: 5", "epochs: =", "could not determine a constructor"),
        ("epochs: 5", "epochs: !!int five", "invalid literal for int"),
        ("epochs: 5", "epochs: !!float five", "could not convert string to float"),
        ("epochs: 5", "epochs: !!int ''", ""),
        ("epochs: 5", "epochs: !!float ''", ""),
        ("epochs: 5", "epochs: !!bool maybe", ""),
        ("epochs: 5", "epochs: !!timestamp now", "failed to construct timestamp"),
        ("epochs: 5", "epochs: 2020-13-45", "month must be in 1..12"),
        ("epochs: 5", "? [epochs]\n : 5", "put it in quotes"),
        ("epochs: 5", "{a: 1}: 5", "unhashable key"),
        ("epochs: 5", "epochs: 5\0", "unacceptable character #x0000"),
        ("epochs: 5", "epochs: 5\a", "unacceptable character #x0007"),
        ("\ntrain:", "\n\ttrain:", "cannot start any token"),
        ("\ntrain:", "\n---\ntrain:", "expected a single document"),
        ("dataset:", "%YAML 9.9\n---\ndataset:", "incompatible YAML document"),
        ("dataset:", "<<: 1\ndataset:", "expected a mapping or list of mappings for merging"),
        ("epochs: 5", f"epochs: {'[' * 3000}", "recursion"),
        ("epochs: 5", f"epochs: {'9' * 5000}", "5000 digits"),
    ],
)
def test_what_yaml_forbids_is_told_in_one_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = write_params(tmp_path, old, new)
    with pytest.raises(InputError) as caught:
        load_params(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: not valid YAML: ")
    assert told in line


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"a: \xe9"])
def test_bytes_that_are_no_text_are_no_yaml(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_yaml(content)


@pytest.mark.parametrize(
    "name", ["경사하강", "아담-2", "adam_2", "2nd-try", "schedule", "yes", "on"]
)
def test_a_name_of_letters_digits_and_hyphens_is_accepted(tmp_path: Path, name: str) -> None:
    params = load_params(write_params(tmp_path, "sgd:", f"{name}:"))
    assert list(params.optimizers) == [name, "adam"]


def test_further_keys_of_an_optimizer_are_its_arguments(tmp_path: Path) -> None:
    params = load_params(write_params(tmp_path))
    assert params.optimizers["sgd"].arguments == {"momentum": 0.9, "nesterov": True}
    assert params.optimizers["adam"].arguments == {}


def test_a_schedule_keeps_its_arguments(tmp_path: Path) -> None:
    decay = "{class_name: CosineDecay, initial_learning_rate: 1e-1, decay_steps: 1800}"
    params = load_params(write_params(tmp_path, "rate: 0.1", f"rate: {decay}"))
    schedule = params.optimizers["sgd"].learning_rate
    assert isinstance(schedule, Schedule)
    assert schedule.class_name == "CosineDecay"
    assert schedule.arguments == {"initial_learning_rate": 0.1, "decay_steps": 1800}


BUILT_IN = "{name: mlp, hidden_units: [100], activation: relu, dropout: 0.0}"


def test_a_network_of_one_s_own_has_arguments_of_its_own(tmp_path: Path) -> None:
    own = "{name: 'models/resnet.py:build', depth: 3, widths: [8, 16], hidden_units: none}"
    model = load_params(write_params(tmp_path, BUILT_IN, own)).model
    assert isinstance(model, OwnModel)
    assert model.name == "models/resnet.py:build"
    assert model.arguments == {"depth": 3, "widths": [8, 16], "hidden_units": "none"}


def test_a_network_without_a_colon_is_one_of_the_project_s(tmp_path: Path) -> None:
    model = load_params(write_params(tmp_path)).model
    assert isinstance(model, BuiltInModel)


@pytest.mark.parametrize(("text", "value"), [("-0.5", -0.5), ("90", 90), ("auto", "auto")])
def test_a_target_is_any_number_or_auto(tmp_path: Path, text: str, value: float | str) -> None:
    params = load_params(write_params(tmp_path, "target: auto", f"target: {text}"))
    assert params.comparison.target == value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1, 2, 3]", "[1, 41, 62]"),
        ("[4, 5]", "[]"),
        ("n_settings: 5", "n_settings: 3"),
        ("n_settings: 5", "n_settings: 24"),
        ("at_most: 20", "at_most: 10"),
        ("42, at_most: 20", "4294967276, at_most: 20"),
    ],
)
def test_what_lies_just_within_the_bounds_is_accepted(tmp_path: Path, old: str, new: str) -> None:
    load_params(write_params(tmp_path, old, new))


def test_more_fresh_seeds_begin_with_the_same_ones(tmp_path: Path) -> None:
    confirmation = load_params(write_params(tmp_path)).confirmation
    assert fresh_seeds(confirmation, 3) == (42, 43, 44)
    assert fresh_seeds(confirmation, 5)[:3] == (42, 43, 44)


def test_the_committed_file_loads() -> None:
    load_params(PROJECT / "params.yaml")


def test_the_committed_schema_is_current() -> None:
    """When it fails: `python -m stages.common.params schema > params.schema.json`."""
    assert (PROJECT / "params.schema.json").read_text(encoding="utf-8") == schema()
