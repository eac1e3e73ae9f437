"""Which files the user's own code is made of, and what is refused."""

from json import decoder
from pathlib import Path

import pytest

from stages.common.errors import InputError
from stages.common.own import load_own, own_files, trial_files
from stages.common.params import OwnModel
from tests.parameters import optimizer

KEY = "optimizers.it.class_name"
SIGN = Path("optimizers/sign.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One with an optimizer that imports a file beside it."""
    (tmp_path / "optimizers").mkdir()
    (tmp_path / "optimizers" / "scale.py").write_text("SCALE = 1.0\n")
    (tmp_path / SIGN).write_text("import keras\n\nfrom optimizers.scale import SCALE\n")
    return tmp_path


def test_own_code_is_made_of_its_file_and_those_that_it_imports(project: Path) -> None:
    found = own_files(KEY, "optimizers/sign.py:Sign", project)
    assert found == (Path("optimizers/scale.py"), SIGN)


def test_a_module_of_the_project_is_its_file(project: Path) -> None:
    found = own_files(KEY, "optimizers.sign:Sign", project)
    assert found == (Path("optimizers/scale.py"), SIGN)


def test_of_an_installed_package_it_is_the_module_s_own_file(project: Path) -> None:
    assert own_files(KEY, "json.decoder:JSONDecoder", project) == (Path(decoder.__file__),)
    assert load_own(KEY, "json.decoder:JSONDecoder") is decoder.JSONDecoder


def test_a_trial_runs_the_code_of_its_network_and_of_its_optimizer(project: Path) -> None:
    (project / "models").mkdir()
    (project / "models" / "net.py").write_text("from optimizers.scale import SCALE\n")
    model = OwnModel(name="models/net.py:build")
    own, keras_s = (optimizer(class_name=name) for name in ("optimizers/sign.py:Sign", "SGD"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.common.own.PROJECT", project)
        patch.setattr(own_files, "__defaults__", (project,))
        both, one = trial_files("it", model, own), trial_files("it", model, keras_s)
    scale, net = Path("optimizers/scale.py"), Path("models/net.py")
    assert set(one) == {scale, net}
    assert set(both) == {scale, net, SIGN}
    assert len(both) == 3


def test_a_class_of_keras_is_made_of_no_file(project: Path) -> None:
    assert own_files(KEY, "SGD", project) == ()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("optimizers/sing.py:Sign", rf"params\.yaml: {KEY}: no file 'optimizers/sing\.py'"),
        ("elsewhere/sign.py:Sign", rf"params\.yaml: {KEY}: should be like optimizers/FILE\.py:NAM"),
        ("optimizers/sign.py:", r"should be like .* \(is 'optimizers/sign\.py:'\)"),
        ("optimizers/../sign.py:Sign", "should be like"),
        ("optimizers:Sign", r"no file 'optimizers/__init__\.py'"),
        ("optimizers.sing:Sign", r"no file 'optimizers/sing\.py'"),
        ("stages.engine.models:mlp", "should be like"),
        ("absent_package.nets:Sign", "absent_package.nets: ModuleNotFoundError: No module"),
        ("json.absent:Sign", "no module 'json.absent' is installed"),
    ],
)
def test_what_names_no_file_that_dvc_watches_is_refused(
    project: Path, reference: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        own_files(KEY, reference, project)


@pytest.mark.parametrize("line", ["from elsewhere import X", "import optimizers.between"])
def test_an_import_that_dvc_would_not_notice_is_refused(project: Path, line: str) -> None:
    (project / "elsewhere.py").write_text("X = 1\n")
    (project / "optimizers" / "between.py").write_text("import elsewhere\n")
    (project / SIGN).write_text(f"{line}\n")
    message = r"optimizers/sign\.py: imports elsewhere\.py, where DVC would not notice .*optimizers"
    with pytest.raises(InputError, match=message):
        own_files(KEY, "optimizers/sign.py:Sign", project)


@pytest.mark.parametrize("content", [b"class Sign(\n", b"\0", b"x = '\xff'"])
def test_a_file_that_is_no_python_is_named(project: Path, content: bytes) -> None:
    (project / SIGN).write_bytes(content)
    with pytest.raises(InputError, match=r"^optimizers/sign\.py: [^\n]+$"):
        own_files(KEY, "optimizers/sign.py:Sign", project)
