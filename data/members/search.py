"""Search of a group's members, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from data.models import Member


@dataclass(frozen=True)
class SearchPage:
    """A page of what was searched for, and how many there are: `is_more` when the count stopped there."""

    rows: list[Member]
    total: int
    is_more: bool = False
