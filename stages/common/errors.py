"""What goes wrong through no fault of the program."""

import errno
import re

# Act on a terminal, turn the direction of what follows, or cannot be encoded.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 300
_LONGEST_QUOTED = 80
# What the machine refuses; any other OSError is a fault of the program.
_REFUSALS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


class InputError(Exception):
    """A fault of the input, told to the person who can mend it: where, what, and what is right."""


def legible(text: str) -> str:
    """The text with a mark in the place of characters that show nothing themselves."""
    return _NOT_TEXT.sub("\ufffd", text)


def shorten(text: str, n_characters: int = _LONGEST) -> str:
    """The text, or its beginning where it is longer."""
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def one_line(error: object) -> str:
    """An error's text for a message that quotes it: on one line, legible, not too long.

    Addresses in memory, which differ from run to run, are left out.
    """
    text = " ".join(str(error).split())
    return shorten(legible(re.sub(r"0x[0-9a-f]{6,}", "0x…", text)))


def quoted(text: str) -> str:
    """A text that a person gave, for a message that names it."""
    return repr(shorten(legible(text), _LONGEST_QUOTED))


def describe_refusal(error: OSError) -> str:
    """What the machine refuses, and where; nothing where it is a fault of the program."""
    if error.errno not in _REFUSALS:
        return ""
    where = f"{one_line(error.filename)}: " if error.filename else ""
    return f"{where}{one_line(error.strerror)}; `dvc repro` goes on from there"
