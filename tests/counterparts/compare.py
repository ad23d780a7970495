"""Is what a reader read the cohort: the same ids as often, with the same properties where it hands them on?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PAGE_SIZE = 1000
Row = Mapping[str, Any]  # a result of the engage query


@dataclass(frozen=True)
class Compared:
    """What became of one cohort at one reader."""

    cohort: int
    read: int = 0
    differs: str = ""  # in what, in words
    cannot: str = ""  # why the reader cannot read it, which is known of it
    partly: bool = False  # it asked for the first page alone


def compare(cohort: int, expected: list[Row], rows: list[Row], *, properties: bool, pages: bool) -> Compared:
    """Compare a cohort with the rows that were read of it."""
    wanted = Counter(_value(row, properties) for row in expected)
    found = Counter(_value(row, properties) for row in rows)
    missing, more = wanted - found, found - wanted
    partly = not pages and len(expected) > PAGE_SIZE
    if partly and len(rows) == PAGE_SIZE:
        missing.clear()  # it cannot know of the others
    ids = Counter(id for id, _ in missing.elements()) & Counter(id for id, _ in more.elements())
    changed = ids.total()
    differs = [
        f"{number:,} {words}"
        for number, words in (
            (missing.total() - changed, "missing"),
            (more.total() - changed, "too many"),
            (changed, "with other properties"),
        )
        if number
    ]
    return Compared(cohort, len(rows), ", ".join(differs), partly=partly)


def compare_all(
    wanted: Mapping[int, list[Row]],
    lines: Iterable[Row],
    *,
    properties: bool,
    pages: bool,
    cannot: Mapping[int, str],
) -> list[Compared]:
    """Compare every cohort with what a driver wrote. A cohort without its closing line was not read to its end."""
    rows: dict[int, list[Row]] = {cohort: [] for cohort in wanted}
    ended, failed = set[int](), dict[int, str]()
    for line in lines:
        cohort = line["cohort"]
        if "distinct_id" in line:
            rows.setdefault(cohort, []).append(line)
        elif "failed" in line:
            failed[cohort] = line["failed"]
        else:
            ended.add(cohort)
    compared = list[Compared]()
    for cohort, found in rows.items():
        if cohort in failed and cohort in cannot:
            compared.append(Compared(cohort, cannot=cannot[cohort]))
        elif cohort in failed:
            compared.append(Compared(cohort, differs=f"failed: {failed[cohort]}"))
        elif cohort not in ended:
            compared.append(Compared(cohort, len(found), "not read to its end"))
        elif cohort not in wanted:
            compared.append(Compared(cohort, len(found), "nobody asked for it"))
        else:
            compared.append(compare(cohort, wanted[cohort], found, properties=properties, pages=pages))
    return compared


def _value(row: Row, properties: bool) -> tuple[Any, ...]:
    id = row["distinct_id"] if "distinct_id" in row else row["$distinct_id"]
    held = row["properties"] if "properties" in row else row.get("$properties")
    return str(id), _comparable(held) if properties else None  # ids may be numbers: Mixpanel's documents call them so


def _comparable(value: Any) -> Any:
    """Make of JSON what can be counted. Truth is no number, and a number is the same with a fraction of nothing."""
    if isinstance(value, dict):
        return "object", tuple(sorted((name, _comparable(held)) for name, held in value.items()))
    if isinstance(value, list):
        return "list", tuple(map(_comparable, value))
    return ("number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__, value)
