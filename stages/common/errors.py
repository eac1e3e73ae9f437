"""Errors that are not bugs: bad input, and what the machine refuses, such as a full disk."""

import errno
import re

# Characters that control a terminal, change the text's direction, or cannot be encoded.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 300
_LONGEST_QUOTED = 80
# What the machine refuses; any other OSError is a bug.
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
    """Bad input. The message tells the user where it is, what is wrong, and what would be right."""


def legible(text: str) -> str:
    """The text with U+FFFD in place of control characters and the like."""
    return _NOT_TEXT.sub("\ufffd", text)


def shorten(text: str, n_characters: int = _LONGEST) -> str:
    """The text, cut to n_characters if it is longer."""
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def one_line(error: object) -> str:
    """An error's text for a message that quotes it: on one line, legible, not too long.

    Memory addresses, which differ from run to run, are left out.
    """
    text = " ".join(str(error).split())
    return shorten(legible(re.sub(r"0x[0-9a-f]{6,}", "0x…", text)))


def quoted(text: str) -> str:
    """Text that the user gave, quoted for a message."""
    return repr(shorten(legible(text), _LONGEST_QUOTED))


def describe_refusal(error: OSError) -> str:
    """Says what the machine refuses, and for which file; empty if the error is a bug."""
    if error.errno not in _REFUSALS:
        return ""
    where = f"{one_line(error.filename)}: " if error.filename else ""
    return f"{where}{one_line(error.strerror)}; `dvc repro` goes on from there"
