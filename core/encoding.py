"""What a process takes bytes for: file names and arguments are UTF-8, and output carries whatever a name holds."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

# Below it a table shows nothing but blanks.
_NARROWEST = 40


def start_in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, where it is not in it already and its locale is of another kind.

    Names of cohorts become names of files: in the locale C those outside ASCII could neither be made nor read. Output
    keeps the encoding that it has.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1" or not sys.executable:
        return
    output = f"{sys.stdout.encoding}:{sys.stdout.errors}" if sys.stdout else ""
    given = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": output}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], given)  # noqa: S606  (ourselves)


def prepare_streams() -> None:
    """Have output carry any text, by replacements if need be, and nothing else opened in place of a stream.

    A standard stream that is closed would leave its number to the next file, which then gets what is printed.
    """
    _forget_odd_widths()
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (as long as the process)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # somebody has read of it before
                stream.reconfigure(errors=errors)


def _forget_odd_widths() -> None:
    """Take a width that leaves no room for text, or is none, for one that is not set."""
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        width = os.environ.get(name, "")
        is_wide = width.isascii() and width.isdigit() and int(width[:6]) >= _NARROWEST
        if width and not is_wide:
            del os.environ[name]


def can_print(text: str) -> bool:
    """Return whether standard output carries a text as it is."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


class OutputLost(Exception):
    """What was printed could not be written: the disk is full, or nobody reads it any more."""


@contextmanager
def printing() -> Generator[None]:
    """Print inside. Raises OutputLost when standard output does not take it."""
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        raise OutputLost(exc.strerror) from exc


def drop_output() -> None:
    """Have nothing printed any more, what is still to be written included."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
