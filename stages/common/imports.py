"""Which files of the project a module imports, and digests of code, without running any of it.

DVC's dependencies and the key of a stored trial both come from here.
"""

import ast
import hashlib
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

from stages.common.files import Json, locate_cache, write_bytes

PROJECT = Path(__file__).parents[2]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("NEWLINE", "INDENT", "DEDENT")
_IGNORED = ("COMMENT", "NL", "ENDMARKER")
_KINDS = (ast.Import, ast.ImportFrom, *_DOCUMENTED)
_Place = tuple[int, int]  # line from 1, column from 0


@dataclass(frozen=True)
class _Code:
    """What a Python file imports, as it is written there, and the digest of what matters in it."""

    imports: tuple[str, ...]
    sha256: str


_CODE = Json("code", _Code, exact=True)


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
    names: set[str] = set()
    waiting = {path.relative_to(root) if path.is_absolute() else path for path in modules}
    while waiting:
        path = waiting.pop()
        found.add(path)
        # The module's own name stands for the packages that it is in.
        own = ".".join(path.with_suffix("").parts)
        imports = _analyse(_read(root / path)).imports
        new = {own, *(_absolute(name, path) for name in imports)} - names
        names |= new
        inside = [name for name in new if name.split(".")[0] in roots]
        waiting |= {file for name in inside for file in _files_of(root, name)} - found
    return tuple(sorted(found))


def _read(path: Path) -> str:
    with tokenize.open(path) as file:
        return file.read()


@cache
def _analyse(source: str) -> _Code:
    """Kept on disk as well, since every stage asks for much the same."""
    key = hashlib.sha256(f"{_read(Path(__file__))}\0{source}".encode())
    kept = locate_cache("code") / key.hexdigest()
    with suppress(OSError, ValueError):
        return _CODE.decode(kept.read_bytes())
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, _KINDS)]
    names = {name for node in nodes for name in _imported_names(node)}
    tokens = "\0".join(_tokens(source, _docstrings(nodes)))
    code = _Code(tuple(sorted(names)), hashlib.sha256(tokens.encode()).hexdigest())
    with suppress(OSError):
        write_bytes(kept, _CODE.encode(code))
    return code


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that may be modules: `from .a import b` gives `.a.b`, which includes `.a`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (f"{node.module}." if node.module else "")
        yield from (f"{module}{alias.name}" for alias in node.names)


def _absolute(name: str, path: Path) -> str:
    """The name without the dots that begin a relative one, in the module at `path`."""
    relative = name.lstrip(".")
    level = len(name) - len(relative)
    return ".".join((*path.parts[:-level], relative)) if level else name


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
    return _analyse(_read(path)).sha256


def _tokens(source: str, docstrings: Mapping[_Place, _Place]) -> Iterator[str]:
    """The tokens that matter, as text."""
    after = (0, 0)  # the end of the last docstring
    begins: list[_Place] = []  # of f-strings, which Python 3.12 made several tokens
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


def _docstrings(nodes: Iterable[ast.AST]) -> dict[_Place, _Place]:
    """The ends of all docstrings by their begins."""
    found = {}
    for node in nodes:
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            found[text.lineno, text.col_offset] = (text.end_lineno or 0, text.end_col_offset or 0)
    return found


def _between(source: str, begin: _Place, end: _Place) -> str:
    lines = source.split("\n")[begin[0] - 1 : end[0]]
    lines[-1] = lines[-1][: end[1]]
    return "\n".join(lines)[begin[1] :]
