"""How the engage query cuts its answer into pages, and in which other ways a server might."""

from dataclasses import dataclass
from typing import Any

from core.sandbox.people import Person
from core.sandbox.project import Session
from core.sandbox.wire import Refused

PAGE_SIZE = 1000
# Undocumented: connectors in production send 250 to 50,000 and page by their own number, so the server honours it.
MAX_PAGE_SIZE = 50_000
# Faults of a server that makes smaller pages than it was asked for, each in its own way.
_SMALLER = (
    "page_size_capped",
    "page_size_unsaid",
    "page_size_held_back",
    "page_size_cut",
    "page_size_cut_smaller",
)


@dataclass(frozen=True)
class Cut:
    """A page: its rows, and what it says of its size and of all of them."""

    rows: list[Person]
    page_size: int
    total: int


def cut_page(session: Session, page: int, faults: dict[str, dict[str, Any]]) -> Cut:
    """Return a page of a session, as the faults that are on make it."""
    people, size = session.results, session.page_size
    people = people[:size] if "page_size_as_limit" in faults else people
    fault = next((name for name in _SMALLER if name in faults), "")
    kept = min(size, faults[fault]["rows"]) if fault else size
    step = size if fault.startswith("page_size_cut") else kept
    last = max(0, len(people) - 1) // step
    if page > last and "page_past_end_refused" in faults:
        raise Refused(400, "no such page")
    shown = last if page > last and "page_past_end" in faults else page
    shown = shown - 1 if "page_repeated" in faults and shown else shown
    rows = people[shown * step : shown * step + kept]
    if missing := faults.get("page_rows_missing"):
        rows = rows[: max(0, len(rows) - missing["rows"])]
    total = len(people) + faults.get("total_wrong", {}).get("by", 0)
    if fault == "page_size_held_back":
        total = len(rows)
    elif step > kept:
        total = sum(min(kept, len(people) - start) for start in range(0, len(people), step))
    said = kept if fault in ("page_size_capped", "page_size_cut_smaller") else size
    if page and (changed := faults.get("page_size_changed")):
        said = changed["rows"]
    return Cut(rows, said, total)
