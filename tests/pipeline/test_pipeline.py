"""What runs after which edit, the same bytes anywhere, and DVC's own commands."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vl_convert
import yaml

from tests.pipeline.conftest import N_TRIALS, Workspace, environment, lay_out, stages_that_ran

TRAIN = ["train@sgd", "train@adam"]
CONCLUDE = ["evaluate", "report"]
DECIDE = ["confirm", *CONCLUDE]


@pytest.mark.parametrize(
    ("path", "old", "new", "ran"),
    [
        pytest.param("params.yaml", "split:", "# a comment\nsplit:", [], id="comment"),
        pytest.param(
            "params.yaml",
            "learning_rate: 0.001",
            "learning_rate: 0.002",
            ["sources", "train@adam", *DECIDE],
            id="one optimizer's rate",
        ),
        pytest.param(
            "params.yaml",
            "optimizers:\n",
            "optimizers:\n  lion: {class_name: Lion, learning_rate: 0.001}\n",
            ["sources", "train@lion", *DECIDE],
            id="new optimizer",
        ),
        pytest.param(
            "params.yaml",
            "seed: 42",
            "seed: 43",
            ["preprocess", *TRAIN, *DECIDE],
            id="the split's seed",
        ),
        pytest.param(
            "stages/report/summary.py",
            "# Which optimizer?",
            "# Which one?",
            ["report"],
            id="a line in a report module",
        ),
        # Equal results, so nothing after it runs.
        pytest.param(
            "stages/engine/loop.py",
            "VALIDATION_CHUNK = 1000",
            "VALIDATION_CHUNK = 999",
            [*TRAIN, "confirm"],
            id="a line of the engine",
        ),
        pytest.param(
            "stages/inference/pairs.py",
            "Every two optimizers: ",
            "All pairs of optimizers: ",
            ["evaluate"],
            id="the docstring of a statistic that the race does not need",
        ),
        pytest.param(
            "stages/inference/looks.py",
            "When the race is looked at",
            "At which seeds the race is looked at",
            ["confirm", "evaluate"],
            id="the docstring of a statistic that the race needs",
        ),
        pytest.param(
            "params.yaml",
            "margin: 0.0001",
            "margin: 0.5",
            DECIDE,
            id="the margin",
        ),
        pytest.param(
            "params.yaml",
            "at_most: 10",
            "at_most: 15",
            DECIDE,
            id="more fresh seeds",
        ),
        pytest.param(
            "params.yaml",
            "first_seed: 42",
            "first_seed: 43",
            [*TRAIN, *DECIDE],
            id="other fresh seeds",
        ),
        pytest.param(
            "params.yaml",
            "target_accuracy: auto",
            "target_accuracy: 0.5",
            CONCLUDE,
            id="the target",
        ),
    ],
)
def test_an_edit_runs_the_stages_that_it_touches(
    workspace: Workspace, path: str, old: str, new: str, ran: list[str]
) -> None:
    workspace.edit(path, old, new)
    assert workspace.reproduce() == ran


def test_nothing_runs_where_nothing_changed(workspace: Workspace) -> None:
    assert workspace.reproduce() == []
    assert workspace.git("status", "--porcelain") == ""


def test_a_removed_optimizer_is_gone_from_every_result_and_comes_back_untrained(
    workspace: Workspace,
) -> None:
    params = (workspace.folder / "params.yaml").read_text(encoding="utf-8")
    before, _, _ = params.partition("  adam:")
    (workspace.folder / "params.yaml").write_text(before, encoding="utf-8")
    assert workspace.reproduce() == ["sources", *DECIDE]
    assert list(metrics(workspace)["optimizers"]) == ["sgd"]
    results = ["metrics.json", "evaluation", "plots", "report", "runs", "confirmation"]
    found = workspace.run(
        "grep", "--recursive", "--files-with-matches", "adam", *results, check=False
    )
    assert found == ""

    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce() == CONCLUDE
    assert workspace.git("status", "--porcelain") == ""


SIGN = """import keras

from optimizers.scale import SCALE


class Sign(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, SCALE * learning_rate * keras.ops.sign(gradient))
"""


def test_an_edit_of_own_code_runs_the_optimizers_that_import_it(workspace: Workspace) -> None:
    own = workspace.folder / "optimizers"
    (own / "sign.py").write_text(SIGN, encoding="utf-8")
    (own / "scale.py").write_text("SCALE = 1.0\n", encoding="utf-8")
    workspace.edit(
        "params.yaml",
        "optimizers:\n",
        "optimizers:\n  sign: {class_name: optimizers/sign.py:Sign, learning_rate: 0.001}\n",
    )
    assert workspace.reproduce() == ["sources", "train@sign", *DECIDE]
    rate = metrics(workspace)["optimizers"]["sign"]["accuracy"]
    # What it imports, for other results; then a file that nothing imports.
    (own / "scale.py").write_text("SCALE = 100.0\n", encoding="utf-8")
    assert workspace.reproduce() == ["sources", "train@sign", *DECIDE]
    assert metrics(workspace)["optimizers"]["sign"]["accuracy"] != rate
    (own / "unused.py").write_text("SCALE = 2.0\n", encoding="utf-8")
    assert workspace.reproduce() == ["sources"]


def test_own_code_that_dvc_would_not_watch_is_refused(workspace: Workspace) -> None:
    own = SIGN.replace("optimizers.scale", "elsewhere")
    (workspace.folder / "optimizers" / "sign.py").write_text(own, encoding="utf-8")
    (workspace.folder / "elsewhere.py").write_text("SCALE = 1.0\n", encoding="utf-8")
    workspace.edit("params.yaml", "class_name: SGD", "class_name: optimizers/sign.py:Sign")
    output = workspace.dvc("repro", check=False)
    assert "optimizers/sign.py: imports elsewhere.py, where DVC would not notice" in output


def metrics(workspace: Workspace) -> Any:
    return json.loads((workspace.folder / "metrics.json").read_text(encoding="utf-8"))


def test_more_epochs_train_all_and_going_back_to_an_earlier_setting_trains_nothing(
    workspace: Workspace,
) -> None:
    workspace.edit("params.yaml", "epochs: 2", "epochs: 3")
    assert workspace.reproduce() == [*TRAIN, *DECIDE]
    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce() == CONCLUDE
    assert workspace.git("status", "--porcelain") == ""


ALL = [
    "sources",
    "download",
    "preprocess",
    "train@sgd",
    "train@adam",
    "confirm",
    "evaluate",
    "report",
]


def test_a_fresh_clone_ends_in_the_same_bytes(reproduced: Workspace, tmp_path: Path) -> None:
    reproduced.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone")
    assert clone.reproduce("--force") == ALL
    assert clone.git("status", "--porcelain") == ""


def test_make_run_works_on_an_unpacked_archive_without_git(tmp_path: Path) -> None:
    folder = tmp_path / "an unpacked archive"
    folder.mkdir()
    archive = lay_out(folder)
    # The environment of these tests in the place of one that `make` would install.
    (folder / ".venv").symlink_to(sys.prefix)
    output = archive.run("make", "run")
    assert stages_that_ran(output) == ALL
    ending = output.rpartition("python -m stages.report")[2]
    for name in ("sgd", "adam", "report/index.html"):
        assert name in ending


def test_a_killed_stage_goes_on_where_it_was_and_ends_in_the_same_bytes(
    workspace: Workspace,
) -> None:
    run, store = workspace.folder / "runs" / "adam", workspace.folder / ".cache"
    undisturbed = {path.name: path.read_bytes() for path in run.iterdir()}
    shutil.rmtree(store)

    def trials() -> dict[Path, float]:
        return {path: path.stat().st_ino for path in store.glob("trials/*/[!.]*.npz")}

    command = (sys.executable, "-m", "stages.train", "adam")
    kept: dict[Path, float] = {}
    for n_trials in (1, 3, 15):
        process = subprocess.Popen(command, cwd=workspace.folder, env=environment())
        while len(trials()) < n_trials and process.poll() is None:
            pass
        process.kill()
        process.wait()
        assert trials().items() >= kept.items()
        kept = trials()
    output = workspace.run(*command)
    assert f"{len(kept)} kept" in output
    assert trials().items() >= kept.items()
    assert len(trials()) == N_TRIALS
    assert {path.name: path.read_bytes() for path in run.iterdir()} == undisturbed


def n_kept(workspace: Workspace) -> int:
    """Trials that the store has."""
    return len(list(workspace.folder.glob(".cache/trials/*/[!.]*.npz")))


def test_a_margin_that_ten_seeds_decide_trains_nothing(workspace: Workspace) -> None:
    before = n_kept(workspace)
    workspace.edit("params.yaml", "margin: 0.0001", "margin: 0.9")
    workspace.edit("params.yaml", "at_most: 10", "at_most: 160")
    assert workspace.reproduce() == DECIDE
    assert n_kept(workspace) == before
    assert metrics(workspace)["seeds"] == 10


def make_race_close(workspace: Workspace) -> None:
    """Two optimizers that hardly differ, trained and confirmed with ten seeds."""
    workspace.edit("params.yaml", "class_name: Adam", "class_name: SGD")
    workspace.edit("params.yaml", "learning_rate: 0.001", "learning_rate: 0.09")
    assert workspace.reproduce("confirm") == ["sources", "train@adam", "confirm"]


def test_more_fresh_seeds_train_those_alone(workspace: Workspace) -> None:
    make_race_close(workspace)
    before = n_kept(workspace)
    for at_most, earlier in ((15, 10), (20, 15)):
        workspace.edit("params.yaml", f"at_most: {earlier}", f"at_most: {at_most}")
        assert workspace.reproduce() == DECIDE
        assert n_kept(workspace) - before == 2 * (at_most - 10)
        assert metrics(workspace)["seeds"] == at_most


def test_a_race_that_was_killed_goes_on_where_it_was_and_ends_in_the_same_bytes(
    workspace: Workspace,
) -> None:
    make_race_close(workspace)
    workspace.edit("params.yaml", "at_most: 10", "at_most: 20")
    results, store = workspace.folder / "confirmation", workspace.folder / ".cache"
    shutil.rmtree(store)
    command = (sys.executable, "-m", "stages.confirm")

    def trials() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in store.glob("trials/*/[!.]*.npz")}

    kept: dict[Path, int] = {}
    for n_trials in (1, 8, 15):
        process = subprocess.Popen(command, cwd=workspace.folder, env=environment())
        while len(trials()) < n_trials and process.poll() is None:
            pass
        process.kill()
        process.wait()
        assert trials().items() >= kept.items()
        kept = trials()
        assert len(kept) < 20
    output = workspace.run(*command)
    assert "kept" in output
    assert trials().items() >= kept.items()
    assert len(trials()) == 20  # ten further seeds of both
    resumed = {path.name: path.read_bytes() for path in results.iterdir()}
    shutil.rmtree(store)
    shutil.rmtree(results)
    workspace.run(*command)
    assert {path.name: path.read_bytes() for path in results.iterdir()} == resumed


@pytest.mark.parametrize("stage", ["sources", "download", "preprocess", "evaluate", "report"])
def test_a_stage_without_networks_never_loads_tensorflow(workspace: Workspace, stage: str) -> None:
    program = (
        f"import runpy, sys; runpy.run_module('stages.{stage}', run_name='__main__'); "
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert workspace.run(sys.executable, "-c", program).splitlines()[-1] == "[]"


def test_an_experiment_changes_one_line_and_shows_in_the_differences(workspace: Workspace) -> None:
    output = workspace.dvc("exp", "run", "-S", "optimizers.adam.learning_rate=0.01")
    assert stages_that_ran(output) == ["sources", "train@adam", "confirm", "evaluate", "report"]
    assert workspace.git("diff", "--numstat", "params.yaml").split() == ["1", "1", "params.yaml"]
    assert "optimizers.adam.accuracy" in workspace.dvc("metrics", "diff")
    assert "optimizers.sgd" not in workspace.dvc("metrics", "diff")
    assert workspace.dvc("params", "diff").splitlines()[1:] == [
        "params.yaml  optimizers.adam.learning_rate  0.001   0.01"
    ]
    assert "0.01" in workspace.dvc("exp", "show", "--csv", "--only-changed")


def test_metrics_show_gives_few_numbers_per_optimizer(workspace: Workspace) -> None:
    columns = workspace.dvc("metrics", "show", "--md").splitlines()[0].split("|")
    names = [column.strip() for column in columns if "optimizers.adam." in column]
    assert "optimizers.adam.accuracy" in names
    assert len(names) <= 6


def test_plots_are_drawn_from_every_plot_file(workspace: Workspace) -> None:
    plots = json.loads(workspace.dvc("plots", "show", "--json"))["data"]
    declared = yaml.safe_load((workspace.folder / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    assert set(plots) == {name for plot in declared for name in plot}
    read = {file for plot in declared for values in plot.values() for file in values["y"]}
    assert read == {f"plots/{path.name}" for path in (workspace.folder / "plots").iterdir()}
    for (drawn,) in plots.values():
        svg = vl_convert.vegalite_to_svg(drawn["content"], vl_version="5.21")
        assert re.search(r'aria-roledescription="(point|line mark|rect mark)"', svg)
        assert "NaN" not in svg


def test_the_history_disturbs_no_stage(workspace: Workspace) -> None:
    output = workspace.run(sys.executable, "-m", "stages.report.history")
    assert output.splitlines()[-1] == "Result: report/history.html"
    assert (workspace.folder / "report" / "history.html").exists()
    assert workspace.git("status", "--porcelain") == ""
    assert workspace.reproduce() == []


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
