"""What runs after which edit, the same bytes anywhere, and DVC's own commands."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
import vl_convert
import yaml

from tests.conftest import PROJECT, thorough
from tests.pipeline.conftest import (
    MAKE_RUN,
    N_TRIALS,
    Workspace,
    environment,
    stages_that_ran,
)

TRAIN = ["train@sgd", "train@gentle"]
CONCLUDE = ["evaluate", "report"]
DECIDE = ["confirm", *CONCLUDE]
ALL = ["sources", "download", "preprocess", *TRAIN, *DECIDE]


@pytest.fixture(scope="module")
def unchanged(reproduced: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """For edits that are taken back, and runs that are not made."""
    folder = tmp_path_factory.mktemp("unchanged") / "a repository"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Workspace(folder)


# Of stages that depend on each other, DVC names those that an edit touches by itself; what they
# make decides about the others.
@pytest.mark.parametrize(
    ("path", "old", "new", "pending"),
    [
        pytest.param("params.yaml", "split:", "# a comment\nsplit:", [], id="comment"),
        pytest.param(
            "params.yaml",
            "  seed: 42",
            "  seed: 43",
            ["preprocess", "report"],
            id="the split's seed",
        ),
        pytest.param(
            "params.yaml",
            "epochs: 2",
            "epochs: 3",
            [*TRAIN, "confirm", "report"],
            id="epochs",
        ),
        pytest.param(
            "params.yaml",
            "first_seed: 42",
            "first_seed: 43",
            [*TRAIN, "confirm", "report"],
            id="other fresh seeds",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "params.yaml",
            "margin: 0.0001",
            "margin: 0.5",
            ["confirm", "evaluate"],
            id="the margin",
        ),
        pytest.param(
            "params.yaml",
            "target: auto",
            "target: 0.5",
            ["evaluate"],
            id="the target",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "stages/report/summary.py",
            "# Which optimizer?",
            "# Which one?",
            ["report"],
            id="a line in a report module",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "stages/report/style.css",
            "--panel: #f5f6f7;",
            "--panel: #f5f6f6;",
            ["report"],
            id="the page's style",
        ),
        pytest.param(
            "stages/inference/pairs.py",
            "Compares every two optimizers: ",
            "Compares all pairs of optimizers: ",
            [],
            id="a docstring",
        ),
        pytest.param(
            "stages/inference/pairs.py",
            "from itertools import combinations",
            "import itertools\nfrom itertools import combinations",
            ["evaluate"],
            id="a statistic that the race does not need",
        ),
        pytest.param(
            "stages/inference/looks.py",
            "_REACH = 160, 9.0",
            "_REACH = 160, 9.5",
            ["confirm", "evaluate"],
            id="a statistic that the race needs",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_an_edit_touches_the_stages_that_use_what_it_changes(
    unchanged: Workspace, path: str, old: str, new: str, pending: list[str]
) -> None:
    unchanged.edit(path, old, new)
    unchanged.reproduce("sources")
    named = unchanged.reproduce("--dry")
    # Not by Git, to which an edit of the same length, in the second of a checkout, may be none.
    unchanged.edit(path, new, old)
    assert named == pending


def test_nothing_runs_where_nothing_changed(unchanged: Workspace) -> None:
    assert unchanged.reproduce() == []
    assert unchanged.git("status", "--porcelain") == ""


@pytest.mark.thorough
def test_another_split_trains_all(workspace: Workspace) -> None:
    workspace.edit("params.yaml", "  seed: 42", "  seed: 43")
    assert workspace.reproduce("preprocess") == ["preprocess"]
    assert workspace.reproduce("--dry") == [*TRAIN, "confirm", "report"]


def test_a_comment_in_the_engine_trains_nothing(workspace: Workspace) -> None:
    before = workspace.trials()
    old = "VALIDATION_CHUNK = 1000"
    workspace.edit("stages/engine/loop.py", old, f"{old}  # examples")
    assert workspace.reproduce() == ["sources"]
    assert workspace.trials() == before


@pytest.mark.thorough
def test_a_removed_optimizer_is_gone_from_every_result_and_comes_back_untrained(
    workspace: Workspace,
) -> None:
    params = (workspace.folder / "params.yaml").read_text(encoding="utf-8")
    before, _, _ = params.partition("  gentle:")
    (workspace.folder / "params.yaml").write_text(before, encoding="utf-8")
    assert workspace.reproduce() == ["sources", *DECIDE]
    assert list(metrics(workspace)["optimizers"]) == ["sgd"]
    results = ["metrics.json", "evaluation", "plots", "report", "runs", "weights", "confirmation"]
    found = workspace.run(
        "grep", "--recursive", "--files-with-matches", "gentle", *results, check=False
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


@pytest.mark.thorough
def test_an_edit_of_own_code_trains_the_optimizers_that_import_it(workspace: Workspace) -> None:
    own, before = workspace.folder / "optimizers", workspace.trials()
    (own / "sign.py").write_text(SIGN, encoding="utf-8")
    workspace.edit(
        "params.yaml",
        "optimizers:\n",
        "optimizers:\n  sign: {class_name: optimizers/sign.py:Sign, learning_rate: 0.001}\n",
    )
    runs = []
    for scale, n_times in ((1.0, 1), (100.0, 2)):
        (own / "scale.py").write_text(f"SCALE = {scale}\n", encoding="utf-8")
        assert workspace.reproduce("train@sign") == ["sources", "train@sign"]
        assert len(workspace.trials()) == len(before) + n_times * N_TRIALS
        runs.append(workspace.contents("runs/sign"))
    assert runs[0] != runs[1]
    (own / "unused.py").write_text("SCALE = 2.0\n", encoding="utf-8")
    assert workspace.reproduce("train") == ["sources"]


def metrics(workspace: Workspace) -> Any:
    return json.loads((workspace.folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.thorough
def test_a_fresh_clone_ends_in_the_same_bytes_with_any_number_of_workers(
    reproduced: Workspace, tmp_path: Path
) -> None:
    reproduced.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Workspace(tmp_path / "clone")
    assert clone.reproduce("--force", TRAIN_WORKERS="2") == ALL
    assert clone.git("status", "--porcelain") == ""


def has_avx2() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and " avx2 " in cpuinfo.read_text(encoding="utf-8")


@pytest.mark.skipif(not has_avx2(), reason="the same bytes are promised for Linux with AVX2")
def test_a_fresh_clone_ends_in_the_committed_bytes(tmp_path: Path) -> None:
    clone = Workspace(tmp_path / "clone")
    for name in Workspace(PROJECT).git("ls-files", "-z").split("\0")[:-1]:
        (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, clone.folder / name)
    clone.git("init", "--quiet")
    clone.commit("As it is")
    clone.reproduce("--force", TRAIN_WORKERS=str(joblib.cpu_count()))
    assert clone.git("status", "--porcelain") == ""


def test_make_run_works_on_an_unpacked_archive_without_git(reproduced: Workspace) -> None:
    output = (reproduced.folder.parent / MAKE_RUN).read_text(encoding="utf-8")
    assert stages_that_ran(output) == ALL
    ending = output.rpartition("python -m stages.report")[2]
    for name in ("sgd", "gentle", "report/index.html"):
        assert name in ending


def test_make_run_goes_on_after_dvc_was_killed_while_it_wrote_its_rwlock(
    workspace: Workspace,
) -> None:
    (workspace.folder / ".dvc/tmp/rwlock").write_bytes(b"")
    assert stages_that_ran(workspace.run(sys.executable, "-m", "commands.run")) == []


# Runs a stage that is killed when it files one more trial than so many.
KILLED = """
import os, pathlib, runpy, signal, sys

_, stage, n_left, *sys.argv[1:] = sys.argv
n_left, replace = int(n_left), pathlib.Path.replace

def replace_or_die(path, target):
    global n_left
    n_left -= "trials" in target.parts
    if n_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

pathlib.Path.replace = replace_or_die
runpy.run_module(stage, run_name="__main__")
"""


def check_a_killed_stage_goes_on(workspace: Workspace, n: int, *stage: str) -> None:
    """Kills it after `n` trials that the store does not have yet, and runs it again."""
    before = workspace.trials()
    command = (sys.executable, "-c", KILLED, stage[0], str(n), *stage[1:])
    killed = subprocess.run(command, cwd=workspace.folder, env=environment(), check=False)
    assert killed.returncode == -signal.SIGKILL
    kept = workspace.trials()
    assert len(kept) == len(before) + n
    assert f"{n} kept" in workspace.run(sys.executable, "-m", *stage)
    assert workspace.trials().items() >= kept.items() >= before.items()


def test_a_training_that_was_killed_goes_on_and_ends_in_the_same_bytes(
    workspace: Workspace,
) -> None:
    results = ("runs/gentle", "weights/gentle")
    undisturbed = workspace.contents(*results)
    shutil.rmtree(workspace.folder / ".cache")
    check_a_killed_stage_goes_on(workspace, 8, "stages.train", "gentle")
    assert len(workspace.trials()) == N_TRIALS
    assert workspace.contents(*results) == undisturbed


@pytest.mark.thorough
def test_more_fresh_seeds_train_those_alone_even_after_a_kill(workspace: Workspace) -> None:
    before = workspace.trials()
    workspace.edit("params.yaml", "at_most: 10", "at_most: 15")
    assert workspace.reproduce("evaluate") == ["confirm", "evaluate"]
    new = workspace.trials().keys() - before.keys()
    assert len(new) == 2 * 5
    assert workspace.trials().items() >= before.items()
    assert metrics(workspace)["seeds"] == 15

    undisturbed = workspace.contents("confirmation")
    for path in new:
        path.unlink()
    check_a_killed_stage_goes_on(workspace, 4, "stages.confirm")
    assert workspace.trials().keys() == before.keys() | new
    assert workspace.contents("confirmation") == undisturbed


def test_a_margin_that_ten_seeds_decide_trains_nothing(workspace: Workspace) -> None:
    before = workspace.trials()
    workspace.edit("params.yaml", "margin: 0.0001", "margin: 0.9")
    workspace.edit("params.yaml", "at_most: 10", "at_most: 160")
    assert workspace.reproduce("evaluate") == ["confirm", "evaluate"]
    assert workspace.trials() == before
    assert metrics(workspace)["seeds"] == 10


def test_stages_without_networks_never_load_tensorflow(workspace: Workspace) -> None:
    program = (
        "import runpy, sys\n"
        "for stage in ('sources', 'download', 'preprocess', 'evaluate', 'report'):\n"
        "    runpy.run_module(f'stages.{stage}', run_name='__main__')\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert workspace.run(sys.executable, "-c", program).splitlines()[-1] == "[]"


@pytest.mark.thorough
def test_an_experiment_changes_one_line_shows_in_the_differences_and_is_undone_untrained(
    workspace: Workspace,
) -> None:
    output = workspace.dvc("exp", "run", "-S", "optimizers.gentle.learning_rate=0.01")
    assert stages_that_ran(output) == ["sources", "train@gentle", *DECIDE]
    assert workspace.git("diff", "--numstat", "params.yaml").split() == ["1", "1", "params.yaml"]
    lines = workspace.dvc("exp", "diff").splitlines()
    assert max(map(len, lines)) <= 80
    assert "optimizers.gentle.score" in " ".join(lines)
    assert "optimizers.gentle.learning_rate" in " ".join(lines)
    assert "optimizers.sgd" not in " ".join(lines)

    workspace.git("checkout", "params.yaml")
    assert workspace.reproduce("confirm") == []


def test_plots_are_drawn_from_every_plot_file(workspace: Workspace) -> None:
    plots = json.loads(workspace.dvc("plots", "show", "--json"))["data"]
    declared = yaml.safe_load((workspace.folder / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    assert set(plots) == {name for plot in declared for name in plot}
    read = {file for plot in declared for values in plot.values() for file in values["y"]}
    assert read == {f"plots/{path.name}" for path in (workspace.folder / "plots").iterdir()}
    # A classification has no fitted values.
    assert plots.pop("fitted") == []
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
        ({"x": {"class_name": "SGD", "learning_rate": 1, "rho": 1}}, "not an argument of SGD"),
        *thorough(
            (
                {"a b": {"class_name": "SGD", "learning_rate": 0.1}},
                "optimizers.a b: not a valid name",
            )
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


# Runs a stage, and prints whether it imported TensorFlow.
STAGE = """
import runpy, sys
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
print("TensorFlow:", "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize("stage", ["train@sgd", "confirm"])
def test_a_stage_that_trains_nothing_does_not_import_tensorflow(
    workspace: Workspace, stage: str
) -> None:
    outputs = ("runs", "weights", "confirmation")
    before = workspace.contents(*outputs)
    module = f"stages.{stage.partition('@')[0]}"
    # What DVC kept may come from another test's run.
    workspace.run(sys.executable, "-c", STAGE, module, DVC_STAGE=stage)
    told = workspace.run(sys.executable, "-c", STAGE, module, DVC_STAGE=stage)
    assert told.endswith("TensorFlow: False\n")
    assert workspace.contents(*outputs) == before
