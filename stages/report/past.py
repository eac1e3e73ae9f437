"""Past results: those of commits, of DVC's experiments, and of the working tree."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from stages.common.decimals import USUAL, score_format
from stages.common.errors import InputError, legible, one_line
from stages.common.files import describe_fault
from stages.common.params import PARAMS_PATH, Task, read_yaml
from stages.common.results import COMPARISON, EVALUATION, METRICS, Metrics
from stages.common.score import score_of
from stages.report.tables import in_words, plural

FILES = (METRICS.name, PARAMS_PATH.as_posix(), (EVALUATION / COMPARISON.name).as_posix())


@dataclass(frozen=True)
class Entry:
    """The results of a commit, of an experiment of DVC's, or of the working tree.

    `commit` is the abbreviated hash or the experiment's name. `question` says what was compared:
    which data, network and task. `metrics` has no optimizers if the file cannot be read. `notes`
    say so, and also what was merged and what changed in `params.yaml`. `style` is the format of
    scores.
    """

    commit: str
    date: str
    subject: str
    question: str
    metrics: Metrics
    notes: tuple[str, ...]
    style: str = USUAL

    @property
    def best(self) -> str:
        """The optimizer to take, or why there is none; older results could leave it open."""
        if self.metrics.best is not None:
            return self.metrics.best
        return "undecided" if self.metrics.seeds is None else "every trial failed"


@dataclass(frozen=True)
class History:
    """Entries from newest to oldest, and remarks on those that it lacks."""

    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()

    @property
    def by_question(self) -> dict[str, list[Entry]]:
        """The entries whose scores can be compared, the question of the newest one first."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(entry.question, []).append(entry)
        return groups


def optimizers(entries: Sequence[Entry]) -> list[str]:
    """Every name once, in the order of the entries."""
    return list(dict.fromkeys(name for entry in entries for name in entry.metrics.optimizers))


# Reading Git


@dataclass(frozen=True)
class _Files:
    metrics: bytes | None
    params: bytes | None
    comparison: bytes | None

    @cached_property
    def parsed_metrics(self) -> tuple[Metrics, list[str]]:
        return _parse_metrics(self.metrics)

    def has_results_of(self, other: "_Files") -> bool:
        """Whether both hold the same results, in whichever form they were written."""
        return self.parsed_metrics == other.parsed_metrics and not self.parsed_metrics[1]


@dataclass(frozen=True)
class _Commit:
    hash: str
    parents: tuple[str, ...]
    abbreviated: str
    date: str
    time_s: int
    email: str
    subject: str
    files: _Files


def read_history(folder: Path = Path(), *, everything: bool = False) -> History:
    """Reads every version of the results, and of the `params.yaml` beside them, from Git.

    Every commit up to HEAD with other results than its parent is an entry, as is every merge of two
    branches with results, every experiment of DVC's, and the working tree if it differs. Parameters
    are compared with those of the previous entry; for a merge, with those of its first parent.

    A clone of this project begins with the project's own results. Once there are others, they are
    left out but for those that others began with.

    Args:
        folder: The project's.
        everything: Leave out nothing.

    Raises:
        InputError: If there is no Git repository, or no commit with a `metrics.json`.
    """
    shallow = _git(folder, "no Git repository here", "rev-parse", "--is-shallow-repository")
    listed = _commits(folder)
    known = {commit.hash: commit for commit in listed}
    parents = {c.hash: [known[parent] for parent in c.parents] for c in listed}
    commits = [c for c in listed if not _repeats(c, parents[c.hash])]
    projects_own = set() if everything else _projects_own(folder, listed)
    experiments = _experiments(folder, listed)
    for experiment, baseline in experiments:
        parents[experiment.hash] = [baseline]
        older = (i for i, commit in enumerate(commits) if commit.time_s <= experiment.time_s)
        commits.insert(next(older, len(commits)), experiment)
    now = _Files(*(_bytes(folder / name) for name in FILES))
    recorded = [listed[0], *(experiment for experiment, _ in experiments)]
    if now.metrics is not None and not any(_has_lines_of(commit, now) for commit in recorded):
        commits.insert(0, _Commit("", (), "not committed", "", 0, "", "", now))
        parents[""] = [listed[0]]
    shown = _shown(commits, parents, projects_own)
    remarks = []
    if len(shown) < len(commits):
        remarks.append(
            f"Left out: {plural(len(commits) - len(shown), 'earlier result')} of the project's "
            "own; `make history OPTIONS=--all` shows them."
        )
    if shallow.strip() == b"true":
        remarks.append(
            f"This clone is shallow: its history begins at {listed[-1].abbreviated}, though the "
            "results there may be older. `git fetch --unshallow` gets the rest."
        )
    # What changed since results that are not shown is of no use.
    parents |= {own: [] for own in projects_own}
    return History(tuple(_entry(c, parents[c.hash]) for c in shown), tuple(remarks))


def _commits(folder: Path) -> list[_Commit]:
    """Newest first; Git rewrites parents to the nearest ancestors that are also listed."""
    fault = f"no commit has {METRICS.name}; run `make run` and commit what it writes"
    listing = ("--full-history", "--simplify-merges", "--date-order", "--parents")
    style = ("--encoding=UTF-8", "--format=%h%x00%as%x00%ct%x00%ae%x00%s")
    output = _git(folder, fault, "rev-list", *listing, *style, "HEAD", "--", METRICS.name)
    lines = output.decode(errors="replace").split("\n")[:-1]
    if not lines:
        raise InputError(f"history: {fault}")
    families = [header.split()[1:] for header in lines[::2]]
    contents = _contents(folder, [own for own, *_ in families])
    commits = []
    for (own, *parents), line, files in zip(families, lines[1::2], contents, strict=True):
        short, date, time_s, email, subject = map(legible, line.split("\0"))
        commits.append(
            _Commit(own, tuple(parents), short, date, int(time_s), email, subject, files)
        )
    return commits


def _experiments(folder: Path, listed: Sequence[_Commit]) -> list[tuple[_Commit, _Commit]]:
    """DVC's experiments with results of their own, each with the commit that it began with."""
    fields = "%(refname)%00%(objectname)%00%(authordate:short)%00%(committerdate:unix)"
    output = _git(
        folder, "cannot be read", "for-each-ref", "--sort=committerdate", f"--format={fields}",
        "refs/exps/??/*/*",
    )  # fmt: skip
    found = [line.split("\0") for line in output.decode(errors="replace").split("\n")[:-1]]
    # refs/exps/BA/SELINE/NAME
    baselines = ["".join(ref.split("/")[2:4]) for ref, *_ in found]
    contents = _contents(folder, [*(own for _, own, *_ in found), *baselines])
    files = [next(contents) for _ in found]
    known = {commit.hash: commit.abbreviated for commit in listed}
    experiments = []
    for (ref, own, date, time_s), baseline, after in zip(found, baselines, files, strict=True):
        before = next(contents)
        if any(_has_lines_of(c, after) for c in listed):
            continue
        name = legible(ref.split("/")[4])
        short = known.get(baseline, baseline[:7])
        subject = f"experiment that began with {short}"
        experiments.append(
            (
                _Commit(own, (), name, date, int(time_s), "", subject, after),
                _Commit(baseline, (), short, "", 0, "", "", before),
            )
        )
    return experiments


def _repeats(commit: _Commit, parents: Sequence[_Commit]) -> bool:
    return len(parents) == 1 and commit.files.has_results_of(parents[0].files)


def _has_lines_of(commit: _Commit, files: _Files) -> bool:
    # Compared by lines, since Git may have converted the line endings.
    return (commit.files.metrics or b"").splitlines() == (files.metrics or b"").splitlines()


def _projects_own(folder: Path, commits: Sequence[_Commit]) -> set[str]:
    """The commits by whoever began the repository, and all before them.

    None where that is the person here, or if the first commit has results already: then the
    repository was not cloned but begun with a copy of the project.
    """
    style = ("--max-parents=0", "--format=%ae")
    output = _git(folder, "cannot be read", "rev-list", *style, "HEAD").decode(errors="replace")
    header, founder = map(legible, output.split("\n")[-3:-1])
    if header.split()[1] in {commit.hash for commit in commits} or founder == _email(folder):
        return set()
    found: set[str] = set()
    for commit in commits:
        if commit.email == founder or commit.hash in found:
            found |= {commit.hash, *commit.parents}
    return found


def _email(folder: Path) -> str:
    try:
        output = _git(folder, "no name", "var", "GIT_AUTHOR_IDENT").decode(errors="replace")
    except InputError:
        return ""
    return output.rpartition("<")[2].partition(">")[0]


def _shown(
    commits: Sequence[_Commit],
    parents: Mapping[str, Sequence[_Commit]],
    projects_own: set[str],
) -> list[_Commit]:
    """All but the project's own, and those of it that others began with, or its newest."""
    others = [commit for commit in commits if commit.hash not in projects_own]
    wanted = {commit.hash for commit in others or commits[:1]}
    project = [commit for commit in commits if commit.hash in projects_own]
    for parent in {p.hash: p for commit in others for p in parents[commit.hash]}.values():
        wanted |= {c.hash for c in project if c.files.has_results_of(parent.files)}
    return [commit for commit in commits if commit.hash in wanted]


def _contents(folder: Path, commits: Sequence[str]) -> Iterator[_Files]:
    """What each commit has of FILES; one process reads them all."""
    names = "".join(f"{commit}:./{path}\n" for commit in commits for path in FILES)
    output = _git(folder, "cannot be read", "cat-file", "--batch", "--buffer", stdin=names.encode())
    with BytesIO(output) as batch:
        for _ in commits:
            yield _Files(*(_content(batch) for _ in FILES))


def _content(batch: BytesIO) -> bytes | None:
    """The next file, or None if Git has none of that name."""
    *_, size = batch.readline().split()
    if not size.isdigit():
        return None
    content = batch.read(int(size))
    batch.read(1)  # the end of the line
    return content


def _git(folder: Path, fault: str, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ("git", *arguments)
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=True)  # noqa: S603
    except FileNotFoundError:
        raise InputError("history: Git is not installed") from None
    except subprocess.CalledProcessError as error:
        reason = one_line(error.stderr.decode(errors="replace"))
        raise InputError(f"history: {fault} ({reason})") from None
    return done.stdout


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


# Parsing the files; what cannot be read becomes a note


def _entry(commit: _Commit, parents: Sequence[_Commit]) -> Entry:
    metrics, faults = commit.files.parsed_metrics
    notes = [*faults]
    if len(parents) > 1:
        notes.append(f"merge of {' and '.join(parent.abbreviated for parent in parents)}")
    after = _parse_params(commit.files.params)
    if isinstance(after, str):
        notes.append(after)
    elif parents:
        before = _parse_params(parents[0].files.params)
        unknown = f"changes since {parents[0].abbreviated} are unknown: {before}"
        notes += [unknown] if isinstance(before, str) else changes(before, after)
    return Entry(
        commit=commit.abbreviated,
        date=commit.date,
        subject=commit.subject,
        question=legible(_question(after, commit.files.comparison)),
        metrics=metrics,
        notes=tuple(map(legible, notes)),
        style=_style(after, metrics),
    )


def _style(params: Mapping[str, Any] | str, metrics: Metrics) -> str:
    """The format of scores; that of an accuracy where the parameters do not tell."""
    if isinstance(params, str) or metrics.best is None:
        return USUAL
    try:
        score = score_of(Task.model_validate(params["task"]))
        return score_format(
            score, metrics.optimizers[metrics.best].score, float(params["comparison"]["margin"])
        )
    except (InputError, LookupError, TypeError, ValueError):
        return USUAL


def _question(params: Mapping[str, Any] | str, comparison: bytes | None) -> str:
    """Data, network and task in words, which are equal where scores can be compared."""
    if isinstance(params, str):
        return f"Data, network and task are unknown: {params}"
    dataset = params.get("dataset")
    name = dataset.get("name") if isinstance(dataset, dict) else dataset
    if name == "custom" and isinstance(dataset, dict):
        data = f"{in_words(dataset.get('path'))} {_version(comparison)}"
    elif name == "simulated" and isinstance(dataset, dict):
        data = _section({"name": name, **(dataset.get("simulated") or {})})
    else:
        data = in_words(name)
    task = params.get("task", {"name": "classification"})
    return "; ".join((f"Data: {data}", f"network: {_section(params.get('model'))}", _section(task)))


def _section(content: Any) -> str:
    """A name and its arguments, but for those that are left to the project."""
    if not isinstance(content, dict):
        return in_words(content)
    arguments = (f"{k} {in_words(v)}" for k, v in content.items() if k != "name" and v != "auto")
    return ", ".join((in_words(content.get("name")), *arguments))


@cache
def _version(comparison: bytes | None) -> str:
    """A digest of the user's own data."""
    try:
        files = json.loads(comparison or b"")["dataset"]["files"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "of an unknown version"
    return f"version {hashlib.sha256(json.dumps(files).encode()).hexdigest()[:7]}"


def _parse_metrics(content: bytes | None) -> tuple[Metrics, list[str]]:
    if content is None:
        return Metrics(optimizers={}), [f"no {METRICS.name}"]
    try:
        metrics = METRICS.decode(content)
    except ValueError as error:
        return Metrics(optimizers={}), [f"{METRICS.name} cannot be read: {describe_fault(error)}"]
    scores = {legible(name): score for name, score in metrics.optimizers.items()}
    best = metrics.best and legible(metrics.best)
    return replace(metrics, optimizers=scores, best=best), []


@cache
def _parse_params(content: bytes | None) -> dict[str, Any] | str:
    if content is None:
        return f"no {PARAMS_PATH}"
    try:
        loaded = read_yaml(content)
    except ValueError as error:
        return f"{PARAMS_PATH} cannot be read: {error}"
    return loaded if isinstance(loaded, dict) else f"{PARAMS_PATH} cannot be read: no keys"


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], section: str = ""
) -> Iterator[str]:
    """What differs between two `params.yaml`: `train.epochs 5 → 50`, `optimizers.lion added`."""
    for key in {**before, **after}:
        name = f"{section}{key}"
        if key not in after:
            yield f"{name} removed"
        elif key not in before:
            yield f"{name} added"
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from changes(before[key], after[key], f"{name}.")
        elif before[key] != after[key]:
            yield f"{name} {in_words(before[key])} → {in_words(after[key])}"
