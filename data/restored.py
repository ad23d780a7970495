"""What a backup's database says and does not hold where it is restored: who works, may ask, is in a group."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import inspect, update
from sqlmodel import Session, col, delete, select

from data import deliveries, installation, outbox, sign_ins, tokens
from data.audit import chain
from data.audit.scope import Scope
from data.engine import Engine, StorageError, write_session
from data.failure import Failure
from data.home_copy import CHECKED_AGAIN
from data.models import (
    UNFINISHED,
    UNFINISHED_STAGES,
    Association,
    ImportStage,
    Lease,
    Person,
    Run,
    RunStatus,
    Sync,
    SyncKind,
    SyncState,
    WorkerHeartbeat,
)
from data.tables import list_tables

_SIGNED_OUT = "Cohort Bridge was restored from a backup: sign in again."
_RUN = Failure(
    "restored",
    "This run had not ended when the backup was made that Cohort Bridge was restored from.",
    "Nothing to do for a recurring sync: it runs again by itself. Start anything else again.",
)
_ASSOCIATION = Failure(
    "restored",
    "This was being written when the backup was made that Cohort Bridge was restored from.",
    "Continue it if its ids are still the right ones: what may have been sent already is sent again.",
)


def settle(engine: Engine, mark: Path, scope: Scope, *, subject: str, now: datetime) -> int:
    """Take out of a restored database what does not hold any more, and record the restore in its audit log.

    All in one transaction, and `mark`, which lies beside it, after that. Returns how many groups are in doubt. Raises
    StorageError.
    """
    if not {table.name for table in list_tables()} <= set(inspect(engine).get_table_names()):
        raise StorageError("The database lacks a table.")
    with write_session(engine) as session:
        number, groups = deliveries.note_backup_restored(session, mark, now=now)
        session.exec(delete(Lease))
        session.exec(delete(WorkerHeartbeat))
        installation.unbind(session)
        for person in session.exec(select(Person)).all():
            sign_ins.end_all_in(session, person, reason=_SIGNED_OUT, now=now)
        revoked = tokens.revoke_put_back(session, now=now)
        runs = _end_runs(session, now)
        _put_down_associations(session, now)
        session.exec(update(Association).values(bundle=""))  # files lie in folders, until something puts them elsewhere
        outbox.settle_restored(session, now=now)
        after = {"home": {"groups_in_doubt": groups, "runs_interrupted": runs, "tokens_revoked": revoked}}
        chain.append(session, scope, subject=subject, after=after)
    deliveries.note(mark, number)
    return groups


def _end_runs(session: Session, now: datetime) -> int:
    """End the runs that had not ended, and have recurring syncs that had one run next; returns how many runs."""
    unfinished = col(Run.status).in_(UNFINISHED)
    had_one = select(Run.sync_id).where(unfinished, col(Run.dry_run).is_(False))
    is_active = (col(Sync.kind) == SyncKind.RECURRING, col(Sync.state) == SyncState.ACTIVE)
    session.exec(update(Sync).where(*is_active, col(Sync.id).in_(had_one)).values(next_run_at=now))
    ended = {"status": RunStatus.INTERRUPTED, "finished_at": now, "waiting_until": None, "cancel_asked": False}
    return session.exec(update(Run).where(unfinished).values(**ended, **_RUN.columns())).rowcount


def _put_down_associations(session: Session, now: datetime) -> None:
    """Have what was not confirmed checked again, and a person decide about what was being written."""
    stage = col(Association.stage)
    again = {"stage": ImportStage.TO_CHECK, "cancel_asked": False}
    failed = {"stage": ImportStage.FAILED, "finished_at": now, "cancel_asked": False, **_ASSOCIATION.columns()}
    session.exec(update(Association).where(stage.in_(CHECKED_AGAIN)).values(**again))
    session.exec(update(Association).where(stage.in_(UNFINISHED_STAGES), stage.not_in(CHECKED_AGAIN)).values(**failed))
