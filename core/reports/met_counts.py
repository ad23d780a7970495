"""How many of their times syncs met, kept from before: of 300 syncs a week is 100,000 runs to look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from data import run_history
from data.engine import Engine
from data.models import Run
from data.run_history import SlotGrid


class _Counted(NamedTuple):
    """What was counted of a sync, and what it depends on: its times, and how its latest run was."""

    grid: SlotGrid
    latest: tuple[int | None, str, datetime | None]
    met: int


class MetCounts:
    """What was counted of each sync. It is counted again once one more of its times is over, or its latest run ended.

    Shared between threads: each replaces whole counts, of which any is a right one.
    """

    def __init__(self) -> None:
        self._counted = dict[int, _Counted]()

    def count(self, engine: Engine, grids: Mapping[SlotGrid, Run | None]) -> dict[int, int]:
        """Count as `run_history.count_met` does, by sync; `grids` come with the latest run of each sync."""
        latest = {grid: _state_of(run) for grid, run in grids.items()}
        unknown = [grid for grid in grids if not self._knows(grid, latest[grid])]
        met = run_history.count_met(engine, unknown)
        self._counted |= {grid.sync_id: _Counted(grid, latest[grid], met.get(grid.sync_id, 0)) for grid in unknown}
        return {grid.sync_id: self._counted[grid.sync_id].met for grid in grids}

    def _knows(self, grid: SlotGrid, latest: tuple[int | None, str, datetime | None]) -> bool:
        counted = self._counted.get(grid.sync_id)
        return counted is not None and counted[:2] == (grid, latest)


def _state_of(run: Run | None) -> tuple[int | None, str, datetime | None]:
    return (run.id, run.status, run.finished_at) if run else (None, "", None)
