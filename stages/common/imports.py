"""Which files of the project a module imports, and digests of code, without running any of it.

DVC's dependencies and the key of a stored trial both come from here.
"""

import ast
import hashlib
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from io import StringIO
from pathlib import Path

PROJECT = Path(__file__).parents[2]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("NEWLINE", "INDENT", "DEDENT")
_IGNORED = ("COMMENT", "NL", "ENDMARKER")


def imported_files(modules: Iterable[Path], root: Path = PROJECT) -> tuple[Path, ...]:
    """The modules and all that they import from the project, directly or indirectly.

    Args:
        modules: Python files below `root`.
        root: The folder that imports are resolved from.

    Returns:
        Files below `root`, as sorted relative paths; for a package, its `__init__.py` as well.

    Raises:
        OSError, SyntaxError, ValueError: If a module cannot be read.
    """
    roots = {path.stem for path in root.iterdir()}
    found: set[Path] = set()
    waiting = {path.relative_to(root) if path.is_absolute() else path for path in modules}
    while waiting:
        path = waiting.pop()
        found.add(path)
        names = {name for name in _direct_imports(root, path) if name.split(".")[0] in roots}
        waiting |= {file for name in names for file in _files_of(root, name)} - found
    return tuple(sorted(found))


def _direct_imports(root: Path, path: Path) -> Iterator[str]:
    """Dotted names; that of the module itself stands for the packages that it is in."""
    yield ".".join(path.with_suffix("").parts)
    for node in _nodes(_read(root / path)):
        yield from _imported_names(node, path)


def _read(path: Path) -> str:
    with tokenize.open(path) as file:
        return file.read()


@cache
def _nodes(source: str) -> tuple[ast.AST, ...]:
    """What matters of the syntax tree, which several stages ask for."""
    kinds = (ast.Import, ast.ImportFrom, *_DOCUMENTED)
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))


def _imported_names(node: ast.AST, path: Path) -> Iterator[str]:
    """Dotted names that may be modules: `from a import b` gives `a.b`, which includes `a`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = path.parts[: -node.level] if node.level else ()
        module = ".".join((*package, *filter(None, [node.module])))
        yield from (f"{module}.{alias.name}".strip(".") for alias in node.names)


def _files_of(root: Path, name: str) -> Iterator[Path]:
    """The files that importing a dotted name runs; none outside the project."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        stem = Path(*parts[:n])
        candidates = (stem / "__init__.py", stem.with_suffix(".py"))
        yield from (path for path in candidates if (root / path).is_file())


def digest_code(path: Path) -> str:
    """SHA-256 of a file; of a Python file without comments, layout and docstrings.

    Unlike a digest of the syntax tree, it is the same in all versions of Python.

    Raises:
        OSError, SyntaxError, ValueError: If the file cannot be read, or is not Python.
    """
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return _digest(_read(path))


@cache
def _digest(source: str) -> str:
    return hashlib.sha256("\0".join(_code_of(source)).encode()).hexdigest()


def _code_of(source: str) -> Iterator[str]:
    """The tokens that matter, as text."""
    docstrings = _docstrings(source)
    after = (0, 0)  # the end of the last docstring
    begins: list[tuple[int, int]] = []  # of f-strings, which Python 3.12 made several tokens
    for token in tokenize.generate_tokens(StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            begins.append(token.start)
        elif kind.endswith("STRING_END"):
            begin = begins.pop()
            if not begins:
                yield _between(source, begin, token.end)
        elif begins or kind in _IGNORED or token.start < after:
            continue
        elif token.start in docstrings:
            after = docstrings[token.start]
        elif kind not in _BLOCKS:
            yield token.string
        elif kind != "NEWLINE" or token.start[0] != after[0]:
            yield kind


def _docstrings(source: str) -> dict[tuple[int, int], tuple[int, int]]:
    """The ends of all docstrings by their begins: line from 1, column from 0."""
    found = {}
    for node in _nodes(source):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            found[text.lineno, text.col_offset] = (text.end_lineno or 0, text.end_col_offset or 0)
    return found


def _between(source: str, begin: tuple[int, int], end: tuple[int, int]) -> str:
    lines = source.split("\n")[begin[0] - 1 : end[0]]
    lines[-1] = lines[-1][: end[1]]
    return "\n".join(lines)[begin[1] :]
