"""All that a run needs to know, loaded at its start."""

from __future__ import annotations

from dataclasses import dataclass

from core.bridge import Bridge
from core.connections.project import match_rule
from core.errors import NotConnected, NotFound
from core.rules.matching import MatchRule
from data.engine import read_session
from data.models import Connection, Group, Run, Sync


@dataclass(frozen=True)
class Job:
    """All that a run needs to know, loaded at its start."""

    run: Run
    sync: Sync
    group: Group
    mixpanel: Connection
    destination: Connection

    @property
    def rule(self) -> MatchRule:
        """How the connection matches users, as far as the sync has no setting of its own."""
        return match_rule(self.mixpanel, self.sync)

    @property
    def snapshot(self) -> str:
        """The name of the snapshot that this run writes."""
        return f"run-{self.run.id:08d}"

    @property
    def difference(self) -> str:
        """The name of the file with the ids that this run adds and removes."""
        return difference_name(self.run)

    @property
    def excluded(self) -> str:
        """The name of the file with the profiles that made no member."""
        return f"excluded-{self.run.id:08d}"


def difference_name(run: Run) -> str:
    """Name the file of the ids that a run adds and removes."""
    return f"difference-{run.id:08d}"


def load(bridge: Bridge, run_id: int) -> Job:
    """Load a run with all that it needs. Raises NotFound, NotConnected."""
    with read_session(bridge.engine) as session:
        run = session.get(Run, run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id}.")
        sync = session.get_one(Sync, run.sync_id)
        group = session.get_one(Group, run.group_id)
        mixpanel = session.get(Connection, sync.mixpanel_id)
        destination = session.get(Connection, group.destination_id)
    if mixpanel is None or mixpanel.removed or mixpanel.project_id != sync.project_id:
        raise NotConnected("The Mixpanel connection of this sync was removed, or leads to another project now.")
    if destination is None or destination.removed:
        raise NotConnected(f"The destination {run.destination} was removed.")
    return Job(run, sync, group, mixpanel, destination)
