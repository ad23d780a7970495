"""CSV for people's spreadsheets: no cell in it is ever taken for a formula. The `user_id` CSV is not made here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

# What Excel, LibreOffice and Google Sheets begin a formula with (owasp.org, CSV injection, read 2026-11-24).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: object) -> str:
    """Format a value for a cell: text that would be a formula gets an apostrophe, times are ISO in UTC."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    return f"'{text}" if text.lstrip(" \0").startswith(_FORMULA) or text.startswith(_FORMULA) else text


def lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a CSV line by line, header first. Its first character marks it as UTF-8 for Excel."""
    written: list[str] = []

    class _Sink:
        def write(self, line: str) -> int:
            written.append(line)
            return len(line)

    out = csv.writer(_Sink(), lineterminator="\r\n")
    out.writerow(header)
    yield "\ufeff" + written.pop()
    for row in rows:
        out.writerow([cell(value) for value in row])
        yield written.pop()
