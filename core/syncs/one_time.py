"""What people can do: list cohorts, export them, look into groups and runs, cancel."""

from __future__ import annotations

from sqlmodel import Session, col, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import find_destination, find_mixpanel
from core.syncs.cohorts import check_cohort_id, known_cohort
from core.syncs.placing import follow_matching, place_group, require_same_matching
from data import leases, run_queue
from data.engine import write_session
from data.models import Connection, Group, LeaseKind, Run, RunStatus, Sync, SyncKind, SyncState


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
    lease_owner: str | None = None,
) -> Run:
    """Queue a one-time export for a worker, or return the one that is queued already.

    With a `lease_owner` the run is nobody else's to take: that process does it itself.

    Without `group` the group follows the cohort's name, or keeps the name of its own that it has. Raises: NotConnected,
    SettingsError, GroupTaken, CohortUnknown, CohortNotExportable (from the shared list of cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    mixpanel = find_mixpanel(bridge)
    destination = find_destination(bridge, to)
    now = bridge.clock.now()
    known = known_cohort(bridge, mixpanel, cohort_id)
    with write_session(bridge.engine) as session:
        place = place_group(session, mixpanel, destination, cohort_id, known, group)
        sync = _one_time_sync(session, actor, mixpanel, place)
        waiting = session.exec(
            select(Run).where(
                Run.sync_id == sync.id,
                Run.status == RunStatus.QUEUED,
                Run.dry_run == dry_run,
                ~leases.is_held(LeaseKind.RUN, Run.id),
            )
        ).first()
        if waiting and lease_owner is None:
            waiting.force_full = waiting.force_full or full
            session.add(waiting)
            return waiting
        run = run_queue.new_run(
            sync,
            place,
            destination=destination.name,
            trigger=trigger,
            actor=actor.name,
            dry_run=dry_run,
            force_full=full,
            now=now,
        )
        if lease_owner is None:
            session.add(run)
        else:
            run_queue.keep_for(session, run, lease_owner, now=now)
    return run


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
    require_same_matching(session, sync)
    return sync
