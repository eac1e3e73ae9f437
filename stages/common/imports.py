"""Which files of the project a module imports, without running any of it.

DVC's dependencies and the key of a stored trial both come from here.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]


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
    found: set[Path] = set()
    waiting = {path.relative_to(root) if path.is_absolute() else path for path in modules}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= _direct_imports(root, path) - found
    return tuple(sorted(found))


def _direct_imports(root: Path, path: Path) -> set[Path]:
    tree = ast.parse((root / path).read_bytes(), path)
    names = {name for node in ast.walk(tree) for name in _imported_names(node, path)}
    names.add(".".join(path.with_suffix("").parts))  # the packages that it is in
    return {file for name in names for file in _files_of(root, name)}


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
