"""What people can do: list cohorts, export them, look into groups and runs, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import Session, col, func, select

from core import apptimize, cohorts, quota
from core.access import Actor, Role, action
from core.bridge import Bridge
from core.connections import find_destination, find_mixpanel, one_line
from core.errors import (
    CohortNotExportable,
    GroupTaken,
    NotFound,
    SettingsError,
)
from core.export import project_of, refuse_taken_name, rule_of
from core.http import connect_http
from core.mixpanel import Cohort, Mixpanel, RetryPlan
from data import runs
from data.engine import reading, writing
from data.models import (
    UNFINISHED,
    Connection,
    Group,
    Run,
    Status,
    Sync,
    SyncKind,
    SyncState,
    WorkerBeat,
    utc_now,
)
from data.runs import RunFilter

WORKER_SEEN_WITHIN = timedelta(seconds=60)
NOT_USERS = "A group-analytics cohort: its members are not users."
_NAME_LENGTH = 200


@action(Role.ANALYST)
def list_cohorts(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None, afresh: bool = True) -> list[Cohort]:
    """List the project's cohorts: asked for afresh at the cost of one query, or as last shared if that is recent.

    Raises: NotConnected, VendorError, NoQuerySlot.
    """
    connection = find_mixpanel(bridge, mixpanel)
    project = project_of(bridge, connection)
    if not afresh:
        held = cohorts.kept(bridge.engine, project.key)
        if held is not None:
            return held

    async def ask() -> list[Cohort]:
        async with connect_http() as http:
            retry = RetryPlan(attempts=3, over_s=min(bridge.settings.retry_over_s, 20.0))
            client = Mixpanel(http, project, bridge.engine, retry=retry)
            return await cohorts.read_afresh(bridge.engine, client, project.key)

    return asyncio.run(ask())


@action(Role.VIEWER)
def cohorts_read_at(bridge: Bridge, actor: Actor) -> datetime | None:
    """Tell when the shared list of cohorts was read."""
    key = project_of(bridge, find_mixpanel(bridge)).key
    return cohorts.read_at(bridge.engine, key)


@action(Role.VIEWER)
def query_budget(bridge: Bridge, actor: Actor) -> quota.Budget:
    """Tell how the hour of the connected Mixpanel project stands. Raises NotConnected."""
    return quota.budget(bridge.engine, project_of(bridge, find_mixpanel(bridge)).key)


@action(Role.ANALYST)
def start_export(
    bridge: Bridge,
    actor: Actor,
    cohort_id: int,
    *,
    group: str | None = None,
    to: str | None = None,
    full: bool = False,
    dry_run: bool = False,
    trigger: str = "manual",
    owner: str | None = None,
) -> Run:
    """Queue a one-time export for a worker, or return the one that is queued already.

    With an `owner` the run is nobody else's to take: that process does it itself.

    Without `group` the group follows the cohort's name, or keeps the name of its own that it has. Raises: NotConnected,
    SettingsError, GroupTaken, CohortUnknown, CohortNotExportable (from the shared list of cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    mixpanel = find_mixpanel(bridge)
    destination = find_destination(bridge, to)
    known = known_cohort(bridge, mixpanel, cohort_id)
    with writing(bridge.engine) as session:
        place = place_group(session, mixpanel, destination, cohort_id, known, group)
        sync = _one_time_sync(session, actor, mixpanel, place)
        waiting = session.exec(
            select(Run).where(
                Run.sync_id == sync.id, Run.status == Status.QUEUED, Run.dry_run == dry_run, col(Run.owner).is_(None)
            )
        ).first()
        if waiting and owner is None:
            waiting.full = waiting.full or full
            session.add(waiting)
            return waiting
        run = runs.new_run(
            sync,
            place,
            destination=destination.name,
            trigger=trigger,
            actor=actor.name,
            dry_run=dry_run,
            full=full,
            owner=owner,
        )
        session.add(run)
    return run


def check_cohort_id(cohort_id: int) -> None:
    """Refuse what can be no cohort's id. Raises SettingsError."""
    if not 0 < cohort_id < 2**63:
        raise SettingsError("Cohort: the id is a whole number, as the list of cohorts shows it.")


def known_cohort(bridge: Bridge, mixpanel: Connection, cohort_id: int) -> Cohort | None:
    """Look the cohort up in the shared list. The run itself asks Mixpanel; this only saves people the wait."""
    held = cohorts.kept(bridge.engine, project_of(bridge, mixpanel).key) or []
    found = next((one for one in held if one.id == cohort_id), None)
    if found and found.of_groups:
        raise CohortNotExportable(f"Cohort {cohort_id} is a group-analytics cohort: its members are not users.")
    return found


def place_group(
    session: Session,
    mixpanel: Connection,
    destination: Connection,
    cohort_id: int,
    known: Cohort | None,
    asked: str | None,
) -> Group:
    """Find or make the cohort's one group at the destination, under the name asked for."""
    assert destination.id is not None
    group = session.exec(
        select(Group).where(
            Group.destination_id == destination.id,
            Group.project_id == mixpanel.project_id,
            Group.cohort_id == cohort_id,
        )
    ).first()
    if group is None:
        cohort_name = known.name if known else f"Cohort {cohort_id}"
        group = Group(
            destination_id=destination.id,
            project_id=mixpanel.project_id,
            cohort_id=cohort_id,
            cohort_name=cohort_name,
            name=cohort_name,
        )
    elif known:
        group.cohort_name = known.name
    own_name = one_line(asked, "Group name", most=_NAME_LENGTH) if asked is not None else group.own_name
    if own_name == group.cohort_name:
        own_name = None  # no name of its own: it follows the cohort's
    exists = group.delivered_at is not None or group.in_doubt
    if exists and own_name != group.own_name:
        raise GroupTaken(
            f"Cohort {cohort_id} already has the group {group.name} at {destination.name}.",
            advice="A cohort has one group at a destination: leave the name as it is, or choose another destination.",
        )
    group.own_name, group.name = own_name, own_name or group.cohort_name
    session.add(group)
    session.flush()
    refuse_taken_name(session, group, group.name)
    return group


def _one_time_sync(session: Session, actor: Actor, mixpanel: Connection, group: Group) -> Sync:
    assert mixpanel.id is not None
    assert group.id is not None
    sync = session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.ONE_TIME, col(Sync.state) != SyncState.REMOVED
        )
    ).first()
    if sync is None:
        sync = Sync(
            kind=SyncKind.ONE_TIME,
            mixpanel_id=mixpanel.id,
            group_id=group.id,
            project_id=mixpanel.project_id,
            cohort_id=group.cohort_id,
            created_by=actor.name,
        )
        follow_matching(session, sync)
        session.add(sync)
        session.flush()
    elif sync.mixpanel_id != mixpanel.id:
        sync.mixpanel_id = mixpanel.id
        session.add(sync)
    _require_same_matching(session, sync)
    return sync


def _require_same_matching(session: Session, sync: Sync) -> None:
    """Refuse a sync that would match the users of a group in another way than the recurring one that keeps it.

    Raises: GroupTaken.
    """
    query = select(Sync).where(
        Sync.group_id == sync.group_id,
        Sync.kind == SyncKind.RECURRING,
        col(Sync.state) != SyncState.REMOVED,
        col(Sync.mixpanel_id) != sync.mixpanel_id,
    )
    for other in session.exec(query).all():
        theirs, mine = (session.get_one(Connection, one.mixpanel_id) for one in (other, sync))
        if not theirs.removed and str(rule_of(theirs, other)) != str(rule_of(mine, sync)):
            raise GroupTaken(
                f"Sync {other.id} keeps this group through the connection {theirs.name}, which matches users in "
                f"another way than {mine.name}.",
                advice="Give both connections the same match property and ID merge mode, or use another destination.",
            )


def follow_matching(session: Session, sync: Sync) -> None:
    """Give a new sync the match settings that its group's others have: two of them would undo each other's work."""
    other = session.exec(
        select(Sync).where(Sync.group_id == sync.group_id, col(Sync.state) != SyncState.REMOVED).order_by(col(Sync.id))
    ).first()
    if other:
        sync.match_property, sync.expects_prefix = other.match_property, other.expects_prefix


@action(Role.ANALYST)
def cancel_run(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Stop a run: at once when it waits, at its next heartbeat when it works. Raises NotFound, SettingsError."""
    before = get_run(bridge, actor, run_id)
    if before.status not in UNFINISHED:
        raise SettingsError(f"Run {run_id} has ended already: {before.status}.", advice="There is nothing to cancel.")
    run = runs.ask_to_cancel(bridge.engine, run_id)
    assert run is not None
    return run


@action(Role.VIEWER)
def get_run(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Return a run. Raises NotFound."""
    run = runs.get(bridge.engine, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.", advice="See the list of runs: `python -m core runs`, or History.")
    return run


@action(Role.VIEWER)
def list_runs(
    bridge: Bridge, actor: Actor, wanted: RunFilter | None = None, *, limit: int = 50, offset: int = 0
) -> list[Run]:
    """List runs, newest first."""
    return runs.list_runs(bridge.engine, wanted or RunFilter(), limit=limit, offset=offset)


@action(Role.VIEWER)
def count_runs(bridge: Bridge, actor: Actor, wanted: RunFilter | None = None) -> int:
    """Count the runs that `list_runs` pages through."""
    return runs.count_runs(bridge.engine, wanted or RunFilter())


@action(Role.VIEWER)
def active_runs(bridge: Bridge, actor: Actor, cohort_id: int | None = None) -> list[Run]:
    """List the runs that are queued, waiting or running, newest first."""
    found = runs.list_runs(bridge.engine, RunFilter(statuses=UNFINISHED), limit=100)
    return [run for run in found if cohort_id is None or run.cohort_id == cohort_id]


@action(Role.VIEWER)
def list_groups(bridge: Bridge, actor: Actor) -> list[Group]:
    """List the groups that were delivered, by id."""
    return runs.list_groups(bridge.engine)


@action(Role.VIEWER)
def find_group(bridge: Bridge, actor: Actor, cohort_id: int, *, to: str | None = None) -> Group:
    """Find a cohort's delivered group; the destination may be left out while one has it. Raises NotFound."""
    destination = find_destination(bridge, to) if to else None
    found = [
        group
        for group in runs.list_groups(bridge.engine)
        if group.cohort_id == cohort_id and (destination is None or group.destination_id == destination.id)
    ]
    if not found:
        raise NotFound(f"Cohort {cohort_id} has no group yet.", advice="Export it first.")
    if len(found) > 1:
        raise SettingsError("Destination: the cohort has groups at several.", advice="Choose one with --to NAME.")
    return found[0]


@action(Role.VIEWER)
def group_csv(bridge: Bridge, actor: Actor, group_id: int) -> Iterator[str]:
    """Yield the lines of the group's `user_id` CSV, ids byte for byte. Raises NotFound, StorageFailed."""
    name = _base(bridge, group_id)
    return apptimize.csv_lines(apptimize_id for chunk in bridge.snapshots.iterate(name) for apptimize_id, _ in chunk)


@action(Role.VIEWER)
def save_group_csv(bridge: Bridge, actor: Actor, group_id: int, target: Path) -> int:
    """Write the group's `user_id` CSV to a file, whole or not at all, and return how many members it has.

    Raises: NotFound, StorageFailed.
    """
    name = _base(bridge, group_id)
    ids = (apptimize_id for chunk in bridge.snapshots.iterate(name) for apptimize_id, _ in chunk)
    return apptimize.save_csv(ids, target, expected=bridge.snapshots.count(name))


def _base(bridge: Bridge, group_id: int) -> str:
    with reading(bridge.engine) as session:
        group = session.get(Group, group_id)
    if group is None or group.base_snapshot is None:
        raise NotFound("This group was not delivered yet.", advice="Export its cohort first.")
    return group.base_snapshot


@action(Role.VIEWER)
def worker_seen_at(bridge: Bridge, actor: Actor) -> datetime | None:
    """Tell when a worker last gave a sign of life, None if none ever did."""
    with reading(bridge.engine) as session:
        return session.exec(select(func.max(WorkerBeat.seen_at))).one()


@action(Role.VIEWER)
def worker_is_up(bridge: Bridge, actor: Actor) -> bool:
    """Tell whether a worker is there to do what is queued."""
    seen = worker_seen_at(bridge, actor)
    return seen is not None and utc_now() - seen < WORKER_SEEN_WITHIN
