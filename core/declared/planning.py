"""Comparing a file with what is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.bridge import Bridge
from core.declared.entries import ChannelEntry, Document, EndpointEntry, SyncEntry
from core.declared.environment import Environment
from core.declared.plan import NOT_IN_FILE, Change, Plan, Planning
from core.declared.plan_channels import plan_channels
from core.declared.plan_connections import list_neighbors, plan_connections
from core.declared.plan_people import plan_people
from core.declared.plan_syncs import check_room, plan_syncs
from core.declared.present import Present, PresentSync, SyncKey, read_present
from data.alert_models import AlertChannel
from data.models import MIXPANEL_SIDE, Connection

_STAY = "Its group stays as it is at the destination."
_FORGOTTEN = "Its secrets are forgotten; its groups stay as they are."


@dataclass(frozen=True)
class _Left:
    """What is there and not in the file."""

    syncs: dict[SyncKey, PresentSync]
    connections: list[Connection]
    channels: list[AlertChannel]


def make_plan(bridge: Bridge, document: Document, environment: Environment, *, prune: bool) -> Plan:
    """Return what a file would change, and all that is wrong with it as far as no vendor has to be asked."""
    present = read_present(bridge)
    planning = Planning(bridge, document, present, environment, prune)
    plan_connections(planning)
    _check_places(planning)
    plan_people(planning)
    named = plan_syncs(planning)
    left = _list_left(planning, named)
    removals = [_removed_sync(each) for each in left.syncs.values()]
    removals += [_removed_connection(each) for each in left.connections]
    removals += [_removed_channel(each) for each in left.channels]
    removed = left.syncs if prune else ()
    check_room(planning, named, removed)
    plan_channels(planning, named, removed)
    _plan_alerts(planning)
    plan = planning.plan
    if prune:
        plan.changes = removals + plan.changes
    else:
        plan.left = removals
    if plan.unset:
        plan.notes.append(f"Not compared, since they are not set: {', '.join(plan.unset)}.")
    return plan


def _plan_alerts(planning: Planning) -> None:
    entry, before = planning.document.alerts, planning.present.failing_after
    if entry and entry.failing_after != before:
        fields = {"failing_after": (before, entry.failing_after)}
        planning.plan.changes.append(Change("change", entry.kind, entry.label, fields, entry=entry))


def _check_places(planning: Planning) -> None:
    """Refuse two receivers of the file at one address, unless it says of one that its groups are kept apart."""
    destinations = [each for each in planning.document.destinations if isinstance(each, EndpointEntry)]
    for number, entry in enumerate(destinations):
        for other in list_neighbors(planning, entry):
            if destinations.index(other) < number and not (entry.apart or other.apart):
                planning.refuse(
                    entry,
                    "endpoint",
                    f"{other.name} leads to this address too: write apart = true in one of the two, if they are two "
                    "workspaces.",
                )


def _list_left(planning: Planning, named: dict[SyncKey, SyncEntry]) -> _Left:
    """List what the file covers and does not name. A connection that something else uses is no such thing."""
    present, document = planning.present, planning.document
    covered = {key: each for key, each in present.syncs.items() if _covers(planning, each) and key not in named}
    staying = [each for key, each in present.syncs.items() if key not in covered and key not in named]
    used = {(MIXPANEL_SIDE, entry.mixpanel) for entry in named.values()}
    used |= {(MIXPANEL_SIDE, each.name) for each in document.mixpanel}
    used |= {(MIXPANEL_SIDE, each.mixpanel.name) for each in staying}
    used |= {("destination", entry.destination) for entry in named.values()}
    used |= {("destination", each.name) for each in document.destinations}
    used |= {("destination", each.destination.name) for each in staying}
    connections = [each for each in _connections(present, document) if (each.side, each.name) not in used]
    names = {each.name for each in document.channels}
    return _Left(covered, connections, [each for each in present.channels.values() if each.name not in names])


def _connections(present: Present, document: Document) -> Iterable[Connection]:
    return [each for each in present.list_connections() if document.practice or not each.practice]


def _covers(planning: Planning, sync: PresentSync) -> bool:
    return not sync.is_stray and (planning.document.practice or not sync.is_practice)


def _removed_sync(sync: PresentSync) -> Change:
    return Change("remove", SyncEntry.kind, sync.label, {}, (NOT_IN_FILE, _STAY), present=sync)


def _removed_connection(connection: Connection) -> Change:
    kind = "mixpanel" if connection.side == MIXPANEL_SIDE else "destination"
    return Change("remove", kind, connection.name, {}, (NOT_IN_FILE, _FORGOTTEN), present=connection)


def _removed_channel(channel: AlertChannel) -> Change:
    return Change("remove", ChannelEntry.kind, channel.name, {}, (NOT_IN_FILE,), present=channel)
