"""Lists the user's folders in an order that does not depend on the file system."""

from pathlib import Path

from stages.common.errors import InputError


def list_visible(folder: Path) -> list[Path]:
    """Files and folders sorted by name, without hidden ones and README.md."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [entry for entry in entries if entry.name[0] != "." and entry.name != "README.md"]


def list_folders(folder: Path) -> list[Path]:
    return [entry for entry in list_visible(folder) if entry.is_dir()]


def list_files(path: Path, *endings: str) -> list[Path]:
    """The folder's files with one of these endings, in any case; or the file itself."""
    entries = list_visible(path) if path.is_dir() else [path]
    return [entry for entry in entries if entry.is_file() and entry.suffix.lower() in endings]


def list_nested(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """All files below the folder, links followed.

    Raises:
        InputError: If a link leads back to a folder that holds it.
    """
    real = folder.resolve()
    if real in above:
        raise InputError(f"{folder}: a link that leads back to {real}; remove it")
    files = []
    for entry in list_visible(folder):
        if entry.is_dir():
            files += list_nested(entry, (*above, real))
        else:
            files.append(entry)
    return files
