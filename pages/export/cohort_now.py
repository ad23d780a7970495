"""A cohort as its page shows it: what is known of it at this moment, loaded once for each drawing."""

from __future__ import annotations

from dataclasses import dataclass

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports.group_state import GroupNow, group_states
from core.syncs import groups, listing, runs
from core.syncs.listing import SyncView
from core.vendors.mixpanel_answers import Cohort
from data.models import MIXPANEL_SIDE, Connection, Group, Run, RunFilter, RunStatus, SyncKind
from pages.export.export_settings import ExportNames


@dataclass(frozen=True)
class GroupRuns:
    """A cohort's group at a destination: as it is now, None if it was never delivered, and its newest runs that ended.

    `latest` is a preview where nothing was written since; `export` is the newest that was meant to write, and `held`
    waits for a decision, whatever ended since.
    """

    place: str
    group_id: int
    now: GroupNow | None
    latest: Run | None
    export: Run | None
    held: Run | None


@dataclass(frozen=True)
class CohortNow:
    """A cohort with its destinations, groups, recurring syncs and runs."""

    cohort: Cohort
    project: Connection
    destinations: list[Connection]
    states: list[GroupNow]
    syncs: list[SyncView]
    active: list[Run]
    ended: list[Run]
    """The run of each group that ended last, the last that was meant to write, and the held one, the last one first."""
    groups: list[Group]
    """All groups that it has, those too that were never delivered."""
    newest_run_id: int | None
    """The newest run of a cohort of this number, which another project may have too, whichever of them ended last."""

    @property
    def export_names(self) -> ExportNames:
        """What its exports go by: the names of the connection that is read through, and of its groups."""
        # By the rows, as an export takes them: a run knows the name that its destination had, and another may have now.
        names = {group.destination_id: self._name(group) for group in self.groups}
        places = [place for place in self.destinations if place.id in names]
        return ExportNames(self.project.name, {each.name: names[each.id or 0] for each in places}, self.cohort.name)

    def _name(self, group: Group) -> str:
        """Return the name that the next export gives a group, where nobody asks for another."""
        return group.name if group.may_exist else group.own_name or self.cohort.name

    @property
    def latest_places(self) -> list[str]:
        """The destinations that it went to, or is going to, the latest first."""
        return [run.destination for run in (*self.active, *self.ended)]

    def sync_at(self, place: Connection) -> SyncView | None:
        """Return the recurring sync that keeps the group at a destination."""
        return next((view for view in self.syncs if view.group.destination_id == place.id), None)

    def group_id_at(self, place: Connection) -> int | None:
        """Return the group that was delivered to a destination."""
        return next((state.group.id for state in self.states if state.group.destination_id == place.id), None)

    def group_runs(self) -> list[GroupRuns]:
        """List its groups with their runs, the one that something ended in last first."""
        now = {state.group.id or 0: state for state in self.states}
        runs_of: dict[int, list[Run]] = {group_id: [] for group_id in now}
        for run in self.ended:
            runs_of.setdefault(run.group_id, []).append(run)
        rows = [
            GroupRuns(
                place=now[group_id].destination if group_id in now else own[0].destination,
                group_id=group_id,
                now=now.get(group_id),
                latest=own[0] if own else None,
                export=next((run for run in own if not run.dry_run), None),
                held=next((run for run in own if run.status == RunStatus.HELD and not run.dry_run), None),
            )
            for group_id, own in runs_of.items()
        ]
        turn = {run.id: number for number, run in enumerate(self.ended)}
        return sorted(rows, key=lambda row: turn[row.latest.id] if row.latest else len(turn))


def load(
    bridge: Bridge, person: Actor, cohort: Cohort, connections: list[Connection], project: Connection
) -> CohortNow:
    """Load what is known of a cohort of a project."""
    own = groups.list_of_cohort(bridge, person, cohort.id, project_id=project.project_id)
    ids = [group.id for group in own if group.id is not None]
    # Before the others: a run that begins meanwhile is newer than this, and has the page drawn again.
    newest = runs.list_runs(bridge, person, RunFilter(cohort_id=cohort.id), limit=1)
    active, ended = runs.active_runs(bridge, person, cohort.id), runs.newest_of_cohort(bridge, person, cohort.id)
    return CohortNow(
        cohort=cohort,
        project=project,
        destinations=[connection for connection in connections if connection.side != MIXPANEL_SIDE],
        states=list(group_states(bridge, person, only=ids).values()),
        syncs=[
            view for view in listing.list_syncs(bridge, person, of_groups=ids) if view.sync.kind == SyncKind.RECURRING
        ],
        active=[run for run in active if run.group_id in ids],
        ended=[run for run in ended if run.group_id in ids],
        groups=own,
        newest_run_id=newest[0].id if newest else None,
    )
