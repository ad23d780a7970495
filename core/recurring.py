"""Recurring syncs: when they are due, what the project's queries allow, and what people do with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Engine, update
from sqlmodel import Session, col, select

from core.access import Actor, Role, action
from core.bridge import Bridge
from core.cohorts import SHARED_FOR
from core.connections import find_destination, find_mixpanel, one_line
from core.errors import BudgetTooSmall, NotConnected, NotFound, SettingsError
from core.export import permit, project_of, rule_of
from core.matching import MatchRule
from core.syncs import check_cohort_id, follow_matching, known_cohort, place_group
from data import runs, standing
from data.engine import reading, writing
from data.models import (
    UNFINISHED,
    Connection,
    Group,
    QueryBudget,
    Run,
    Status,
    Sync,
    SyncKind,
    SyncState,
    utc_now,
)

INTERVALS = (15, 30, 60, 1440)
# The golden ratio's fraction spreads any number of syncs evenly over an interval, whichever of them go.
_SPREAD = 0.6180339887498949
# Clocks of two machines differ, and time passes between reading a clock and reading the database.
_SKEW = timedelta(minutes=5)
_TAG_LENGTH, _MOST_TAGS = 40, 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SyncView:
    """A sync with what a person wants to see beside it."""

    sync: Sync
    group: Group
    destination: str
    last_run: Run | None


def next_slot(sync_id: int, every_minutes: int, *, after: datetime) -> datetime:
    """The first time after `after` on the sync's own steady grid; in UTC, so that no clock change moves it."""
    every_s = every_minutes * 60
    phase_s = int(sync_id * _SPREAD % 1 * every_s)
    passed_s = int((after - _EPOCH).total_seconds()) - phase_s
    return _EPOCH + timedelta(seconds=phase_s + (passed_s // every_s + 1) * every_s)


def queue_due(engine: Engine, *, now: datetime | None = None, limit: int = 50) -> int:
    """Queue a run of each sync that is due, one however many slots were missed, and move it to its next slot.

    A slot clearly further away than the interval was planned before the clock was set back: it is due as well.
    """
    now = now or utc_now()
    with reading(engine) as session:
        active = select(Sync).where(Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE)
        found = session.exec(active.order_by(col(Sync.next_run_at), col(Sync.id))).all()
    due = [sync for sync in found if _is_due(sync, now)]
    return sum(_queue(engine, sync, now) for sync in due[:limit])


def _is_due(sync: Sync, now: datetime) -> bool:
    assert sync.every_minutes is not None
    at = sync.next_run_at
    return at is None or at <= now or at > now + timedelta(minutes=sync.every_minutes) + _SKEW


def _queue(engine: Engine, sync: Sync, now: datetime) -> bool:
    assert sync.id is not None
    assert sync.every_minutes is not None
    with writing(engine) as session:
        moved = session.exec(
            update(Sync)
            .where(
                col(Sync.id) == sync.id,
                col(Sync.state) == SyncState.ACTIVE,
                col(Sync.next_run_at).is_not_distinct_from(sync.next_run_at),
            )
            .values(next_run_at=next_slot(sync.id, sync.every_minutes, after=now))
        )
        # Another worker was faster, or the last run still waits or works: this slot is its as well.
        if moved.rowcount != 1 or _unfinished(session, sync.id):
            return False
        session.add(_new_run(session, sync, trigger="schedule", actor="schedule"))
        return True


def _unfinished(session: Session, sync_id: int) -> Run | None:
    query = select(Run).where(Run.sync_id == sync_id, col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False))
    return session.exec(query.order_by(col(Run.id))).first()


def _new_run(
    session: Session,
    sync: Sync,
    *,
    trigger: str,
    actor: str,
    full: bool = False,
    permitted: bool = False,
    restores: str | None = None,
) -> Run:
    group = session.get_one(Group, sync.group_id)
    destination = session.get_one(Connection, group.destination_id)
    return runs.new_run(
        sync,
        group,
        destination=destination.name,
        trigger=trigger,
        actor=actor,
        dry_run=False,
        full=full,
        permitted=permitted,
        restores=restores,
    )


# --- the budget ----------------------------------------------------------------------------------------------------


def queries_an_hour(intervals: Sequence[int]) -> float:
    """How many counted queries recurring syncs at these intervals need: one a run, and the shared list of cohorts."""
    reads = sum(60 / every for every in intervals)
    return reads + min(reads, 60 / (SHARED_FOR.total_seconds() / 60))


def _require_room(session: Session, limit: int, project_id: int, every: int, *, leave_out: int | None = None) -> None:
    present = [
        other
        for sync_id, other in session.exec(
            select(Sync.id, Sync.every_minutes).where(
                Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE, Sync.project_id == project_id
            )
        ).all()
        if other and sync_id != leave_out
    ]
    if queries_an_hour([*present, every]) <= limit:
        return
    longer = [other for other in INTERVALS if other > every]
    fitting = [other for other in longer if queries_an_hour([*present, other]) <= limit]
    together = [other for other in longer if queries_an_hour([max(other, one) for one in [*present, every]]) <= limit]
    if fitting:
        advice = f"It fits every {_interval(fitting[0])}."
    elif together:
        advice = f"All {len(present) + 1} fit every {_interval(together[0])}: give the others that interval first."
    else:
        advice = "No interval fits: pause or remove another sync."
    raise BudgetTooSmall(
        f"Mixpanel allows this project {limit} queries an hour, and {len(present)} recurring syncs use them: one more "
        f"every {_interval(every)} does not fit.",
        advice=advice,
    )


def _interval(minutes: int) -> str:
    return {60: "hour", 1440: "day"}.get(minutes, f"{minutes} minutes")


def _limit(bridge: Bridge, mixpanel: Connection) -> int:
    with reading(bridge.engine) as session:
        key = project_of(bridge, mixpanel).key
        return (session.get(QueryBudget, key) or QueryBudget(project=key)).queries


def _mixpanel_of(bridge: Bridge, sync_id: int) -> Connection:
    """Return the sync's own connection: another project's limit says nothing of it. Raises NotConnected."""
    with reading(bridge.engine) as session:
        connection = session.get_one(Connection, _recurring(session, sync_id).mixpanel_id)
    if connection.removed:
        raise NotConnected("The Mixpanel connection of this sync was removed.")
    return connection


# --- what people do ------------------------------------------------------------------------------------------------


@action(Role.ANALYST)
def add_sync(
    bridge: Bridge,
    actor: Actor,
    cohort_id: int,
    *,
    every_minutes: int = 15,
    group: str | None = None,
    to: str | None = None,
    max_shrink: int | None = None,
    tags: Sequence[str] = (),
) -> Sync:
    """Start a recurring sync; its first run is due at once.

    Raises: NotConnected, SettingsError naming the field, GroupTaken, BudgetTooSmall with an interval that would fit,
    CohortUnknown and CohortNotExportable (from the shared list of cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    _check(every_minutes, max_shrink)
    mixpanel, destination = find_mixpanel(bridge), find_destination(bridge, to)
    known, limit = known_cohort(bridge, mixpanel, cohort_id), _limit(bridge, mixpanel)
    with writing(bridge.engine) as session:
        place = place_group(session, mixpanel, destination, cohort_id, known, group)
        _refuse_second(session, place)
        _require_room(session, limit, mixpanel.project_id, every_minutes)
        assert mixpanel.id is not None
        assert place.id is not None
        sync = Sync(
            kind=SyncKind.RECURRING,
            mixpanel_id=mixpanel.id,
            group_id=place.id,
            project_id=mixpanel.project_id,
            cohort_id=cohort_id,
            every_minutes=every_minutes,
            max_shrink=max_shrink,
            next_run_at=utc_now(),
            tags=checked_tags(tags),
            created_by=actor.name,
        )
        follow_matching(session, sync)
        session.add(sync)
    return sync


def checked_tags(tags: Sequence[str]) -> list[str]:
    """Return tags as they are kept: trimmed, each once, in order. Raises SettingsError."""
    found = sorted({one_line(tag, "Tag", most=_TAG_LENGTH) for tag in tags if tag.strip()}, key=str.casefold)
    if len(found) > _MOST_TAGS:
        raise SettingsError(f"Tags: a sync has at most {_MOST_TAGS}.")
    return found


def _check(every_minutes: int, max_shrink: int | None) -> None:
    if every_minutes not in INTERVALS:
        raise SettingsError("Interval: choose 15, 30, 60 or 1440 minutes.")
    if max_shrink is not None and not 0 <= max_shrink <= 100:
        raise SettingsError("Brake: this is a share from 0 to 100 percent.")


def _refuse_second(session: Session, group: Group) -> None:
    other = session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED
        )
    ).first()
    if other:
        raise SettingsError(
            f"Cohort: sync {other.id} keeps the group {group.name} up to date already.",
            advice="Edit or resume that one.",
            code="sync_exists",
        )


@action(Role.VIEWER)
def list_syncs(bridge: Bridge, actor: Actor) -> list[SyncView]:
    """List the syncs that were not removed, by id, each with its group and its last run."""
    with reading(bridge.engine) as session:
        rows = session.exec(
            select(Sync, Group, Connection.name)
            .where(
                col(Sync.state) != SyncState.REMOVED,
                col(Sync.group_id) == col(Group.id),
                col(Group.destination_id) == col(Connection.id),
            )
            .order_by(col(Sync.id))
        ).all()
    last = standing.newest_of_each_sync(bridge.engine, [sync.id for sync, _, _ in rows if sync.id is not None])
    return [SyncView(sync, group, name, last.get(sync.id or 0)) for sync, group, name in rows]


@action(Role.VIEWER)
def get_sync(bridge: Bridge, actor: Actor, sync_id: int) -> SyncView:
    """Return a sync, removed ones too. Raises NotFound."""
    with reading(bridge.engine) as session:
        sync = _the(session, sync_id)
        group = session.get_one(Group, sync.group_id)
        destination = session.get_one(Connection, group.destination_id)
    last = standing.newest_of_each_sync(bridge.engine, [sync_id])
    return SyncView(sync, group, destination.name, last.get(sync_id))


@action(Role.ANALYST)
def pause_sync(bridge: Bridge, actor: Actor, sync_id: int, *, reason: str = "") -> Sync:
    """Stop a recurring sync until it is resumed; a run that works already ends as it would. Raises NotFound."""
    with writing(bridge.engine) as session:
        sync = _recurring(session, sync_id)
        _pause(session, sync, reason or f"Paused by {actor.name}.")
    return sync


def _pause(session: Session, sync: Sync, reason: str) -> bool:
    if sync.state != SyncState.ACTIVE:
        return False
    sync.state, sync.next_run_at, sync.paused_reason = SyncState.PAUSED, None, reason
    session.add(sync)
    _cancel_queued(session, col(Run.sync_id) == sync.id)
    return True


@action(Role.ANALYST)
def pause_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> int:
    """Stop several recurring syncs at once, all or none; returns how many were active. Raises NotFound."""
    with writing(bridge.engine) as session:
        return sum(_pause(session, _recurring(session, one), f"Paused by {actor.name}.") for one in sync_ids)


@action(Role.ANALYST)
def resume_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """Let a paused sync go on; it is due at once. Raises NotFound, BudgetTooSmall, NotConnected."""
    limit = _limit(bridge, _mixpanel_of(bridge, sync_id))
    with writing(bridge.engine) as session:
        sync = _recurring(session, sync_id)
        _resume(session, sync, limit)
    return sync


def _resume(session: Session, sync: Sync, limit: int) -> bool:
    if sync.state != SyncState.PAUSED:
        return False
    assert sync.every_minutes is not None
    _require_room(session, limit, sync.project_id, sync.every_minutes)
    sync.state, sync.paused_reason, sync.next_run_at = SyncState.ACTIVE, None, utc_now()
    session.add(sync)
    session.flush()
    return True


@action(Role.ANALYST)
def resume_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> int:
    """Let several paused syncs go on, all or none; returns how many were paused.

    Raises: NotFound, BudgetTooSmall, NotConnected.
    """
    limits = {one: _limit(bridge, _mixpanel_of(bridge, one)) for one in sync_ids}
    with writing(bridge.engine) as session:
        return sum(_resume(session, _recurring(session, one), limits[one]) for one in sync_ids)


@action(Role.ANALYST)
def edit_sync(
    bridge: Bridge,
    actor: Actor,
    sync_id: int,
    *,
    every_minutes: int,
    max_shrink: int | None,
    tags: Sequence[str] | None = None,
) -> Sync:
    """Change interval, brake and, if given, tags; the next slot follows the new interval.

    Raises: NotFound, SettingsError, BudgetTooSmall.
    """
    _check(every_minutes, max_shrink)
    limit = _limit(bridge, _mixpanel_of(bridge, sync_id))
    with writing(bridge.engine) as session:
        sync = _recurring(session, sync_id)
        if sync.state == SyncState.ACTIVE and sync.every_minutes != every_minutes:
            _require_room(session, limit, sync.project_id, every_minutes, leave_out=sync_id)
            sync.next_run_at = next_slot(sync_id, every_minutes, after=utc_now())
        sync.every_minutes, sync.max_shrink = every_minutes, max_shrink
        if tags is not None:
            sync.tags = checked_tags(tags)
        session.add(sync)
    return sync


@action(Role.VIEWER)
def match_rule(bridge: Bridge, actor: Actor, view: SyncView) -> MatchRule:
    """Tell how a sync matches users: by its own settings, as far as it has any, else by its connection's."""
    with reading(bridge.engine) as session:
        return rule_of(session.get_one(Connection, view.sync.mixpanel_id), view.sync)


@action(Role.ANALYST)
def change_sync_matching(
    bridge: Bridge, actor: Actor, sync_id: int, *, match_property: str = "", expects_prefix: bool | None = None
) -> Sync:
    """Give a sync match settings of its own, or the connection's again (empty, None).

    All syncs of its group share them. Raises: NotFound, SettingsError.
    """
    own = one_line(match_property, "Match property") if match_property.strip() else None
    with writing(bridge.engine) as session:
        sync = _the(session, sync_id)
        session.exec(
            update(Sync)
            .where(col(Sync.group_id) == sync.group_id)
            .values(match_property=own, expects_prefix=expects_prefix)
        )
        session.refresh(sync)
    return sync


@action(Role.ANALYST)
def remove_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """End a sync for good; its group stays as it is, its history too, and what it had queued is cancelled."""
    with writing(bridge.engine) as session:
        sync = _the(session, sync_id)
        sync.state, sync.next_run_at, sync.paused_reason = SyncState.REMOVED, None, None
        session.add(sync)
        _cancel_queued(session, col(Run.sync_id) == sync_id, Status.HELD)
    return sync


@action(Role.ANALYST)
def run_now(bridge: Bridge, actor: Actor, sync_id: int) -> Run:
    """Queue a run of a sync for a worker, or return the one that is not finished yet. Raises NotFound."""
    with writing(bridge.engine) as session:
        sync = _the(session, sync_id)
        if sync.state == SyncState.REMOVED:
            raise NotFound(f"Sync {sync_id} was removed.", advice="Start a new one from Cohorts.")
        run = _unfinished(session, sync_id) or _new_run(session, sync, trigger="manual", actor=actor.name)
        session.add(run)
    return run


@action(Role.ANALYST)
def apply_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Let a held run through once: queue a run that reads again and writes what it finds.

    What would be held for another reason, or after users were matched in another way, is held again.

    Raises: NotFound, SettingsError.
    """
    with writing(bridge.engine) as session:
        held = _held(session, run_id)
        sync = session.get_one(Sync, held.sync_id)
        held.status, held.step, held.difference = Status.CANCELLED, "applied", None
        run = _new_run(session, sync, trigger="manual", actor=actor.name, permitted=True)
        run.permits = permit(held.error_code or "", held.matched_by or "")
        session.add_all([held, run])
    return run


@action(Role.ANALYST)
def discard_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Drop a held run; the group stays as it is. Raises NotFound, SettingsError."""
    with writing(bridge.engine) as session:
        held = _held(session, run_id)
        held.status, held.step, held.difference = Status.CANCELLED, "discarded", None
        session.add(held)
    return held


@action(Role.ANALYST)
def undo_to(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Queue a run that puts a group back to its members as of an earlier run, and pause what would undo that.

    Raises: NotFound when the run, or what it left, is no longer kept.
    """
    with writing(bridge.engine) as session:
        kept = session.get(Run, run_id)
        if kept is None:
            raise NotFound(
                f"There is no run {run_id}.", advice="See the list of runs: `python -m core runs`, or History."
            )
        if kept.snapshot is None or not bridge.snapshots.exists(kept.snapshot):
            raise NotFound(
                f"The members as of run {run_id} are not kept (any more).",
                advice="Choose a later run that succeeded: the last 30 that changed something are kept.",
            )
        session.exec(
            update(Sync)
            .where(
                col(Sync.group_id) == kept.group_id,
                col(Sync.kind) == SyncKind.RECURRING,
                col(Sync.state) == SyncState.ACTIVE,
            )
            .values(
                state=SyncState.PAUSED,
                next_run_at=None,
                paused_reason=f"{actor.name} put the group back to run {run_id}. Resume to follow the cohort again.",
            )
        )
        _cancel_queued(session, col(Run.group_id) == kept.group_id)
        # One that is at work would write after the undo if it has to wait, or to be made good, meanwhile.
        session.exec(
            update(Run)
            .where(
                col(Run.group_id) == kept.group_id,
                col(Run.status).in_(UNFINISHED),
                col(Run.dry_run).is_(False),
            )
            .values(cancel_asked=True)
        )
        sync = session.get_one(Sync, kept.sync_id)
        run = _new_run(session, sync, trigger="undo", actor=actor.name, full=True, restores=kept.snapshot)
        session.add(run)
    return run


def _cancel_queued(session: Session, which: ColumnElement[bool], *more: Status) -> None:
    """Cancel the runs that nobody has taken up yet: they would write after, and against, what was just decided."""
    session.exec(
        update(Run)
        .where(which, col(Run.status).in_((Status.QUEUED, Status.WAITING, *more)), col(Run.owner).is_(None))
        .values(status=Status.CANCELLED, finished_at=utc_now(), waiting_until=None)
    )


def _the(session: Session, sync_id: int) -> Sync:
    sync = session.get(Sync, sync_id)
    if sync is None:
        raise NotFound(f"There is no sync {sync_id}.", advice="See the list: `python -m core syncs list`, or Syncs.")
    return sync


def _recurring(session: Session, sync_id: int) -> Sync:
    sync = _the(session, sync_id)
    if sync.kind != SyncKind.RECURRING or sync.state == SyncState.REMOVED:
        raise NotFound(f"There is no recurring sync {sync_id}.", advice="It was removed, or exports once only.")
    return sync


def _no_run(run_id: int) -> NotFound:
    return NotFound(f"There is no run {run_id}.", advice="See the list: `python -m core runs`, or History.")


def _held(session: Session, run_id: int) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise _no_run(run_id)
    if run.status != Status.HELD or run.dry_run:
        raise SettingsError(
            f"Run {run_id} is not held: {run.status}.", advice="Only a held run can be applied or discarded."
        )
    return run
