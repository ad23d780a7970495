"""What is there, in the order and by the names in which a file declares it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from core.bridge import Bridge
from core.vendors.mixpanel_project import Project
from data import alert_channels, alert_states, connections, groups, people, syncs
from data.alert_models import AlertChannel
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, Group, Person, Sync, SyncKind


class SyncKey(NamedTuple):
    """What makes two recurring syncs one: the group that they keep."""

    destination: str
    project_id: int
    cohort_id: int


@dataclass(frozen=True)
class PresentSync:
    """A recurring sync with its group and both its connections, which may be removed by now."""

    sync: Sync
    group: Group
    mixpanel: Connection
    destination: Connection

    @property
    def is_stray(self) -> bool:
        """Whether no file can name it: a connection of it was removed, or leads to another project than it reads."""
        gone = self.mixpanel.removed or self.destination.removed
        return gone or self.mixpanel.project_id != self.sync.project_id

    @property
    def is_practice(self) -> bool:
        """Whether it reads from the practice sandbox, or writes there."""
        return self.mixpanel.practice or self.destination.practice

    @property
    def label(self) -> str:
        return f"cohort {self.sync.cohort_id} to {self.destination.name}"


@dataclass(frozen=True)
class Present:
    """The connections, people and recurring syncs of a home; connections and syncs by what a file names them by."""

    mixpanel: dict[str, Connection]
    destinations: dict[str, Connection]
    people: dict[str, Person]
    syncs: dict[SyncKey, PresentSync]
    groups: dict[SyncKey, Group]
    channels: dict[str, AlertChannel]
    failing_after: int

    def find_named(self, ids: Collection[int]) -> dict[SyncKey, PresentSync]:
        """Return those of these syncs that a file can name."""
        return {key: each for key, each in self.syncs.items() if each.sync.id in ids and not each.is_stray}

    def list_connections(self) -> Iterator[Connection]:
        """Yield the connections of both sides."""
        yield from self.mixpanel.values()
        yield from self.destinations.values()


def read_present(bridge: Bridge) -> Present:
    """Read what is there."""
    every = connections.list_with_removed(bridge.engine)
    by_id = {connection.id: connection for connection in every}
    rows = syncs.list_with_group(bridge.engine)
    recurring = [
        PresentSync(sync, group, by_id[sync.mixpanel_id], by_id[group.destination_id])
        for sync, group, _ in rows
        if sync.kind == SyncKind.RECURRING
    ]
    return Present(
        mixpanel=_connected(every, MIXPANEL_SIDE),
        destinations=_connected(every, DESTINATION_SIDE),
        people={person.email: person for person in people.list_people(bridge.engine)},
        syncs={_key(each.group, each.destination.name): each for each in recurring},
        groups={_key(group, name): group for group, name in groups.list_with_destination(bridge.engine)},
        channels={channel.name: channel for channel in alert_channels.list_present(bridge.engine)},
        failing_after=alert_states.read_failing_after(bridge.engine),
    )


def _connected(every: list[Connection], side: str) -> dict[str, Connection]:
    return {each.name: each for each in every if each.side == side and not each.removed}


def _key(group: Group, destination: str) -> SyncKey:
    return SyncKey(destination, group.project_id, group.cohort_id)


def budget_key(base_url: str, project_id: int) -> str:
    """Return what a project's query budget and list of cohorts are kept under."""
    return Project(base_url, project_id, username="", secret="").key
