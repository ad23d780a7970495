"""How commands print: one JSON document, or tables and sentences. What they print of a run is in `tables.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.encoding import can_print, printing
from core.text import escaped, harmless, shown

if TYPE_CHECKING:
    from rich.text import Text

_is_json_printed = False
# Longer than any line of ours, and any cell: a name of other origin is cut.
LONGEST_LINE, _LONGEST_CELL = 2000, 300
# So far columns of a table are apart.
_BETWEEN = 2


def print_json(document: Any) -> None:
    global _is_json_printed  # noqa: PLW0603
    _is_json_printed = True
    text = escaped(json.dumps(document, ensure_ascii=False))
    _print(text if can_print(text) else json.dumps(document))


def has_printed_json() -> bool:
    """Return whether this process has printed its one document."""
    return _is_json_printed


def print_note(text: str) -> None:
    """Print to standard error; line breaks in it are ours."""
    with suppress(OSError):  # what is done does not depend on who reads it
        sys.stderr.write(harmless(text, keep="\n") + "\n")
        sys.stderr.flush()


def complain(message: str, advice: str) -> None:
    print_note(shown(f"{message} {advice}".rstrip(), most=LONGEST_LINE))


def say(text: str) -> None:
    """Print one line: the names of cohorts, ids and messages in it are not ours, and neither steer nor forge."""
    _print(harmless(text))


def _print(line: str) -> None:
    """Print a line as standard output takes it: typer's echo takes ASCII for a mistake, and prints UTF-8 there."""
    with printing():
        sys.stdout.write(f"{line}\n")


def print_csv(lines: Iterable[str]) -> None:
    """Print CSV: UTF-8 whatever the locale says, byte for byte; on a terminal, where it is looked at, harmless."""
    is_looked_at = sys.stdout.isatty()
    with printing():
        for line in lines:
            if is_looked_at:
                sys.stdout.write(harmless(line, keep="\r\n\ufeff"))
            else:
                sys.stdout.buffer.write(line.encode())


def print_text(text: str) -> None:
    """Print a text of several lines as UTF-8, whatever the locale says; on a terminal it is harmless."""
    print_csv([text])


# --- tables --------------------------------------------------------------------------------------------------------


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table; the columns whose numbers are in `right` are aligned there, and lines end between words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print_note("None yet.")
        return
    console, table = Console(highlight=False), Table(box=None, pad_edge=False)
    cells = [[shown(cell, most=_LONGEST_CELL) for cell in row] for row in rows]
    between = _BETWEEN * (len(header) - 1)
    widths = _share_out(console.width - between, list(zip(header, *cells, strict=True)))
    for number, name in enumerate(header):
        justify = "right" if number in right else "left"
        table.add_column(name, justify=justify, overflow="fold", width=widths[number] if widths else None)
    for row in cells:
        table.add_row(*map(Text, row))  # never markup: names are not ours
    with printing():
        console.print(table)


def _share_out(room: int, columns: Sequence[Sequence[str]]) -> list[int] | None:
    """Return how wide columns are that have so much room beside each other: so wide that their words stay whole.

    Where they cannot, the longest words are broken, and no others. None where every column has the room that it needs,
    or there is none at all. Left to itself, the library narrows the widest columns, and breaks whatever is in them.
    """
    from rich.cells import cell_len

    whole = [max(map(cell_len, column)) for column in columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    if sum(whole) <= room or room < len(columns):
        return None
    most = next(most for most in range(max(least), 0, -1) if sum(min(low, most) for low in least) <= room)
    least = [min(low, most) for low in least]
    wanted, spare = sum(whole) - sum(least), room - sum(least)
    return [low + (high - low) * spare // wanted for low, high in zip(least, whole, strict=True)]


def print_styled(lines: Iterable[Text]) -> None:
    """Print lines with colors, on a terminal; what is in them has to be harmless."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    with printing():
        for line in lines:
            console.print(line)


def time_text(at: datetime | None) -> str:
    """Format a time as this machine's clocks show it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else ""


def marks(*marks: tuple[str, bool]) -> str:
    return ", ".join(mark for mark, holds in marks if holds)
