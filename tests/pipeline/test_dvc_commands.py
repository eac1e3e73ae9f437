"""DVC's own commands, as its users expect them."""

import pytest
import yaml

from tests.pipeline.conftest import Workspace, stages_that_ran

pytestmark = pytest.mark.xdist_group("pipeline")


def test_an_experiment_changes_one_line_and_shows_in_the_differences(workspace: Workspace) -> None:
    output = workspace.dvc("exp", "run", "-S", "optimizers.adam.learning_rate=0.01")
    assert stages_that_ran(output) == ["train@adam", "evaluate", "report"]
    assert workspace.git("diff", "--numstat", "params.yaml").split() == ["1", "1", "params.yaml"]
    assert "optimizers.adam.test_accuracy" in workspace.dvc("metrics", "diff")
    assert "optimizers.sgd" not in workspace.dvc("metrics", "diff")
    assert workspace.dvc("params", "diff").splitlines()[1:] == [
        "params.yaml  optimizers.adam.learning_rate  0.001   0.01"
    ]
    assert "0.01" in workspace.dvc("exp", "show", "--csv", "--only-changed")


def test_metrics_show_gives_few_numbers_per_optimizer(workspace: Workspace) -> None:
    columns = workspace.dvc("metrics", "show", "--md").splitlines()[0].split("|")
    names = [column.strip() for column in columns if "optimizers.adam." in column]
    assert "optimizers.adam.test_accuracy" in names
    assert len(names) <= 6


def test_plots_are_drawn_from_every_plot_file(workspace: Workspace) -> None:
    workspace.dvc("plots", "show")
    page = (workspace.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for plot in ("accuracy", "learning_curves", "confusion"):
        assert f'id = "{plot}"' in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"a b": {"class_name": "SGD", "learning_rate": 0.1}}, "optimizers.a b: no name"
        ),
        pytest.param({"x": {"class_name": "Adma", "learning_rate": 0.1}}, "did you mean Ada"),
        pytest.param({"x": {"class_name": "SGD", "learning_rate": -1}}, "greater than 0 (is -1)"),
        pytest.param(
            {"x": {"class_name": "SGD", "learning_rate": 1, "rho": 1}}, "not an argument of SGD"
        ),
    ],
)
def test_bad_parameters_stop_before_anything_is_trained(
    workspace: Workspace, change: dict[str, object], message: str
) -> None:
    path = workspace.folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["train"]["epochs"] = 3
    params["optimizers"] |= change
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    output = workspace.dvc("repro", check=False)
    assert message in output
    assert "Traceback" not in output
    assert "trials" not in output
