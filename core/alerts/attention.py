"""What needs a person: all that Overview lists, and how much that is, for the menu of every page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.access.roles import Actor, Role, action
from core.alerts.listing import OpenAlert, ToldMessage, list_lost_messages, list_open_alerts
from core.bridge import Bridge
from core.reports.overview import AttentionItems, find_restored
from data import attention

# What is not well and has no place of its own on Overview: late groups, queries, the disk.
_OWN = ("sync_late", "budget_too_small", "disk_low")


@dataclass(frozen=True)
class Attention:
    """What needs a person. Messages that may not have arrived are one thing to look at, however many there are."""

    items: AttentionItems
    lost: list[ToldMessage]
    alerts: list[OpenAlert]

    @property
    def count(self) -> int:
        """How many things there are to look at."""
        items = self.items
        return _count(len(items.paused) + len(items.runs), items.restored, self.lost, self.alerts)


@action(Role.VIEWER)
def get_attention(bridge: Bridge, actor: Actor, items: AttentionItems) -> Attention:
    """Return what needs a person: these syncs and runs, and what alerts know besides."""
    listed = {run.group_id for run in items.runs} | {view.group.id for view in items.paused}
    alerts = _select_own(list_open_alerts(bridge, actor), listed)
    return Attention(items, list_lost_messages(bridge, actor), alerts)


@action(Role.VIEWER)
def count_attention(bridge: Bridge, actor: Actor) -> int:
    """Return what `get_attention` would count, at the cost of some small questions, whatever there is."""
    groups = attention.list_groups(bridge.engine)
    alerts = _select_own(list_open_alerts(bridge, actor), groups)
    return _count(len(groups), find_restored(bridge), list_lost_messages(bridge, actor), alerts)


def _select_own(alerts: Sequence[OpenAlert], listed_groups: Collection[int | None]) -> list[OpenAlert]:
    own = [alert for alert in alerts if alert.condition in _OWN]
    return [alert for alert in own if alert.group_id is None or alert.group_id not in listed_groups]


def _count(items: int, restored: object, lost: Sequence[ToldMessage], alerts: Sequence[OpenAlert]) -> int:
    return items + bool(restored) + bool(lost) + len(alerts)
