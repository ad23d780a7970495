"""How many of their times syncs met, kept from before: of 300 syncs a week is 100,000 runs to look at."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple


class OnTime(NamedTuple):
    """How many of the times that a sync was due at in the last days were met, of those that are over."""

    met: int
    due: int

    @property
    def share(self) -> float | None:
        """The share of them that were met, None before the first is over."""
        return self.met / self.due if self.due else None


class OnTimeKept:
    """What was counted of each sync, with what that depends on. It is counted again once any of that has changed.

    Shared between threads: each replaces whole counts, of which any is a right one.
    """

    def __init__(self) -> None:
        self._kept = dict[int, tuple[Hashable, OnTime]]()

    def find(
        self, asked: Mapping[int, Hashable], count: Callable[[Sequence[int]], Mapping[int, OnTime]]
    ) -> dict[int, OnTime]:
        """Return the counts of syncs, each asked for with what it depends on; `count` counts those not known yet."""
        kept = {sync_id: self._kept[sync_id] for sync_id in asked if sync_id in self._kept}
        unknown = [sync_id for sync_id, depends in asked.items() if sync_id not in kept or kept[sync_id][0] != depends]
        counted = count(unknown)
        kept |= {sync_id: (asked[sync_id], counted[sync_id]) for sync_id in unknown}
        self._kept |= kept
        return {sync_id: kept[sync_id][1] for sync_id in asked}
