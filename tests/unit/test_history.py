"""The history of results, read from real repositories."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.console import run_stage
from stages.common.errors import InputError
from stages.common.results import Metrics, OptimizerMetrics
from stages.report.history import chart, describe, main, page
from stages.report.past import Entry, History, changes, read_history
from tests.conftest import git_environment

SGD = {"class_name": "SGD", "learning_rate": 0.1}
ADAM = {"class_name": "Adam", "learning_rate": 0.001}
QUESTION = "Data: digits; network: mlp; classification"


@pytest.fixture(autouse=True)
def _nobodys_git(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = git_environment()
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_DATE", "2025-03-01T12:00:00+0000")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def scores(**accuracies: float | None) -> dict[str, Any]:
    return {
        name: {
            "score": mean,
            "low": mean and mean - 0.01,
            "high": mean and mean + 0.01,
            "rate": 0.1,
            "failed": 0,
        }
        for name, mean in accuracies.items()
    }


def metrics(best: str | None = None, **accuracies: float | None) -> bytes:
    content = {
        "best": best,
        "bound": 0.001,
        "seeds": 10,
        "warnings": 0,
        "optimizers": scores(**accuracies),
    }
    return json.dumps(content, indent=2).encode()


def older_metrics(best: str | None = None, **accuracies: float) -> bytes:
    """As they were written before there was a race."""
    optimizers = {
        name: {
            "test_accuracy": mean,
            "test_accuracy_low": mean - 0.01,
            "test_accuracy_high": mean + 0.01,
            "configured_test_accuracy": 0.5,
            "learning_rate": 0.25,
            "n_failed": 1,
        }
        for name, mean in accuracies.items()
    }
    content = {"best": best, "verdict": "", "warnings": 0, "optimizers": optimizers}
    return json.dumps(content, indent=2).encode()


def params(epochs: int = 5, **optimizers: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump({"train": {"epochs": epochs}, "optimizers": optimizers}).encode()


def commit(folder: Path, subject: str, **files: bytes) -> str:
    """Commits metrics.json and params.yaml as they are given, and something else."""
    for name, path in (("metrics", "metrics.json"), ("params", "params.yaml")):
        if name in files:
            (folder / path).write_bytes(files[name])
    (folder / "notes.txt").write_text(subject, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", subject)
    return git(folder, "rev-parse", "--short", "HEAD")


def subjects(history: History) -> list[str]:
    return [entry.subject for entry in history.entries]


def notes(history: History) -> list[tuple[str, ...]]:
    return [entry.notes for entry in history.entries]


def plotted(history: History) -> list[dict[str, Any]]:
    (rows,) = chart(history.entries).to_dict()["datasets"].values()
    return list(rows)


def body(history: History) -> str:
    """The page without its program and the data of its chart."""
    return page(history).split("<main>")[1].split("</main>")[0]


def test_every_commit_that_changed_the_metrics_is_an_entry_the_newest_first(project: Path) -> None:
    first = commit(project, "One", metrics=metrics("sgd", sgd=0.9), params=params(5, sgd=SGD))
    commit(project, "Words only")
    commit(project, "Parameters, not yet run", params=params(50, sgd=SGD))
    second = commit(project, "Two", metrics=metrics(sgd=0.95))
    commit(project, "More words")
    history = read_history(project)
    assert history.remarks == ()
    assert [(e.commit, e.date, e.subject) for e in history.entries] == [
        (second, "2025-03-01", "Two"),
        (first, "2025-03-01", "One"),
    ]
    assert notes(history) == [("train.epochs 5 → 50",), ()]
    assert [e.metrics.best for e in history.entries] == [None, "sgd"]
    assert [e.metrics.optimizers["sgd"].score for e in history.entries] == [0.95, 0.9]


def test_a_merge_of_two_lines_of_results_is_compared_with_the_first(project: Path) -> None:
    commit(project, "Base", metrics=metrics(sgd=0.9), params=params(5, sgd=SGD))
    git(project, "checkout", "--quiet", "-b", "side")
    side = commit(project, "Side", metrics=metrics(sgd=0.91, adam=0.8), params=params(5, adam=ADAM))
    git(project, "checkout", "--quiet", "main")
    ours = commit(project, "Ours", metrics=metrics(sgd=0.92), params=params(6, sgd=SGD))
    git(project, "merge", "--quiet", "--no-commit", "--strategy=ours", "side")
    commit(project, "Both", metrics=metrics(adam=0.7), params=params(7, sgd=SGD, adam=ADAM))
    history = read_history(project)
    assert sorted(subjects(history)) == ["Base", "Both", "Ours", "Side"]
    assert subjects(history)[0] == "Both"
    assert notes(history)[0] == (
        f"merge of {ours} and {side}",
        "optimizers.adam added",
        "train.epochs 6 → 7",
    )
    of = dict(zip(subjects(history), notes(history), strict=True))
    assert of["Side"] == ("optimizers.sgd removed", "optimizers.adam added")
    assert of["Ours"] == ("train.epochs 5 → 6",)


def test_entries_of_two_lines_stand_in_the_order_of_their_dates(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(project, "Day 1", metrics=metrics(sgd=0.1))
    git(project, "branch", "side")
    for day, branch in ((2, "main"), (3, "side"), (4, "main"), (5, "side")):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2025-03-0{day}T12:00:00+0000")
        git(project, "checkout", "--quiet", branch)
        commit(project, f"Day {day}", metrics=metrics(sgd=day / 10))
    git(project, "merge", "--quiet", "--strategy=ours", "main", "--message", "Day 6")
    assert subjects(read_history(project)) == [f"Day {day}" for day in (6, 5, 4, 3, 2, 1)]


def test_a_merge_of_a_branch_without_results_is_no_entry(project: Path) -> None:
    commit(project, "Base", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    git(project, "checkout", "--quiet", "-b", "side")
    commit(project, "Words")
    git(project, "checkout", "--quiet", "main")
    (project / "metrics.json").write_bytes(metrics(sgd=0.92))
    git(project, "commit", "--quiet", "--all", "--message", "Results")
    git(project, "merge", "--quiet", "side", "--message", "Merge words")
    assert subjects(read_history(project)) == ["Results", "Base"]


def test_a_merge_that_goes_back_to_older_results_is_an_entry(project: Path) -> None:
    commit(project, "Base", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    git(project, "checkout", "--quiet", "-b", "side")
    commit(project, "Better", metrics=metrics(sgd=0.92))
    git(project, "checkout", "--quiet", "main")
    git(project, "merge", "--quiet", "--no-ff", "--strategy=ours", "side", "--message", "Refuse")
    history = read_history(project)
    assert subjects(history) == ["Refuse", "Better", "Base"]
    assert history.entries[0].metrics.optimizers["sgd"].score == 0.9


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": SGD}, {"a": SGD, "b": SGD}, ["optimizers.b added"]),
        ({"a": SGD, "b": SGD}, {"a": SGD}, ["optimizers.b removed"]),
        ({"a": SGD}, {"b": ADAM}, ["optimizers.a removed", "optimizers.b added"]),
        (
            {"a": SGD},
            {"a": ADAM | {"class_name": "SGD"}},
            ["optimizers.a.learning_rate 0.1 → 0.001"],
        ),
        ({"a": SGD}, {"a": SGD}, []),
        (
            {"a": SGD},
            {"a": SGD | {"nesterov": True, "learning_rate": {"decay_steps": 9}}},
            ["optimizers.a.nesterov added", 'optimizers.a.learning_rate 0.1 → {"decay_steps": 9}'],
        ),
        (["a"], {"a": SGD}, ['optimizers ["a"] → {"a": ' + json.dumps(SGD) + "}"]),
    ],
)
def test_changes_of_optimizers_are_told(before: Any, after: Any, expected: list[str]) -> None:
    told = changes({"optimizers": before}, {"optimizers": after})
    assert sorted(told) == sorted(expected)


def test_a_number_in_another_spelling_is_no_change(project: Path) -> None:
    commit(project, "One", metrics=metrics(sgd=0.9), params=b"train: {rate: 0.001, epochs: 5}")
    commit(project, "Two", metrics=metrics(sgd=0.8), params=b"train:\n  epochs: 5\n  rate: 1e-3\n")
    assert notes(read_history(project)) == [(), ()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"[1]",
        b'{"sgd": 0.9}',
        b'{"optimizers": {"sgd": 0.9}}',
        b'{"optimizers": {"sgd": {"test_accuracy": "high"}}}',
        b'{"optimizers": {"sgd": {"test_accuracy": NaN}}}',
        b"[" * 100_000,
    ],
)
def test_unreadable_metrics_are_an_entry_that_says_so(project: Path, content: bytes) -> None:
    commit(project, "Old", metrics=content, params=params(sgd=SGD))
    commit(project, "New", metrics=metrics("sgd", sgd=0.9))
    history = read_history(project)
    new, old = history.entries
    assert (new.notes, old.metrics) == ((), Metrics(optimizers={}))
    assert [note for note in old.notes if re.match(r"metrics\.json.* cannot be read: ", note)]
    assert "cannot be read" in describe(history)
    assert "cannot be read" in body(history)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a: [",
        b"\xff\xff",
        b"- a",
        b"a: &a [*a]",
        b"? [1]\n: 2",
        b"a: 2025-13-45",
        b"[" * 9999,
    ],
)
def test_unreadable_parameters_are_told_and_not_compared(project: Path, content: bytes) -> None:
    old = commit(project, "Old", metrics=metrics(sgd=0.9), params=content)
    commit(project, "New", metrics=metrics(sgd=0.8), params=params(sgd=SGD))
    ((new_note,), (old_note,)) = notes(read_history(project))
    assert old_note.startswith("params.yaml cannot be read: ")
    assert new_note == f"changes since {old} are unknown: {old_note}"


def test_removed_files_are_told(project: Path) -> None:
    commit(project, "Old", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    (project / "metrics.json").unlink()
    (project / "params.yaml").unlink()
    commit(project, "Clean up")
    assert notes(read_history(project)) == [("no metrics.json", "no params.yaml"), ()]


def test_what_older_metrics_lack_is_left_out(project: Path) -> None:
    old = b'{"optimizers": {"sgd": {"test_accuracy": 0.9}, "adam": {"test_accuracy": null}}}'
    commit(project, "Old", metrics=old, params=params(sgd=SGD))
    history = read_history(project)
    (entry,) = history.entries
    assert entry.metrics == Metrics(
        optimizers={"sgd": OptimizerMetrics(0.9), "adam": OptimizerMetrics()}, best=""
    )
    lines = [line.split() for line in describe(history).splitlines()]
    assert [entry.commit, entry.date, "Old"] in lines
    assert ["sgd", "0.9000", "adam", "-"] in lines
    for text in (describe(history), body(history)):
        assert re.findall(r"\b(?:None|nan|undecided)\b", text) == []


def test_metrics_of_the_older_form_stand_beside_those_of_today(project: Path) -> None:
    commit(project, "Old", metrics=older_metrics("sgd", sgd=0.9, adam=0.8), params=params())
    commit(project, "New", metrics=metrics("adam", sgd=0.91, adam=0.92), params=params())
    history = read_history(project)
    new, old = (entry.metrics.optimizers["sgd"] for entry in history.entries)
    assert new == OptimizerMetrics(0.91, 0.91 - 0.01, 0.91 + 0.01, 0.1, 0)
    assert old == OptimizerMetrics(0.9, 0.9 - 0.01, 0.9 + 0.01, 0.25, 1)
    assert notes(history) == [(), ()]
    text, html = describe(history), body(history)
    for told in ("*0.9000", "0.8000", "0.9100", "*0.9200", "±0.0100"):
        assert told in text
    assert re.findall(r"rate (\S+?)<", html) == ["0.1", "0.1", "0.25", "0.25"]
    assert re.findall(r'<td class="score best">★ (\S+)', html) == ["0.9200", "0.9000"]
    found = [(row["optimizer"], row["score"], row["best"]) for row in plotted(history)]
    assert sorted(found) == [
        ("adam", 0.8, False),
        ("adam", 0.92, True),
        ("sgd", 0.9, True),
        ("sgd", 0.91, False),
    ]


def test_the_best_is_marked_and_an_undecided_verdict_said(project: Path) -> None:
    commit(project, "Clear", metrics=metrics("adam", adam=0.9, sgd=0.8), params=params())
    commit(project, "Close", metrics=older_metrics(adam=0.81, sgd=0.8))
    text = describe(read_history(project))
    close, clear = text.split("Clear")
    assert "*" not in close
    assert "undecided" in close
    assert "undecided" not in clear
    assert re.search(r"Clear\n  adam \*0\.9000 ±0\.0100  sgd   0\.8000 ±0\.0100\n", text)
    html = body(read_history(project))
    assert re.findall(r'<td class="score best">★ (\S+)', html) == ["0.9000"]
    assert "<td>undecided</td>" in html


def test_where_there_is_a_race_none_is_best_only_if_every_trial_failed(project: Path) -> None:
    commit(project, "Lost", metrics=metrics(sgd=None), params=params())
    for text in (describe(read_history(project)), body(read_history(project))):
        assert "every trial failed" in text
        assert "undecided" not in text


def test_a_shallow_clone_says_where_it_begins_and_how_to_get_the_rest(
    project: Path, tmp_path: Path
) -> None:
    commit(project, "One", metrics=metrics(sgd=0.9), params=params(5, sgd=SGD))
    commit(project, "Two", metrics=metrics(sgd=0.8), params=params(6, sgd=SGD))
    last = commit(project, "Words")
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), "clone")
    history = read_history(tmp_path / "clone")
    assert [(e.commit, e.notes) for e in history.entries] == [(last, ())]
    for text in (describe(history), re.sub("</?code>", "`", body(history))):
        words = " ".join(text.split())
        assert f"This clone is shallow: its history begins at {last}" in words
        assert "`git fetch --unshallow`" in words


def test_results_that_are_not_committed_come_first(project: Path) -> None:
    commit(project, "One", metrics=metrics(sgd=0.9), params=params(5, sgd=SGD))
    assert len(read_history(project).entries) == 1
    (project / "metrics.json").write_bytes(metrics(sgd=0.8))
    (project / "params.yaml").write_bytes(params(9, sgd=SGD))
    history = read_history(project)
    now = history.entries[0]
    assert (now.commit, now.notes) == ("not committed", ("train.epochs 5 → 9",))
    assert now.metrics.optimizers["sgd"].score == 0.8
    for text in (describe(history), body(history)):
        assert text.index("not committed") < text.index("0.8000") < text.rindex("0.9000")


def test_other_ends_of_lines_and_absent_results_are_no_entry(project: Path) -> None:
    content = metrics(sgd=0.9)
    commit(project, "One", metrics=content, params=params(sgd=SGD))
    (project / "metrics.json").write_bytes(content.replace(b"\n", b"\r\n"))
    assert subjects(read_history(project)) == ["One"]
    (project / "metrics.json").unlink()
    assert subjects(read_history(project)) == ["One"]


def test_the_project_may_be_a_folder_of_the_repository(project: Path) -> None:
    folder = project / "옵티마이저 & co"
    folder.mkdir()
    commit(project, "Another's", metrics=metrics(other=0.1), params=params(1))
    commit(folder, "Ours", metrics=metrics(sgd=0.9), params=params(5, sgd=SGD))
    commit(folder, "Later", metrics=metrics(sgd=0.8), params=params(6, sgd=SGD))
    history = read_history(folder)
    assert subjects(history) == ["Later", "Ours"]
    assert notes(history) == [("train.epochs 5 → 6",), ()]


def test_the_persons_own_settings_of_git_change_nothing(project: Path) -> None:
    commit(project, "One", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    commit(project, "Two", metrics=metrics(sgd=0.8))
    before = read_history(project)
    settings = {"log.follow": "true", "log.showSignature": "true", "color.ui": "always",
                "log.date": "relative", "core.quotePath": "true", "log.decorate": "full",
                "i18n.logOutputEncoding": "ISO-8859-1", "log.showRoot": "false"}  # fmt: skip
    for key, value in settings.items():
        git(project, "config", key, value)
    assert read_history(project) == before


def test_odd_subjects_and_names_are_escaped(project: Path) -> None:
    subject, name = "\"Best\" & <script>alert('1')</script> 최적화", "<b>'\"\x1b[31m"
    odd = metrics(name, **{name: 0.9})
    optimizers: dict[str, Any] = {name: SGD}
    commit(project, subject, metrics=odd, params=params(**optimizers))
    commit(project, "Renamed", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    history = read_history(project)
    assert subjects(history)[1] == subject
    html = body(history)
    assert re.findall(r"<script|<b>|\x1b", html) == []
    assert "<script>alert" not in page(history)
    assert "&lt;script&gt;" in html
    assert "최적화" in html
    assert "최적화" in describe(history)
    assert "\x1b" not in describe(history)
    assert notes(history)[0][0] == "optimizers.<b>'\"\ufffd[31m removed"


def test_subjects_in_other_encodings_are_read(project: Path) -> None:
    commit(project, "One", metrics=metrics(sgd=0.9), params=params(sgd=SGD))
    (project / "metrics.json").write_bytes(metrics(sgd=0.8))
    message = project / "message"
    message.write_bytes("Größe".encode("latin-1"))
    git(project, "-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "-aF", "message")
    assert subjects(read_history(project)) == ["Größe", "One"]
    # Bytes that are not what the commit says they are.
    raw = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=project, check=True, capture_output=True
    ).stdout.replace(b"encoding ISO-8859-1\n", b"")
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    done = subprocess.run(command, cwd=project, input=raw, check=True, capture_output=True)
    git(project, "reset", "--quiet", "--soft", done.stdout.decode().strip())
    history = read_history(project)
    assert subjects(history) == ["Gr\ufffd\ufffde", "One"]
    assert "Gr\ufffd\ufffde" in body(history)


def test_no_repository_and_no_results_are_told(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="no Git repository here"):
        read_history(tmp_path)
    with pytest.raises(InputError, match=r"no commit has metrics\.json; run `make run`"):
        read_history(project)
    commit(project, "Words")
    with pytest.raises(InputError, match=r"no commit has metrics\.json; run `make run`"):
        read_history(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Git is not installed"):
        read_history(project)


def test_a_fault_ends_the_program_with_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match="1"):
        run_stage(main)
    assert capsys.readouterr().err.startswith("history: no commit has metrics.json")
    assert not (project / "report").exists()


@pytest.mark.slow
def test_the_program_ends_by_saying_where_the_page_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(project, "One", metrics=metrics("sgd", sgd=0.9), params=params(sgd=SGD))
    monkeypatch.chdir(project)
    main()
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "Result: report/history.html"
    html = (project / "report" / "history.html").read_text(encoding="utf-8")
    assert html == page(read_history())
    assert 'id="chart-history"' in html


@pytest.mark.parametrize("n", [1, 5, 25])
def test_the_terminals_80_columns_hold_every_optimizer_of_an_entry(n: int) -> None:
    names = [f"{index:_<16}" for index in range(n)]
    found = Metrics(
        optimizers={name: OptimizerMetrics(0.9, 0.85, 0.95) for name in names}, best=names[0]
    )
    notes = tuple(f"optimizers.{name} added" for name in names)
    now = Entry("not committed", "", "", QUESTION, found, ())
    before = Entry("1234567", "2025-03-01", "word " * 30, QUESTION, found, notes)
    other = Metrics(optimizers={"other": OptimizerMetrics(0.1)})
    oldest = Entry("7654321", "2025-03-01", "Oldest", QUESTION, other, ())
    remark = "This clone is shallow. " * 9
    text = describe(History((now, before, oldest), remarks=(remark,)))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.count(" 0.9000 ±0.0500") + text.count("*0.9000 ±0.0500") == 2 * n
    assert text.count("other") == 1


def test_the_chart_has_every_optimizer_at_every_commit_the_oldest_first() -> None:
    entries = (
        Entry(
            "b",
            "2025-03-02",
            "Two",
            QUESTION,
            Metrics(optimizers={"adam": OptimizerMetrics(0.9, 0.8, 1.0)}, best="adam"),
            (),
        ),
        Entry(
            "a",
            "2025-03-01",
            "One",
            QUESTION,
            Metrics(optimizers={}),
            ("metrics.json cannot be read",),
        ),
    )
    rows = plotted(History(entries))
    assert [(row["commit"], row["score"], row["best"]) for row in rows] == [
        ("a", None, False),
        ("b", 0.9, True),
    ]


def test_equal_results_in_another_form_are_no_entry(project: Path) -> None:
    content = metrics("sgd", sgd=0.9)
    one = commit(project, "One", metrics=content, params=params(5, sgd=SGD))
    again = json.dumps(json.loads(content)).encode()
    commit(project, "Same", metrics=again, params=params(5, sgd=SGD) + b"new: 1\n")
    commit(project, "Two", metrics=metrics(sgd=0.8), params=params(6, sgd=SGD) + b"new: 1\n")
    history = read_history(project)
    assert subjects(history) == ["Two", "One"]
    # Of its own parent, which is not shown.
    assert notes(history) == [("train.epochs 5 → 6",), ()]
    assert history.entries[1].commit == one


def question(folder: Path, content: Mapping[str, Any], files: Any = None) -> str:
    """What is said to be compared where params.yaml and the data's files are these."""
    if files is not None:
        (folder / "evaluation").mkdir(exist_ok=True)
        comparison = {"dataset": {"files": files}}
        (folder / "evaluation" / "comparison.json").write_text(json.dumps(comparison))
    count = git(folder, "rev-list", "--all", "--count")
    new = metrics(sgd=int(count) / 1000)
    commit(folder, "Results", metrics=new, params=yaml.safe_dump(content).encode())
    return read_history(folder).entries[0].question


def test_scores_are_grouped_by_data_network_and_task(project: Path) -> None:
    digits = {
        "dataset": {"name": "digits", "path": "data/a", "simulated": {"seed": 0}},
        "model": {"name": "mlp", "hidden_units": [100]},
        "task": {"name": "classification", "loss": "auto"},
    }
    first = question(project, digits)
    assert first == "Data: digits; network: mlp, hidden_units [100]; classification"
    # Nothing that is compared is another one.
    unread = {"name": "digits", "path": "data/b", "simulated": {"seed": 1}}
    assert question(project, digits | {"dataset": unread, "train": {"epochs": 9}}) == first
    others = [
        question(project, digits | {"dataset": {"name": "mnist"}}),
        question(project, digits | {"dataset": {"name": "simulated", "simulated": {"seed": 0}}}),
        question(project, digits | {"dataset": {"name": "simulated", "simulated": {"seed": 1}}}),
        question(project, digits | {"model": {"name": "mlp", "hidden_units": [50]}}),
        question(project, digits | {"task": {"name": "regression", "loss": "auto"}}),
        question(project, digits | {"task": {"name": "classification", "loss": "hinge"}}),
    ]
    custom = digits | {"dataset": {"name": "custom", "path": "data/custom/shoes"}}
    others += [question(project, custom, files) for files in ([{"sha256": "a"}], [{"sha256": "b"}])]
    assert len({first, *others}) == 9
    history = read_history(project)
    assert list(history.by_question) == [*reversed(others), first]
    assert [entry.commit for entry in history.by_question[first]] == [
        entry.commit for entry in history.entries[-2:]
    ]
    assert len(re.findall(r'id="chart-history[-\d]*"', page(history))) == 9
    text = describe(history)
    assert text.index("data/custom/shoes") < text.index(first.split(";")[0])


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"dataset": 1}', b"[" * 100_000])
def test_data_of_an_unreadable_comparison_have_no_version(project: Path, content: bytes) -> None:
    (project / "evaluation").mkdir()
    (project / "evaluation" / "comparison.json").write_bytes(content)
    found = question(project, {"dataset": {"name": "custom", "path": "data/a"}})
    assert found.startswith("Data: data/a of an unknown version; ")


@pytest.mark.parametrize("content", [{"dataset": 1, "model": [2], "task": None}, {"dataset": {}}])
def test_odd_sections_are_put_in_words(project: Path, content: Mapping[str, Any]) -> None:
    assert question(project, content).startswith("Data: ")


def begin_with_the_projects_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A first commit without results and two with them; gives the last one's hash."""
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "founder@example.org")
    commit(project, "Begin")
    commit(project, "Theirs 1", metrics=metrics(sgd=0.1), params=params(1, sgd=SGD))
    last = commit(project, "Theirs 2", metrics=metrics(sgd=0.2), params=params(2, sgd=SGD))
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "somebody@example.org")
    return last


def test_of_the_projects_own_results_only_what_others_began_with_is_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with_the_projects_own(project, monkeypatch)
    assert subjects(read_history(project)) == ["Theirs 2"]
    (project / "metrics.json").write_bytes(metrics(sgd=0.3))
    assert read_history(project).entries[0].commit == "not committed"
    assert subjects(read_history(project)) == ["", "Theirs 2"]
    commit(project, "Mine 1", params=params(3, sgd=SGD))
    commit(project, "Mine 2", metrics=metrics(sgd=0.4))
    history = read_history(project)
    assert subjects(history) == ["Mine 2", "Mine 1", "Theirs 2"]
    assert notes(history) == [(), ("train.epochs 2 → 3",), ()]
    for text in (describe(history), re.sub("</?code>", "`", body(history))):
        words = " ".join(text.split())
        assert "Left out: 1 earlier result of the project" in words
        assert "`make history OPTIONS=--all`" in words
    everything = read_history(project, everything=True)
    assert subjects(everything) == ["Mine 2", "Mine 1", "Theirs 2", "Theirs 1"]
    assert notes(everything)[2] == ("train.epochs 1 → 2",)
    assert everything.remarks == ()


def test_whoever_began_the_repository_sees_every_result(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with_the_projects_own(project, monkeypatch)
    commit(project, "A contribution", metrics=metrics(sgd=0.3))
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "founder@example.org")
    assert subjects(read_history(project)) == ["A contribution", "Theirs 2", "Theirs 1"]


def test_all_results_are_shown_of_a_repository_that_began_with_some(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "colleague@example.org")
    commit(project, "A copy", metrics=metrics(sgd=0.1))
    commit(project, "Colleague's", metrics=metrics(sgd=0.2))
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "somebody@example.org")
    commit(project, "Mine", metrics=metrics(sgd=0.3))
    assert subjects(read_history(project)) == ["Mine", "Colleague's", "A copy"]


def experiment(folder: Path, name: str, **files: bytes) -> None:
    """What `dvc exp run` leaves in Git of these files, the working tree as it was."""
    baseline = git(folder, "rev-parse", "HEAD")
    commit(folder, f"dvc: commit experiment {name}", **files)
    made = git(folder, "rev-parse", "HEAD")
    git(folder, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", made)
    git(folder, "update-ref", "refs/exps/exec/EXEC_BRANCH", made)
    git(folder, "reset", "--quiet", "--hard", baseline)


def test_experiments_stand_beside_commits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(project, "One", metrics=metrics(sgd=0.1), params=params(1, sgd=SGD))
    words = commit(project, "Words")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2025-03-02T12:00:00+0000")
    experiment(project, "tame-tit", metrics=metrics("sgd", sgd=0.2), params=params(2, sgd=SGD))
    experiment(project, "same-as-before", params=params(3, sgd=SGD))
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2025-03-03T12:00:00+0000")
    commit(project, "Two", metrics=metrics(sgd=0.3))
    history = read_history(project)
    assert [entry.commit for entry in history.entries[1:2]] == ["tame-tit"]
    assert subjects(history) == ["Two", f"experiment that began with {words}", "One"]
    assert notes(history)[1] == ("train.epochs 1 → 2",)
    assert history.entries[1].metrics.best == "sgd"


def test_results_of_an_experiment_are_told_once(project: Path) -> None:
    commit(project, "One", metrics=metrics(sgd=0.1), params=params(1, sgd=SGD))
    experiment(project, "tame-tit", metrics=metrics(sgd=0.2), params=params(2, sgd=SGD))
    (project / "metrics.json").write_bytes(metrics(sgd=0.2))
    (project / "params.yaml").write_bytes(params(2, sgd=SGD))
    assert [e.commit for e in read_history(project).entries][:1] == ["tame-tit"]
    assert len(read_history(project).entries) == 2
    commit(project, "Keep it")
    assert subjects(read_history(project)) == ["Keep it", "One"]


def test_1000_commits_take_few_processes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(index: int) -> bytes:
        who = f"somebody <somebody@example.org> {1_700_000_000 + index} +0000"
        new = metrics(sgd=index / 1000)
        return b"".join(
            (
                f"commit refs/heads/main\ncommitter {who}\ndata 1\nx\n".encode(),
                b"M 100644 inline metrics.json\n",
                f"data {len(new)}\n".encode() + new + b"\n",
            )
        )

    stream = b"".join(map(one, range(1000)))
    command = ["git", "fast-import", "--quiet"]
    subprocess.run(command, cwd=project, input=stream, check=True, capture_output=True)
    run = subprocess.run
    commands: list[Any] = []

    def note_and_run(*args: Any, **options: Any) -> Any:
        commands.append(args)
        return run(*args, **options)

    monkeypatch.setattr(subprocess, "run", note_and_run)
    history = read_history(project)
    assert (len(history.entries), len(commands)) == (1000, 5)
    assert "And 980 older: report/history.html" in describe(history)
    assert len(plotted(history)) == 1000
