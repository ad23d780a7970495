"""The audit log's recorder: what a transaction changes is recorded in that very transaction.

An action opens `acting`; the listeners below see every row that a session changes inside, with its values before and
after, and one line is added when the session commits. Nothing has to be remembered where a change is made.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapper, ORMExecuteState, SessionTransaction, UOWTransaction
from sqlmodel import Session, select

from data.audit.chain import append
from data.audit.row_values import (
    all_values,
    changed_values,
    column_names,
    get_table,
    name_row,
    name_values,
    shown_values,
)
from data.audit.scope import Scope
from data.models import AuditEntry, Lease, WorkerHeartbeat
from data.outbox_models import AlertMessage, AlertState
from data.pause_models import SyncPause
from data.proof_models import DeliveryCount, Installation, LeftPlace, SnapshotProof, TriedDelivery
from data.query_models import CohortList, PageSize, QueryBudget, QuerySpend
from data.sign_in_models import SignIn

# Rows of these are how the product works, not what people decide; every other table is watched, new ones too.
_MACHINERY = (
    AlertMessage,
    AlertState,
    AuditEntry,
    CohortList,
    DeliveryCount,
    Installation,
    Lease,
    LeftPlace,
    PageSize,
    QueryBudget,
    QuerySpend,
    SignIn,
    SnapshotProof,
    SyncPause,
    TriedDelivery,
    WorkerHeartbeat,
)
# Where a session keeps what its transaction changed so far.
_NOTES = "cohort_bridge_notes"
# Where it keeps what its line is to be called, if that is not the action that was asked for.
_NAME = "cohort_bridge_name"
_MOST_ROWS = 50


@dataclass(frozen=True)
class _Note:
    """One row that was changed."""

    subject: str
    before: dict[str, Any]
    after: dict[str, Any]


_scope: ContextVar[Scope | None] = ContextVar("cohort_bridge_acting", default=None)


@contextmanager
def acting(scope: Scope) -> Generator[None]:
    """Record what is changed inside; an action within an action is part of the outer one."""
    if _scope.get() is not None:
        yield
        return
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def rename(session: Session, name: str) -> None:
    """Have the line of a session's transaction named after what turned out to be done in it."""
    session.info[_NAME] = name


# --- seeing what changes -------------------------------------------------------------------------------------------


@event.listens_for(Session, "after_flush")
def _see_rows(session: Session, _context: UOWTransaction) -> None:
    if _scope.get() is None:
        return
    notes = _notes(session)
    for row in session.new:
        if _is_watched(get_table(row)):
            notes.append(_Note(name_row(row), {}, all_values(row)))
    for row in session.dirty:
        if _is_watched(get_table(row)):
            before, after = changed_values(row)
            if after:
                notes.append(_Note(name_row(row), before, after))
    for row in session.deleted:
        if _is_watched(get_table(row)):
            notes.append(_Note(name_row(row), all_values(row), {}))


@event.listens_for(Session, "do_orm_execute")
def _see_bulk(state: ORMExecuteState) -> Any:
    """Look at the rows that a statement is going to change, before and after it does."""
    mapper = state.bind_mapper
    if _scope.get() is None or mapper is None or not (state.is_update or state.is_delete):
        return None
    if not _is_watched(mapper.class_):
        return None
    statement: Any = state.statement
    query = select(*mapper.columns)
    if statement.whereclause is not None:
        query = query.where(statement.whereclause)
    before = {row[0]: row for row in state.session.execute(query).all()}
    result = state.invoke_statement()
    key = mapper.primary_key[0]
    after = {row[0]: row for row in state.session.execute(select(*mapper.columns).where(key.in_(before))).all()}
    _notes(state.session).extend(_differences(mapper, before, after))
    return result


def _differences(mapper: Mapper[Any], before: dict[Any, Any], after: dict[Any, Any]) -> Iterable[_Note]:
    names = column_names(mapper.class_)
    for key, row in before.items():
        old = dict(zip(names, row, strict=True))
        new = dict(zip(names, after[key], strict=True)) if key in after else {}
        changed = [name for name in names if not new or old[name] != new[name]]
        if before_values := shown_values(old, changed):
            subject = name_values(mapper.class_, old)
            yield _Note(subject, before_values, shown_values(new, changed) if new else {})


def _notes(session: Any) -> list[_Note]:
    return session.info.setdefault(_NOTES, [])


def _is_watched(table: type[Any]) -> bool:
    return not issubclass(table, _MACHINERY)


@event.listens_for(Session, "after_soft_rollback")
def _drop_notes(session: Session, _previous: SessionTransaction) -> None:
    """Forget what a part of a transaction changed that came to nothing."""
    session.info.pop(_NOTES, None)
    session.info.pop(_NAME, None)


# --- recording it --------------------------------------------------------------------------------------------------


@event.listens_for(Session, "before_commit")
def _record(session: Session) -> None:
    scope = _scope.get()
    if scope is None:
        return
    session.flush()
    notes: list[_Note] = session.info.pop(_NOTES, [])
    scope = replace(scope, action=session.info.pop(_NAME, scope.action))
    if notes:
        merged = list(_merged(notes).items())
        for start in range(0, len(merged), _MOST_ROWS):
            rows = merged[start : start + _MOST_ROWS]
            append(
                session,
                scope,
                subject=", ".join(name for name, _ in rows),
                before={name: old for name, (old, _) in rows if old},
                after={name: new for name, (_, new) in rows if new},
            )


def _merged(notes: list[_Note]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Put the changes of one row together: its first values before, its last values after."""
    merged = dict[str, tuple[dict[str, Any], dict[str, Any]]]()
    for note in notes:
        before, after = merged.get(note.subject, ({}, {}))
        merged[note.subject] = note.before | before, after | note.after
    return merged
