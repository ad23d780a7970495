"""Search of a group's members, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass  # below it is imported where it is used: most commands end sooner than that takes


Pair = tuple[str, str]


@dataclass(frozen=True)
class SearchPage:
    """A page of what was searched for, and how many there are: `is_more` when the count stopped there."""

    rows: list[Pair]
    total: int
    is_more: bool = False
