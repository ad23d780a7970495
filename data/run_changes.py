"""What whoever holds a run's lease writes of it, in statements that are built once: to build one takes longer.

The audit log does not see them: they are how a run works, and no action of a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ScalarSelect, Table, Update, bindparam, delete, exists, select, update
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate
from sqlmodel import Session, col

from data import leases, locks
from data.models import Group, Lease, LeaseKind, Run, RunLogRow, RunStatus, Sync
from data.outbox_models import AlertState
from data.tables import table_of
from data.upserts import put

_RUN, _GROUP, _LEASE, _LOG = map(table_of, (Run, Group, Lease, RunLogRow))


class Ended(NamedTuple):
    """What a run that ends belongs to, and what else there is of its group."""

    group_id: int
    sync_id: int
    dry_run: bool
    is_other_held: bool  # another run of it waits for a person to decide
    is_told_of: bool  # something is known to be wrong with a sync of it


def note_progress(session: Session, run_id: int, columns: Mapping[str, Any]) -> bool:
    """Note how far a run is; returns whether it is asked to cancel."""
    changing = _progressing(frozenset(columns))
    return session.connection().execute(changing, _values(run_id, columns)).scalar_one()


def let_go(session: Session, run_id: int, *, lease_owner: str) -> bool:
    """Give up the lease of a run that ends; another run of its group may end just now, or be found dead, and waits.

    False when it was not ours any more.
    """
    connection = session.connection()
    values = {**leases.values_of(LeaseKind.RUN, run_id, lease_owner), "of_run": run_id}
    return connection.execute(_letting_go(connection.dialect.name), values).first() is not None


def end(session: Session, run_id: int, columns: Mapping[str, Any]) -> Ended:
    """Write what a run came to that was let go of."""
    return Ended(*session.connection().execute(_ending(frozenset(columns)), _values(run_id, columns)).one())


def change_group(session: Session, group_id: int, columns: Mapping[str, Any]) -> None:
    """Write what the end of a run that holds its lease means for its group."""
    session.connection().execute(_changing(_GROUP, frozenset(columns)), _values(group_id, columns))


def keep_log(session: Session, run_id: int, log: dict[str, Any]) -> None:
    """Keep the log of a run, in place of the one before."""
    put(session, _LOG, {"run_id": run_id, "log": log})


def _values(row_id: int, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {"of_row": row_id, **{f"to_{name}": value for name, value in columns.items()}}


@cache
def _progressing(names: frozenset[str]) -> ReturningUpdate[Any]:
    return _changing(_RUN, names).returning(_RUN.c.cancel_asked)


@cache
def _ending(names: frozenset[str]) -> ReturningUpdate[Any, Any, Any, bool, bool]:
    run = _RUN.c
    return _changing(_RUN, names).returning(run.group_id, run.sync_id, run.dry_run, _is_other_held(), _is_told_of())


@cache
def _changing(table: Table, names: frozenset[str]) -> Update:
    values = {name: bindparam(f"to_{name}", type_=table.c[name].type) for name in sorted(names)}
    return update(table).where(table.c.id == bindparam("of_row")).values(values)


def _is_other_held() -> ScalarSelect[bool]:
    other = _RUN.alias("other")
    held = other.c.group_id == _RUN.c.group_id, other.c.status == RunStatus.HELD, other.c.id != _RUN.c.id
    return select(exists().where(*held).correlate(_RUN)).scalar_subquery()


def _is_told_of() -> ScalarSelect[bool]:
    open_ones = col(AlertState.sync_id) == col(Sync.id), col(AlertState.closed_at).is_(None)
    return select(exists().where(col(Sync.group_id) == _RUN.c.group_id, *open_ones).correlate(_RUN)).scalar_subquery()


@cache
def _letting_go(dialect: str) -> ReturningDelete[Any]:
    """Build the statement that removes a lease, and takes the lock of what is read after it."""
    mine = delete(_LEASE).where(*leases.IS_OURS)
    if dialect != "postgresql":
        return mine.returning(_LEASE.c.key)
    group_id = select(_RUN.c.group_id).where(_RUN.c.id == bindparam("of_run")).scalar_subquery()
    return mine.returning(locks.taken_of_group(group_id))
