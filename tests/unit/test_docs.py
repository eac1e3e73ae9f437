"""README and docs say what is so: commands, files, links, keys, figures, and the code in them."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from markdown_it import MarkdownIt
from markdown_it.token import Token
from scipy.special import stdtrit

from commands.reference import reference
from stages.common.decimals import rounded_up
from stages.common.params import Params, read_yaml
from stages.common.runs import TRIALS, Completed, TrialRow
from stages.inference.looks import looks, nominal_level
from tests.conftest import PROJECT
from tests.results import lost, tuned_higher

README, KOREAN, HISTORY = "README.md", "README.ko.md", "CHANGELOG.md"
# The reader's own files, which a page tells how to write.
OWN = {"tls.yaml", "start_workers.py"}
# What a run makes, and what the reader brings, is not in a fresh clone.
MADE = (
    "data/",
    "runs/",
    "weights/",
    "confirmation/",
    "best/",
    ".cache",
    ".venv",
    ".dvc/",
    "report/cost",
    "report/history",
)
SUFFIX = re.compile(r"\.(py|md|ya?ml|json|csv|toml|txt|npz|html|png|ipynb|keras)$")
KEY = re.compile(rf"({'|'.join(Params.model_fields)})(\.[\w-]+)+")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

Table = tuple[tuple[str, ...], ...]


@cache
def tracked() -> frozenset[str]:
    """The project's files: those that Git knows, and new ones that it does not ignore."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return frozenset(path for path in listed.stdout.splitlines() if (PROJECT / path).exists())


PAGES = sorted(
    path
    for path in tracked()
    if path.endswith(".md") and not path.startswith(("report/", "tests/"))
)
# Without the one that describes older states.
PRESENT_PAGES = [name for name in PAGES if name != HISTORY]


@dataclass(frozen=True)
class Page:
    """What a page holds: headings with their levels, links, code spans, code blocks, tables.

    `blocks` are pairs of language, "" without one, and text.
    """

    headings: tuple[tuple[int, str], ...]
    links: tuple[str, ...]
    inline: tuple[str, ...]
    blocks: tuple[tuple[str, str], ...]
    prose: str
    tables: tuple[Table, ...]

    def code(self, language: str) -> list[str]:
        return [text for name, text in self.blocks if name == language]


@cache
def read(name: str) -> Page:
    return parse((PROJECT / name).read_text(encoding="utf-8"))


def parse(text: str) -> Page:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    spans = [child for token in tokens for child in token.children or ()]
    links = (span.attrs.get("href") or span.attrs.get("src") for span in spans)
    return Page(
        headings=tuple(
            (int(token.tag[1]), content.content)
            for token, content in pairwise(tokens)
            if token.type == "heading_open"
        ),
        links=tuple(str(link) for link in links if link),
        inline=tuple(span.content for span in spans if span.type == "code_inline"),
        blocks=tuple((t.info, t.content) for t in tokens if t.type in ("fence", "code_block")),
        prose="\n".join(token.content for token in tokens if token.type == "inline"),
        tables=tuple(read_tables(tokens)),
    )


def read_tables(tokens: list[Token]) -> Iterator[Table]:
    rows: list[list[str]] = []
    for token, content in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append(content.content)
        elif token.type == "tbody_close":
            yield tuple(map(tuple, rows))
            rows = []


def commands(page: Page) -> list[list[str]]:
    """The words of each command in the page's code, without variables that are set before it."""
    lines = "\n".join(page.code("")).replace("\\\n", " ").splitlines()
    lines += [text for text in page.inline if re.match(r"(make|dvc|python -m) ", text)]
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # It goes on in the next line, or is no command.
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if word in (";", "&&", "||", "|", "&", ">"):
                found += [command] if command else []
                command = []
            elif command or not re.match(r"[A-Z_]+=", word):
                command.append(word.removeprefix(".venv/bin/"))
    return found


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def make_targets() -> frozenset[str]:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    # The marks of what is installed stand behind variables.
    found = re.findall(r"^([a-z][\w-]*):|^\w+ := (\.venv/\S+)$", makefile, re.MULTILINE)
    return frozenset(name or mark for name, mark in found)


def folders(below: str) -> set[str]:
    """The folders with files of the project, hidden ones left out."""
    paths = (path.removeprefix(below) for path in tracked() if path.startswith(below))
    return {path.partition("/")[0] for path in paths if "/" in path and path[0] != "."}


@cache
def file_names() -> frozenset[str]:
    """Names without a folder: of the project's files, and those in the code that stages write."""
    names = {Path(path).name for path in tracked()}
    for path in (PROJECT / "stages").rglob("*.py"):
        names.update(re.findall(r'"([\w.-]+)"', path.read_text(encoding="utf-8")))
    return frozenset(names)


def exists(path: str, page: str) -> bool:
    """In the project, beside the page, or in an example; `path` may be a pattern."""
    roots = (PROJECT, (PROJECT / page).parent, PROJECT / ".dvc", *(PROJECT / "examples").glob("*/"))
    return any(any(root.glob(path.rstrip("/"))) for root in roots)


@cache
def schema() -> dict[str, Any]:
    return Params.model_json_schema()


def is_key(key: str) -> bool:
    """Whether params.yaml could hold it."""
    return _holds(schema(), key.split("."))


def _holds(part: dict[str, Any], path: list[str]) -> bool:
    if "$ref" in part:
        part = schema()["$defs"][part["$ref"].rpartition("/")[2]]
    if options := part.get("oneOf") or part.get("anyOf"):
        return any(_holds(option, path) for option in options)
    if not path:
        return True
    name, *rest = path
    if name in part.get("properties", {}):
        return _holds(part["properties"][name], rest)
    further = [*part.get("patternProperties", {}).values(), part.get("additionalProperties")]
    return any(field is True or (field and _holds(field, rest)) for field in further)


def test_a_key_is_one_of_the_schema() -> None:
    for key in ("comparison.margin", "model.hidden_units", "model.width", "optimizers.adam.beta_1"):
        assert is_key(key)
    for key in ("comparison.margins", "tuning.seeds.first", "tune.seeds", "train.epoch"):
        assert not is_key(key)


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_a_make_target_that_a_page_names_exists(name: str) -> None:
    for command, *words in commands(read(name)):
        if command == "make":
            targets = [word for word in words if "=" not in word]
            assert set(targets[:1]) <= make_targets(), words
            for word in words:
                if word.startswith("NAME="):
                    example = PROJECT / "examples" / word.removeprefix("NAME=")
                    assert (example / "params.yaml").exists(), words


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_python_that_a_page_runs_exists(name: str) -> None:
    for command, *words in commands(read(name)):
        if command == "python" and words[0] == "-m":
            assert words[1] == "stages.NAME" or find_spec(words[1]) is not None, words
        elif command == "python":
            assert words[0] in OWN or (PROJECT / words[0]).exists(), words


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_dvc_takes_the_commands_that_a_page_gives(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = get_main_parser()
    for command, *words in commands(read(name)):
        if command == "dvc":
            try:
                arguments = parser.parse_args(words)
            except DvcParserError:
                pytest.fail(f"dvc {shlex.join(words)}: {capsys.readouterr().err}")
            for setting in getattr(arguments, "set_param", None) or ():
                assert is_key(setting.partition("=")[0]), setting


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in read(name).links:
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((PROJECT / name).parent / path).resolve() if path else PROJECT / name
        known = target.relative_to(PROJECT).as_posix()
        assert target.is_dir() or known in tracked(), link
        if anchor:
            assert anchor in [slug(text) for _, text in read(known).headings], link


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_files_that_a_page_names_exist(name: str) -> None:
    for text in read(name).inline:
        path = text.partition(":")[0]
        is_path = re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", path) and (
            re.search(r"\w" + SUFFIX.pattern, path) or path.partition("/")[0] in folders("")
        )
        # Capitals stand for what the reader puts there.
        is_open = re.search(r"\b[A-Z]{2,}\b", path.replace("README", ""))
        if is_path and not is_open and not path.startswith(MADE) and path not in OWN:
            assert path in file_names() or exists(path, name), path


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_keys_that_a_page_names_exist(name: str) -> None:
    for text in read(name).inline:
        key = text.partition(":")[0].partition("=")[0]
        if KEY.fullmatch(key) and not SUFFIX.search(key):
            assert is_key(key), text


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_environment_variables_that_a_page_names_are_read(name: str) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "stages").rglob("*.py"))
    for text in read(name).inline:
        variable = text.partition("=")[0]
        if re.fullmatch(r"(?!AWS_)[A-Z]+(_[A-Z]+)+", variable):
            assert f'"{variable}"' in code, variable


@pytest.mark.parametrize("name", PRESENT_PAGES)
def test_yaml_in_a_page_is_accepted(name: str) -> None:
    """Parameters are merged with those of params.yaml, as a reader would."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    for text in read(name).code("yaml"):
        changes = yaml.safe_load(text)
        if set(changes) <= set(Params.model_fields):
            for section, values in changes.items():
                is_whole = section == "optimizers" or ":" in str(values.get("name"))
                params[section] = values if is_whole else {**params[section], **values}
            Params.model_validate_json(json.dumps(params))


@pytest.mark.parametrize("name", PAGES)
def test_python_in_a_page_is_python(name: str) -> None:
    for text in read(name).code("python"):
        ast.parse(text)


def test_the_reference_of_parameters_is_current() -> None:
    """When it fails: `python -m commands.reference > docs/parameters.md`."""
    page = reference(schema(), read_yaml((PROJECT / "params.yaml").read_bytes()))
    assert (PROJECT / "docs/parameters.md").read_text(encoding="utf-8") == page
    keys = [row[0].strip("`") for table in parse(page).tables for row in table[1:]]
    assert {key.partition(".")[0] for key in keys} == set(Params.model_fields)
    assert [key for key in keys if not is_key(key)] == []


def test_the_answer_of_the_readme_is_that_of_the_committed_run() -> None:
    metrics = json.loads((PROJECT / "metrics.json").read_text(encoding="utf-8"))
    expected = {
        name: (f"{m['score']:.4f}", f"{m['low']:.4f}-{m['high']:.4f}", f"{m['rate']:.3g}")
        for name, m in metrics["optimizers"].items()
    }
    rows = read(README).tables[0][1:]
    assert {row[0]: row[1:4] for row in rows} == expected
    assert rows[0][0] == metrics["best"]
    for row in rows:
        assert row[5].startswith(f"{metrics['optimizers'][row[0]]['failed']} of ")


# Pages with results of other runs.
WITH_THEIR_OWN = {"docs/comparisons.md", "docs/tutorial.md"}


@pytest.mark.parametrize("name", [name for name in PAGES if name not in WITH_THEIR_OWN])
def test_results_in_a_page_are_those_of_the_committed_run(name: str) -> None:
    """Tables with a header of the summary's, and the answer in bold."""
    summary = read("report/summary.md")
    rows = {table[0]: set(table) for table in summary.tables}
    for table in read(name).tables:
        assert set(table) <= rows.get(table[0], set(table))
    for answer in re.findall(r"\*\*Take [^*]+\*\*", read(name).prose):
        assert answer in summary.prose


def test_the_comparisons_are_those_of_the_runs_that_the_examples_keep() -> None:
    page = read("docs/comparisons.md")
    runs = [
        PROJECT / "examples" / name / f"{data}.json"
        for name in ("classics", "moderns")
        for data in ("digits", "fashion")
    ]
    answers = re.findall(r"\*\*(Take [^*]+)\*\*", page.prose)
    for path, (_, *rows), answer in zip(runs, page.tables, answers, strict=True):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        assert {row[:4] for row in rows} == {
            (name, f"{o['score']:.4f}", f"{o['low']:.4f}-{o['high']:.4f}", f"{o['rate']:.3g}")
            for name, o in metrics["optimizers"].items()
        }
        assert rows[0][0] == metrics["best"]
        assert answer.startswith(f"Take {metrics['best']}")
        assert rounded_up(metrics["bound"]) in answer or "ahead of every other" in answer
        assert f"{metrics['seeds']} seeds" in answer


def test_the_critical_values_in_the_docs_are_those_of_the_program() -> None:
    tables = read("docs/how-the-answer-is-found.md").tables
    ((_, *rows),) = [table for table in tables if table[0][:2] == ("seeds", "error spent, of 5 %")]
    for row in rows:
        n_seeds = int(row[0])
        numbers = looks(n_seeds)
        levels = [nominal_level(numbers, 0.05), nominal_level(numbers, 0.05 / 4), 0.05 / 4]
        spent = 5 * len(numbers) / (len(numbers) + 1)
        values = [-float(stdtrit(n_seeds - 1, level)) for level in levels]
        assert row[1:] == (f"{spent:.1f} %", *(f"{value:.2f}" for value in values))


def test_the_tree_of_the_readme_has_every_folder() -> None:
    (tree,) = [text for text in read(README).code("") if "stages/" in text]
    assert set(re.findall(r"^([\w.-]+)/ ", tree, re.MULTILINE)) == folders("")
    assert set(re.findall(r"^  ([\w.-]+)/ ", tree, re.MULTILINE)) == folders("stages/")
    assert all((PROJECT / file).exists() for file in re.findall(r"^[\w.]+", tree, re.MULTILINE))


def test_the_readme_is_short() -> None:
    assert len((PROJECT / README).read_text(encoding="utf-8").splitlines()) <= 150


def parts(name: str) -> list[str]:
    """A page's prose from heading to heading, without code and the targets of links."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^    .*$", "", text, flags=re.MULTILINE)
    return re.split(r"^#+ .*$", re.sub(r"\]\([^)]*\)", "]", text), flags=re.MULTILINE)


def test_the_korean_readme_keeps_step() -> None:
    english, korean = read(README), read(KOREAN)
    assert [level for level, _ in english.headings] == [level for level, _ in korean.headings]
    programs = {"git", "make", "source", "dvc"}
    ours, theirs = ([c for c in commands(p) if c[0] in programs] for p in (english, korean))
    assert ours == theirs
    assert english.tables == korean.tables
    for language in ("", "yaml"):
        first_words = [
            [line.split()[0] for text in page.code(language) for line in text.splitlines() if line]
            for page in (english, korean)
        ]
        assert first_words[0] == first_words[1]
    settings = [[yaml.safe_load(text) for text in p.code("yaml")] for p in (english, korean)]
    assert settings[0] == settings[1]
    links = Counter(english.links), Counter(korean.links)
    assert links[0] - links[1] == {KOREAN: 1}
    assert links[1] - links[0] == {README: 1}
    for part, translated in zip(parts(README), parts(KOREAN), strict=True):
        assert Counter(NUMBER.findall(part)) == Counter(NUMBER.findall(translated)), translated


class FakeRun:
    """Stands in for MLflow, which is no dependency: keeps what it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.params: dict[str, str] = {}
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_the_snippet_for_mlflow_logs_every_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[FakeRun] = []
    settings: list[str] = []

    def start_run(*, run_name: str) -> FakeRun:
        runs.append(FakeRun(run_name))
        return runs[-1]

    fake = {
        "set_tracking_uri": settings.append,
        "set_experiment": settings.append,
        "start_run": start_run,
        "log_params": lambda params: runs[-1].params.update(**params),
        "log_metric": lambda name, value: runs[-1].metrics.update({name: value}),
    }
    mlflow = ModuleType("mlflow")
    mlflow.__dict__.update(fake)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.chdir(tmp_path)
    trials = {"adam": tuned_higher(0.9, 0.8).tuning, "sgd": lost().tuning}
    for name, rows in trials.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        TRIALS.write(tmp_path / "runs" / name, rows)
    (snippet,) = [text for text in read("docs/from-sweeps.md").code("python") if "mlflow" in text]
    exec(compile(snippet, "docs/from-sweeps.md", "exec"), {})  # noqa: S102
    assert settings == ["sqlite:///.cache/mlflow.db", "which-optimizer"]
    logged = [(run.name, run.params["outcome"], run.metrics) for run in runs]
    assert logged == [
        (name, row.outcome, scores_of(row)) for name, rows in trials.items() for row in rows
    ]
    assert {run.params["optimizer"] for run in runs} == {"adam", "sgd"}


def scores_of(row: TrialRow) -> dict[str, float]:
    return {"validation_score": row.validation_score} if isinstance(row, Completed) else {}


def notebook_cells(kind: str) -> list[str]:
    notebook = json.loads((PROJECT / "docs/results.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_reads_the_committed_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT / "docs")
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook_cells("code"):
        tree = ast.parse(cell)
        last = tree.body[-1]
        if isinstance(last, ast.Expr):
            del tree.body[-1]
        exec(compile(tree, "results.ipynb", "exec"), names)  # noqa: S102
        if isinstance(last, ast.Expr):
            expression = compile(ast.Expression(last.value), "results.ipynb", "eval")
            shown.append(eval(expression, names))  # noqa: S307
    metrics = json.loads((PROJECT / "metrics.json").read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    assert f"Take {metrics['best']}" in printed
    n_pairs = len((PROJECT / "evaluation/pairs.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert len(printed.splitlines()) == 1 + n_pairs
    charts = [chart.to_dict() for chart in shown if hasattr(chart, "to_dict")]
    assert len(charts) == 3
    assert "image/png" in shown[-1]._repr_mimebundle_()[0]


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = json.loads((PROJECT / "docs/results.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    for text in notebook_cells("markdown"):
        for link in parse(text).links:
            assert (PROJECT / "docs" / link).exists(), link


def test_docs_are_all_in_the_index() -> None:
    links = set(read("docs/README.md").links)
    pages = {path.name for path in (PROJECT / "docs").glob("*.md")} - {"README.md"}
    assert pages | {"results.ipynb"} <= links
