"""How a run ends, and what that means for its group and its sync."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Engine, Select, bindparam, exists, func, update
from sqlalchemy import select as select_columns
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from data import alert_states, deliveries, leases, proofs, receivers, run_changes, tried
from data.audit import recorder
from data.engine import read_session, write_session
from data.locks import RELYING
from data.members.proof import Proof
from data.models import UNFINISHED, Connection, DoubtCause, Group, LeaseKind, Run, RunStatus, Sync, SyncKind, SyncState
from data.proof_models import TriedDelivery, Untraced
from data.repeating import repeated
from data.run_changes import Ended
from data.run_order import ended_before
from data.run_outcome import GroupOutcome, Pause, RunOutcome
from data.sync_runs import supersede_held
from data.tables import table_of
from data.tried import Tried

# Where a destination leads. An address that is a secret is not in `url`: that another one was entered is seen by the
# number of times.
_LEADS = ("kind", "url", "folder", "times_replaced")


@repeated
def mark_in_doubt(
    engine: Engine, run_id: int, group_id: int, *, lease_owner: str, tries: Tried | None = None
) -> int | None:
    """Note that the group may soon hold something unknown, and that the run has begun to write.

    Returns the number of the delivery that is to begin.

    `tries` is what it begins with, where that has to be known afterward. None, and nothing noted, when the lease is
    lost. Raises SharedReceiver.
    """
    with write_session(engine, RELYING) as session:
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return None
        group = session.get_one(Group, group_id)
        receivers.require_own(session, group)
        values = {"in_doubt": True, "doubt_cause": func.coalesce(Group.doubt_cause, DoubtCause.DELIVERY)}
        if tries is None:
            values["untraced"] = func.coalesce(Group.untraced, Untraced.DELIVERY)
        else:
            tried.note(session, group_id, run_id, tries)
            first = receivers.find_first_untraced(session, group, session.get_one(Connection, group.destination_id))
            values["untraced"] = func.coalesce(Group.untraced, first)
        session.exec(update(Group).where(col(Group.id) == group_id).values(**values))
        session.exec(update(Run).where(col(Run.id) == run_id).values(began_writing=True))
        return deliveries.count_delivery(session)


@repeated
def record(engine: Engine, run_id: int, outcome: RunOutcome, *, lease_owner: str) -> bool:
    """Record the end of a run, and what it means for its group and its recurring sync, in one transaction.

    Returns False, and records nothing, when the lease is lost.
    """
    with write_session(engine, RELYING) as session:
        if not run_changes.let_go(session, run_id, lease_owner=lease_owner):
            return False
        ended = run_changes.end(session, run_id, _run_columns(outcome))
        if outcome.log is not None:
            run_changes.keep_log(session, run_id, outcome.log)
        if outcome.group:
            _record_group(session, run_id, ended.group_id, outcome.group, outcome.finished_at)
        if outcome.pause:
            _pause(session, ended.sync_id, outcome.pause, outcome.finished_at)
        if not ended.dry_run:
            _tell(session, run_id, ended, outcome)
        return True


def _tell(session: Session, run_id: int, ended: Ended, outcome: RunOutcome) -> None:
    """Settle what waited for a run that was meant to write to end, and who is told of it."""
    if ended.is_other_held and outcome.status in (RunStatus.HELD, RunStatus.SUCCEEDED):
        # The run that ended last read last, whichever was queued first.
        supersede_held(session, ended.group_id, by=run_id)
    if ended.is_told_of or outcome.status != RunStatus.SUCCEEDED:
        alert_states.note_run_end(session, ended.group_id, run_id, outcome.status, now=outcome.finished_at)


def _record_group(session: Session, run_id: int, group_id: int, outcome: GroupOutcome, at: datetime) -> None:
    of = {"of_group": group_id, "of_destination": outcome.destination.id}
    known = dict(session.connection().execute(_known(), of).mappings().one())
    columns = _group_columns(run_id, outcome, at)
    if any(known[name] != getattr(outcome.destination, name) for name in _LEADS):
        columns |= {"in_doubt": True, "doubt_cause": DoubtCause.CONNECTION, "untraced": known["untraced"]}
    elif outcome.doubts is not None and outcome.doubts != known["doubts"]:
        # Something else put it in doubt since the run began: it may not have been written as that asks for.
        columns |= {"in_doubt": True, "doubt_cause": known["doubt_cause"], "untraced": known["untraced"]}
    elif outcome.delivered and known["has_tried"]:
        tried.forget(session, group_id)
    if columns:
        run_changes.change_group(session, group_id, columns)
    if base := outcome.base:
        proofs.keep(session, base.snapshot, base.proof or Proof(base.members))


@cache
def _known() -> Select[Any]:
    """Build the question what is known of a group, and where its destination leads now; nowhere where it is gone."""
    group, destination, delivery = map(table_of, (Group, Connection, TriedDelivery))
    has_tried = exists().where(delivery.c.group_id == group.c.id).label("has_tried")
    leads = [destination.c[name] for name in _LEADS]
    return (
        select_columns(group.c.doubts, group.c.doubt_cause, group.c.untraced, has_tried, *leads)
        .outerjoin_from(group, destination, destination.c.id == bindparam("of_destination"))
        .where(group.c.id == bindparam("of_group"))
    )


def _run_columns(outcome: RunOutcome) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "cancel_asked": False,
        "waiting_until": None,
        "status": outcome.status,
        "finished_at": outcome.finished_at,
        "in_cohort": outcome.in_cohort,
        "matched_by": outcome.matched_by,
        "write": outcome.write,
        "hold": outcome.hold,
        "notice": outcome.notice,
    }
    columns |= asdict(outcome.files)
    if outcome.progress:
        columns |= asdict(outcome.progress)
    if outcome.counts:
        columns |= asdict(outcome.counts)
    if outcome.fingerprint:
        columns["fingerprint"] = outcome.fingerprint
    if outcome.difference:
        columns |= {name: getattr(outcome.difference, name) for name in ("added", "removed", "unchanged")}
    if outcome.failure:
        columns |= outcome.failure.columns()
    return columns


def _group_columns(run_id: int, outcome: GroupOutcome, at: datetime) -> dict[str, Any]:
    columns: dict[str, Any] = {"verified_at": at} if outcome.equals_cohort else {}
    if base := outcome.base:
        columns |= {
            "base_run_id": run_id,
            "base_snapshot": base.snapshot,
            "base_match": base.matched_by,
            "members": base.members,
        }
    if delivered := outcome.delivered:
        columns |= {"delivered_name": delivered.group_name, "delivered_at": at}
        columns |= {"in_doubt": False, "doubt_cause": None, "untraced": None}
        if delivered.in_full:
            columns["full_at"] = at
    return columns


def _pause(session: Session, sync_id: int, pause: Pause, now: datetime) -> None:
    paused = session.exec(
        update(Sync)
        .where(col(Sync.id) == sync_id, col(Sync.kind) == SyncKind.RECURRING, col(Sync.state) == SyncState.ACTIVE)
        .values(state=SyncState.PAUSED, paused_reason=pause.reason, next_run_at=None)
    )
    if paused.rowcount:
        subject = f"sync {sync_id}"
        before = {subject: {"state": SyncState.ACTIVE}}
        after = {subject: {"state": SyncState.PAUSED, "paused_reason": pause.reason}}
        recorder.append(session, pause.scope, subject=subject, before=before, after=after)
        alert_states.note_paused(session, [sync_id], by_person=False, now=now)


@repeated
def forget_previews(engine: Engine, run_id: int) -> list[str]:
    """Let a dry run take the place of those of its group that ended before it; returns the differences that no row
    names now.
    """
    with write_session(engine, RELYING) as session:
        run = session.get_one(Run, run_id)
        older = (
            col(Run.group_id) == run.group_id,
            ended_before(run),
            col(Run.dry_run),
            col(Run.difference).is_not(None),
        )
        names = session.exec(select(Run.difference).where(*older)).all()
        session.exec(update(Run).where(*older).values(difference=None))
    return [name for name in names if name]


@repeated
def forget_snapshots(engine: Engine, group_id: int, *, keep: int) -> list[str]:
    """Forget all but the newest snapshots of a group, its base, what was tried, and what it is to be rolled back to.

    Returns those that no row names now.
    """
    with write_session(engine, RELYING) as session:
        base = session.exec(select(Group.base_snapshot).where(Group.id == group_id)).one()
        restoring = select(Run.restore_snapshot).where(Run.group_id == group_id, col(Run.status).in_(UNFINISHED))
        needed = {base, *session.exec(restoring).all(), *session.exec(select(TriedDelivery.snapshot)).all()}
        newest = select(Run.snapshot).where(Run.group_id == group_id, col(Run.snapshot).is_not(None))
        names = session.exec(newest.group_by(col(Run.snapshot)).order_by(func.max(Run.finished_at).desc())).all()
        old = [name for name in names[keep:] if name and name not in needed]
        session.exec(update(Run).where(col(Run.snapshot).in_(old)).values(snapshot=None))
        # What began a group stays as that run's difference: who was added is read from it.
        kept = set(session.exec(select(Run.difference).where(col(Run.difference).in_(old))).all())
        gone = [name for name in old if name not in kept]
        proofs.forget(session, gone)
    return gone


@repeated
def forget_excluded(engine: Engine, run_id: int) -> list[str]:
    """Forget the excluded profiles of the runs of a run's group that ended before it; returns the files that no row
    names now.
    """
    run, has_some = aliased(Run), col(Run.excluded).is_not(None)
    older = (col(run.id) == run_id, col(Run.group_id) == run.group_id, ended_before(run), has_some)
    with read_session(engine) as session:
        ids = session.exec(select(Run.id).where(*older)).all()
    if not ids:
        return []
    with write_session(engine, RELYING) as session:
        older = (col(Run.id).in_(ids), has_some)
        names = session.exec(select(Run.excluded).where(*older)).all()
        session.exec(update(Run).where(*older).values(excluded=None).execution_options(synchronize_session=False))
    return [name for name in names if name]
