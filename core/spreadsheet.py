"""CSV that people open in a spreadsheet: nothing in it is taken for a formula. Not for files that programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

# What makes a spreadsheet compute a cell (OWASP, CSV injection).
_STARTS = ("=", "+", "-", "@", "\t", "\r")


def readable_cell(value: object) -> str:
    """Return a cell's text, with an apostrophe before one that a spreadsheet would compute."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_STARTS) else text


def readable_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a CSV for reading: with a byte-order mark, or Excel would not take it for UTF-8."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    yield "\ufeff" + buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([readable_cell(value) for value in row])
        yield buffer.getvalue()
