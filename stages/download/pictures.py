"""Reads the user's data from folders of pictures, one for each class."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.common.console import Progress, notice
from stages.common.data import RawArrays
from stages.common.errors import InputError, legible, one_line, quoted
from stages.common.files import IntArray, UInt8Array
from stages.common.memory import check_fits
from stages.download.listing import list_folders, list_nested, list_visible

PICTURES = (".jpeg", ".jpg", ".png")
_LAYOUT = "should hold a folder of pictures for each class"


@dataclass(frozen=True)
class _Part:
    """The pictures of each class of one part, by the name of the class's folder."""

    folder: Path
    classes: dict[str, list[Path]]

    @property
    def files(self) -> list[Path]:
        return [file for files in self.classes.values() for file in files]


def read_pictures(path: Path, resize: Sequence[int]) -> tuple[RawArrays, tuple[str, ...]]:
    """Reads PNG and JPEG files: `train/CLASS/*` and `test/CLASS/*`, one of the two, or `CLASS/*`.

    Args:
        path: The folder.
        resize: Height and width to resize all pictures to; empty if they are all of one size.

    Returns:
        Inputs `(n, height, width, 1) uint8`, or with 3 channels if any picture has colour, a
        palette or transparency, which becomes white; and the class names in order.

    Raises:
        InputError: If a picture cannot be read, or the folders do not make a data set.
    """
    if len(resize) == 1:
        raise InputError(
            f"params.yaml: dataset.custom.resize: holds only {resize[0]}; should be height and "
            "width, such as [28, 28], or [] for the pictures' own size"
        )
    parts = _find_parts(path)
    for part in parts:
        _check_folders(part)
    train, *others = parts
    _check_train(train)
    for test in others:
        _check_test(test, train)
    names = list(train.classes)
    inputs = _stack(_read_all([file for part in parts for file in part.files], resize))
    targets = np.concatenate([_index(part, names) for part in parts])
    n = len(train.files)
    arrays = RawArrays(inputs[:n], targets[:n], inputs[n:], targets[n:])
    return arrays, tuple(map(legible, names))


def _find_parts(path: Path) -> list[_Part]:
    """The training part and, if there is one, the test part."""
    folders = _part_folders(path)
    skipped = [entry for entry in list_visible(path) if not entry.is_dir()]
    parts = []
    for folder in folders:
        if folder != path:
            skipped += [entry for entry in list_visible(folder) if not entry.is_dir()]
        classes = {}
        for class_folder in list_folders(folder):
            files = list_nested(class_folder)
            classes[class_folder.name] = [file for file in files if _is_picture(file)]
            skipped += [file for file in files if not _is_picture(file)]
        parts.append(_Part(folder, classes))
    if skipped:
        notice(
            f"{path}: files left out because they are not PNG or JPEG, or not in a class's "
            f"folder: {len(skipped)}; the first is {skipped[0]}"
        )
    return parts


def _part_folders(path: Path) -> list[Path]:
    folders = list_folders(path)
    named = {folder.name.lower(): folder for folder in folders}
    parts = [named[name] for name in ("train", "test") if name in named]
    # Without folders in it, train may be a class itself, beside car and bus.
    if not parts or (len(parts) < len(folders) and not any(map(list_folders, parts))):
        return [path]
    others = [folder for folder in folders if folder not in parts]
    if others:
        raise InputError(
            f"{path}: {others[0].name} lies beside {parts[0].name}; move its pictures into the "
            "classes of train or test, or move the folder elsewhere"
        )
    return parts


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURES and file.is_file()


def _check_folders(part: _Part) -> None:
    if not part.classes:
        raise InputError(f"{part.folder}: no folder in it; {_LAYOUT}")
    for name, files in part.classes.items():
        if not files:
            raise InputError(
                f"{part.folder / name}: no PNG or JPEG in it; add pictures of the class, or remove "
                "the folder"
            )


def _check_train(train: _Part) -> None:
    names = list(train.classes)
    if len(names) == 1:
        raise InputError(
            f"{train.folder}: only one class, {quoted(names[0])}; {_LAYOUT}, two at least"
        )
    if len(set(map(legible, names))) < len(names):
        raise InputError(
            f"{train.folder}: two folder names differ only in invisible characters; rename one"
        )
    for name, files in train.classes.items():
        if len(files) == 1:
            raise InputError(
                f"{train.folder / name}: only one picture, {files[0].name}; add more of the "
                "class, or remove the folder"
            )


def _check_test(test: _Part, train: _Part) -> None:
    for name in test.classes:
        if name not in train.classes:
            raise InputError(
                f"{test.folder / name}: no such class in {train.folder}; add pictures of it there, "
                "or remove the folder"
            )


def _read_all(files: Sequence[Path], resize: Sequence[int]) -> list[UInt8Array]:
    if resize:
        _check_memory(len(files), resize[0] * resize[1])
    pictures: list[UInt8Array] = []
    largest_bytes = 0
    with warnings.catch_warnings(), Progress("reading", len(files), "pictures") as bar:
        # Pillow warns of damage beside the pixels, such as in metadata.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in files:
            picture = _read(file, resize)
            if pictures and picture.shape[:2] != pictures[0].shape[:2]:
                raise InputError(
                    f"{files[0]} has {_size(pictures[0])} pixels, {file} has {_size(picture)}; "
                    "should be equal, or set dataset.custom.resize in params.yaml to the height "
                    "and width that all should get, such as [64, 64]"
                )
            if picture.nbytes > largest_bytes:  # the first, and the first in colour
                largest_bytes = picture.nbytes
                _check_memory(len(files), largest_bytes)
            pictures.append(picture)
            bar.advance()
    return pictures


def _check_memory(n: int, picture_bytes: int) -> None:
    # They are held three times: as pictures, as one array, and as the file.
    check_fits(3 * n * picture_bytes, "dataset.path", f"reading {n} pictures")


def _size(picture: UInt8Array) -> str:
    return f"{picture.shape[0]} x {picture.shape[1]}"


def _read(file: Path, resize: Sequence[int]) -> UInt8Array:
    """One picture, `(height, width, 1)` or `(height, width, 3)`."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            _check_depth(file, opened.mode)
            picture = _flatten(ImageOps.exif_transpose(opened))
        if resize:
            # Pillow widens this filter when it shrinks a picture, and computes in integers.
            picture = picture.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001, damaged bytes make Pillow raise many kinds
        fault = one_line(error) or type(error).__name__
        raise InputError(
            f"{file}: cannot be read as PNG or JPEG ({fault}); remove it, or save it again"
        ) from None
    pixels = np.asarray(picture)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _check_depth(file: Path, mode: str) -> None:
    if mode.startswith(("I", "F")):
        raise InputError(
            f"{file}: its pixels have more than 8 bits ({mode}); convert it to 8 bits, or give the "
            "data as arrays in an .npz file"
        )


def _flatten(image: Image.Image) -> Image.Image:
    """Converts to grey, or to colour on a white background."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _stack(pictures: Sequence[UInt8Array]) -> UInt8Array:
    n_channels = max(picture.shape[2] for picture in pictures)
    inputs = np.empty((len(pictures), *pictures[0].shape[:2], n_channels), np.uint8)
    for place, picture in enumerate(pictures):
        inputs[place] = picture
    return inputs


def _index(part: _Part, names: Sequence[str]) -> IntArray:
    """The class of each picture of the part, `(n,) int32`."""
    counts = [len(part.classes.get(name, ())) for name in names]
    return np.repeat(np.arange(len(names), dtype=np.int32), counts)
