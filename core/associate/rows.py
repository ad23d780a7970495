"""A file of users to associate, read row by row: the two ids of each row, or what is wrong with it.

A record is a line: no id holds a line break, and so a quote that is never closed spoils its own line alone.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

from core.errors import SettingsError
from core.invisible import INVISIBLE, is_unseen
from core.rules.matching import MAX_LENGTH, PREFIXES
from core.rules.suspect_ids import Suspect, Warn, bare, find_suspicions, may_be_suspect
from core.text import LONGEST_USER_ID, SURROGATE
from data.members import association_check
from data.members.association_rows import RawRow
from data.models import Member

MOST_ROWS = 1_000_000
_LONGEST_LINE = 2**20
# Rows that are not written are kept cut to this, to look at.
_SHOWN = 10_000
_COLUMNS = {
    "distinct_id": ("distinct_id", "$distinct_id", "mixpanel_distinct_id", "mixpanel distinct id", "distinct id"),
    "apptimize_id": ("apptimize_id", "$apptimize_user_id", "apptimize_user_id", "apptimize id"),
}
# What Excel writes, and asks for, before the header: the delimiter, which is seen from the header as well.
_EXCELS_OWN = re.compile(rb'"?sep=.?"?[\r\n]*', re.IGNORECASE)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# Values that Mixpanel takes for no id at all (docs reference/import-events, read 2026-11-23).
_NO_IDS = frozenset(
    ("00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined")
    + ("unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}")
)


class Problem(StrEnum):
    """Why a row is not written, besides what makes its ids look like none: `Suspect`."""

    QUOTES = "quotes"
    COLUMNS = "columns"
    ENCODING = "encoding"
    LINE_TOO_LONG = "line_too_long"
    NO_DISTINCT_ID = "no_distinct_id"
    NO_APPTIMIZE_ID = "no_apptimize_id"
    NOTHING_SEEN = "nothing_seen"
    CONTROL_CHARACTER = "control_character"
    SPACES = "spaces"
    FORMULA = "formula"
    NOT_AN_ID = "not_an_id"
    TOO_LONG = association_check.TOO_LONG
    SWAPPED = "swapped"
    # Of all rows together:
    UNPREFIXED = association_check.UNPREFIXED
    REPEATED = association_check.REPEATED
    CONFLICT = association_check.CONFLICT
    SHARED = association_check.SHARED
    CROSSED = association_check.CROSSED
    OTHERS_ID = association_check.OTHERS_ID


PROBLEMS: dict[str, str] = {
    Problem.QUOTES: "The quotes of the row do not match up.",
    Problem.COLUMNS: "The row has not as many columns as the header.",
    Problem.ENCODING: "The row is not UTF-8 text.",
    Problem.LINE_TOO_LONG: "The row is longer than a row can be.",
    Problem.NO_DISTINCT_ID: "The distinct id is blank.",
    Problem.NO_APPTIMIZE_ID: "The Apptimize id is blank.",
    Problem.NOTHING_SEEN: "An id is nothing but a prefix, or invisible characters.",
    Problem.CONTROL_CHARACTER: "The row holds a control character, such as a line break within it.",
    Problem.SPACES: "An id begins or ends with a space.",
    Problem.FORMULA: "An id begins with =, as a formula of a spreadsheet does.",
    Problem.NOT_AN_ID: "Mixpanel takes this value for no id at all.",
    Problem.TOO_LONG: f"An id is too long: at most {MAX_LENGTH} characters, {LONGEST_USER_ID:,} for a distinct id.",
    Problem.SWAPPED: "The two ids look swapped: the distinct id starts with i_ or a_, the other does not.",
    Suspect.EXPONENT: "An id is a number in exponent form, such as 1.2E+15: its last digits are gone.",
    Suspect.THOUSANDS: "An id is a number with separators between its thousands, such as 1,234,567.",
    Suspect.SPREADSHEET_ERROR: "An id is an error of a spreadsheet, such as #N/A or ####.",
    Suspect.EMPTY_MARKER: "An id is what a program writes for an empty cell, such as nan or null.",
    Suspect.TRUTH_VALUE: "An id is true or false.",
    Suspect.DATE: "An id is a date or a time, as a spreadsheet makes of ids such as 11-26.",
    Suspect.QUOTATION_MARK: "An id begins with a quotation mark, as downloads for spreadsheets put before a sign.",
    Suspect.LOST_CHARACTER: "An id holds \ufffd, which stands for a character that was lost.",
    Suspect.PROGRAM_VALUE: "An id is written as a program shows a value, such as ['i_1'] or np.int64(1).",
    Suspect.CUT_OFF: "An id ends with ..., as a program shows one whose end it leaves out.",
    Suspect.TABLE_LABEL: "An id is the name of a column, or a total, as tables have around their rows.",
    Suspect.INVISIBLE_ENDS: "An id begins or ends with an invisible character, such as a zero-width space.",
    Warn.DECIMAL_ZERO: "An id ends with .0: a program has taken it for a number.",
    Warn.DIGITS_LOST: "An id is a number with nothing but zeros after its 15th digit, as spreadsheets round it.",
    Warn.INVISIBLE_INSIDE: "An id holds an invisible character, such as a zero-width space.",
    Problem.UNPREFIXED: "The Apptimize id starts with neither i_ nor a_.",
    Problem.REPEATED: "An earlier row is the same: it counts once.",
    Problem.CONFLICT: "Another row gives this user another Apptimize id.",
    Problem.SHARED: "Another row gives this Apptimize id to another user.",
    Problem.CROSSED: "The Apptimize id of a row is the distinct id of another: one user would get the other's id.",
    Problem.OTHERS_ID: "The distinct id is known as another user's Apptimize id: that user would be changed.",
}
# Rows with these are written only where a person accepts the problem; rows with those are written and shown.
ACCEPTABLE = tuple(Suspect)
WARNINGS = tuple(Warn)
_ORDER = (*ACCEPTABLE, *WARNINGS)


@dataclass(frozen=True)
class _Layout:
    """How the file is written: its delimiter, how many columns, and which of them hold the ids."""

    delimiter: str
    width: int
    distinct_id: int
    apptimize_id: int


def read_rows(file: IO[bytes], *, expects_prefix: bool) -> Iterator[RawRow]:
    """Yield every row of the file with its line's number; blank lines are no rows. One line is in memory.

    Raises: SettingsError when the file as a whole cannot be used: no header, a missing column, no text, too many rows.
    """
    lines = _lines(file)
    _, header = next(lines, (1, b""))
    if _EXCELS_OWN.fullmatch(header):
        _, header = next(lines, (1, b""))
    layout = _read_layout(header)
    count = 0
    for number, line in lines:
        if not line.strip():
            continue
        count += 1
        if count > MOST_ROWS:
            raise SettingsError(f"File: it has more than {MOST_ROWS:,} rows.", advice="Split it into several files.")
        yield _row(number, line, layout, expects_prefix=expects_prefix)
    if not count:
        raise SettingsError("File: there is no row below the header.", advice="Add a row for each user.")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; a line that is too long is cut just after the limit."""
    start = file.read(8)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start[:4]:
        raise SettingsError("File: it is UTF-16 text.", advice="Save it as CSV UTF-8, then try again.")
    if start.startswith(_WORKBOOKS):
        raise SettingsError("File: it is a workbook, and no text.", advice="Save it as CSV UTF-8, then try again.")
    if start.startswith(codecs.BOM_UTF8):
        file.seek(3)
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        rest = line
        while len(rest) > _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE + 1)
        yield number, line


def _read_layout(header: bytes) -> _Layout:
    try:
        text = header.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError("File: its header is not UTF-8 text.", advice="Save it as CSV UTF-8.") from None
    if "\r" in text and not header.endswith(b"\n"):
        raise SettingsError("File: all of it is one line.", advice="Save it as CSV UTF-8, not as CSV for Macintosh.")
    delimiter = max(",;\t", key=text.count)
    names = [
        INVISIBLE.sub("", name).strip().lower()
        for name in next(csv.reader([text.replace("\r", " ")], delimiter=delimiter), list[str]())
    ]
    places = dict[str, int]()
    for column, spellings in _COLUMNS.items():
        matches = [place for place, name in enumerate(names) if name in spellings]
        if len(matches) != 1:
            what = "is missing" if not matches else "is there twice"
            raise SettingsError(
                f"File: the column {column} {what}.",
                advice="The first line names the columns: distinct_id,apptimize_id.",
            )
        places[column] = matches[0]
    return _Layout(delimiter, len(names), places["distinct_id"], places["apptimize_id"])


def _row(number: int, line: bytes, layout: _Layout, *, expects_prefix: bool) -> RawRow:
    if len(line) > _LONGEST_LINE:
        return _bad_line(number, line[:200].decode(errors="replace"), Problem.LINE_TOO_LONG)
    text = line.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    cells = _cells(text, layout)
    if isinstance(cells, Problem):
        return _bad_line(number, text, cells)
    if len(cells) != layout.width:
        return _bad_line(number, text, Problem.COLUMNS)
    member = Member(apptimize_id=cells[layout.apptimize_id], distinct_id=cells[layout.distinct_id])
    problem = _find_problem(member, expects_prefix=expects_prefix)
    if problem is not None:
        member = Member(_shown(member.apptimize_id), _shown(member.distinct_id))
    return RawRow(number, member, problem)


def _bad_line(number: int, text: str, problem: Problem) -> RawRow:
    """Keep a line whose columns cannot be distinguished where the screens show the distinct id."""
    return RawRow(number, Member(apptimize_id="", distinct_id=_shown(text)), problem)


def _cells(text: str, layout: _Layout) -> Sequence[str] | Problem:
    if '"' not in text:
        return text.split(layout.delimiter)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True))
    except csv.Error:
        return Problem.QUOTES
    # A lone CR ends a record for the reader, though not the line.
    return records[0] if len(records) == 1 else Problem.CONTROL_CHARACTER


def _shown(text: str) -> str:
    """Make a text that is not written fit to be kept and shown."""
    return SURROGATE.sub("\ufffd", text[:_SHOWN])


def _find_problem(member: Member, *, expects_prefix: bool) -> str | None:
    """Return what is wrong with a row by itself, None if nothing is.

    Problems that a person may accept, and warnings after them, are all returned, with a blank between them.
    """
    apptimize_id, distinct_id = member
    both = distinct_id + apptimize_id
    if not both.isascii() and SURROGATE.search(both):
        return Problem.ENCODING
    if not distinct_id.strip():
        return Problem.NO_DISTINCT_ID
    if not apptimize_id.strip():
        return Problem.NO_APPTIMIZE_ID
    if not both.isprintable() and _CONTROL.search(both):
        return Problem.CONTROL_CHARACTER
    if distinct_id != distinct_id.strip() or apptimize_id != apptimize_id.strip():
        return Problem.SPACES
    if distinct_id.startswith("=") or apptimize_id.startswith("="):
        return Problem.FORMULA
    if distinct_id.lower() in _NO_IDS or apptimize_id.lower() in _NO_IDS:
        return Problem.NOT_AN_ID
    if len(distinct_id) > LONGEST_USER_ID or len(apptimize_id) > MAX_LENGTH:
        return Problem.TOO_LONG
    if expects_prefix and distinct_id.startswith(PREFIXES) and not apptimize_id.startswith(PREFIXES):
        return Problem.SWAPPED
    return _find_suspicions(distinct_id, apptimize_id) if may_be_suspect(distinct_id, apptimize_id) else None


def _find_suspicions(distinct_id: str, apptimize_id: str) -> str | None:
    if is_unseen(bare(distinct_id)) or is_unseen(bare(apptimize_id)):
        return Problem.NOTHING_SEEN
    suspicions = (*find_suspicions(distinct_id), *find_suspicions(apptimize_id))
    return " ".join(sorted(set(suspicions), key=_ORDER.index)) if suspicions else None
