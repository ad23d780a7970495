"""Which files are kept of a group: its newest snapshots, its newest preview, the excluded profiles of its last read."""

from __future__ import annotations

from collections.abc import Sequence

from core.bridge import Bridge
from data import run_records, run_retention

SNAPSHOTS_KEPT = 30


def forget_old_snapshots(bridge: Bridge, group_id: int) -> None:
    """Keep the newest snapshots of a group, and its base; remove the others. Runs that changed nothing share one."""
    for name in run_records.forget_snapshots(bridge.engine, group_id, keep=SNAPSHOTS_KEPT):
        bridge.snapshots.remove(name)


def forget_tried(bridge: Bridge, names: Sequence[str]) -> None:
    """Remove what earlier deliveries began with, once one was accepted whole, unless a row names it still."""
    for name in run_retention.list_unnamed(bridge.engine, names) if names else ():
        bridge.snapshots.remove(name)


def forget_older_previews(bridge: Bridge, run_id: int) -> None:
    """Keep the difference of a group's newest dry run only: it may be as large as the cohort."""
    for name in run_records.forget_previews(bridge.engine, run_id):
        bridge.snapshots.remove(name)


def forget_older_excluded(bridge: Bridge, run_id: int) -> None:
    """Keep the excluded profiles of a group's latest read only: they are there to be fixed, they are no history."""
    for name in run_records.forget_excluded(bridge.engine, run_id):
        bridge.snapshots.remove(name)
