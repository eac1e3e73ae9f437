"""What goes wrong through no fault of the program."""


class InputError(Exception):
    """A fault of the input, told to the person who can mend it: where, what, and what is right."""


def one_line(error: object) -> str:
    """An error's text on one line, for a message that quotes it."""
    return " ".join(str(error).split())
