"""The audit log's writing side: what one transaction changes is written down in that very transaction.

Whoever acts opens `acting`; every row that a session changes inside is seen by the listeners below, with its values
before and after, and one line is added when the session commits. Nothing has to be remembered where a change is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, UOWTransaction, class_mapper
from sqlmodel import Session, col, select

from data.audit.anchor import HEAD, NOTED_WITHIN_S, NOTES, anchor_holds, read_anchor
from data.audit.chain import GAP, add
from data.audit.scope import Outcome, Scope
from data.models import (
    AuditEntry,
    CohortList,
    Connection,
    Group,
    Lease,
    Person,
    QueryBudget,
    QuerySpend,
    Run,
    SignIn,
    Sync,
    WorkerHeartbeat,
)

log = logging.getLogger(__name__)

# Rows of these are how the machine works, not what people decide; every other table is watched, new ones too.
_MACHINERY = (AuditEntry, CohortList, Lease, QueryBudget, QuerySpend, SignIn, WorkerHeartbeat)
# Sealed or not, a secret has no place in a log that is read and downloaded.
_HIDDEN = {"secret", "project_token"}
_ENDS = {"secret_end", "project_token_end"}
_HIDDEN_VALUE = "(not shown)"
_LONGEST = 500
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
    """Write down what is changed inside; an action within an action is part of the outer one."""
    if _scope.get() is not None:
        yield
        return
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


# --- seeing what changes -------------------------------------------------------------------------------------------


@event.listens_for(Session, "after_flush")
def _see_rows(session: Session, _context: UOWTransaction) -> None:
    if _scope.get() is None:
        return
    notes = _notes(session)
    for row in session.new:
        if _is_watched(_table(row)):
            notes.append(_Note(_subject(row), {}, _filled(row)))
    for row in session.dirty:
        if _is_watched(_table(row)):
            before, after = _changed(row)
            if after:
                notes.append(_Note(_subject(row), before, after))
    for row in session.deleted:
        if _is_watched(_table(row)):
            notes.append(_Note(_subject(row), _filled(row), {}))


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
    names = _columns(mapper.class_)
    for key, row in before.items():
        old = dict(zip(names, row, strict=True))
        new = dict(zip(names, after[key], strict=True)) if key in after else {}
        changed = [name for name in names if not new or old[name] != new[name]]
        if changed:
            subject = _name_of(mapper.class_, old)
            yield _Note(subject, _values(old, changed), _values(new, changed) if new else {})


def _notes(session: Any) -> list[_Note]:
    return session.info.setdefault(NOTES, [])


def _is_watched(table: type[Any]) -> bool:
    return not issubclass(table, _MACHINERY)


def _filled(row: Any) -> dict[str, Any]:
    values = _held(row)
    return _values(values, [name for name, value in values.items() if value not in (None, "", 0, False, {}, [])])


def _changed(row: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    old, new = dict[str, Any](), dict[str, Any]()
    state: InstanceState[Any] = inspect(row)
    for name in _columns(_table(row)):
        history: Any = state.attrs[name].history
        if history.has_changes():
            old[name] = history.deleted[0] if history.deleted else None
            new[name] = history.added[0] if history.added else None
    names = [name for name in new if old[name] != new[name]]
    return _values(old, names), _values(new, names)


def _values(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: _shown(name, values[name]) for name in names}


def _shown(name: str, value: Any) -> Any:
    if name in _HIDDEN:
        return _hidden(value)
    if name in _ENDS:
        return _HIDDEN_VALUE if value else value
    if name == "url" and "?" in str(value):
        # Somebody may have put a token there, whatever the docs say.
        return f"{str(value).partition('?')[0]}?{_HIDDEN_VALUE}"
    return _plain(value)


def _hidden(value: Any) -> str | None:
    """Say whether there is one, and of two that are not the same that they are not."""
    if value is None:
        return None
    return f"{_HIDDEN_VALUE} {hashlib.sha256(str(value).encode()).hexdigest()[:6]}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict | list):
        value = json.dumps(value, default=str, sort_keys=True)
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    # Two that are alike so far are told apart by what follows.
    return f"{text[:_LONGEST]} … {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _subject(row: Any) -> str:
    return _name_of(_table(row), _held(row))


def _held(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _columns(_table(row))}


def _table(row: Any) -> type[Any]:
    return row.__class__


def _columns(table: type[Any]) -> list[str]:
    mapper: Mapper[Any] = class_mapper(table)
    return [mapper.get_property_by_column(column).key for column in mapper.columns]


def _name_of(table: type[Any], values: dict[str, Any]) -> str:
    """Name a row as the screens do."""
    if issubclass(table, Person):
        return values["email"]
    if issubclass(table, Connection):
        return f"{values['side']} connection {values['name']}"
    if issubclass(table, Group):
        return f"group {values['name']}"
    if issubclass(table, Sync):
        return f"sync {values['id']}"
    if issubclass(table, Run):
        return f"run {values['id']}"
    mapper: Mapper[Any] = class_mapper(table)
    keys = [str(values.get(mapper.get_property_by_column(column).key)) for column in mapper.primary_key]
    return f"{table.__tablename__} {' '.join(keys)}"


# --- writing it down -----------------------------------------------------------------------------------------------


@event.listens_for(Session, "before_commit")
def _write_down(session: Session) -> None:
    scope = _scope.get()
    if scope is None:
        return
    session.flush()
    notes: list[_Note] = session.info.pop(NOTES, [])
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


def append(
    session: Session,
    scope: Scope,
    *,
    subject: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    outcome: Outcome = "done",
) -> AuditEntry:
    """Add a line to the log within a writing session.

    The session began by locking the database, so the newest line is still the newest when ours comes after it; were it
    not, the number would be taken already and the transaction would fail.
    """
    last = session.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(1)).first()
    if last and (gap := _not_noted(session, scope, last)):
        last = add(session, last, Scope("audit log", GAP, scope.anchor), subject=gap)
    return add(session, last, scope, subject=subject, before=before, after=after, outcome=outcome)


def _not_noted(session: Session, scope: Scope, last: AuditEntry) -> str | None:
    """Say which of the newest lines were not noted in the anchor, which our own are right after they are written."""
    written = session.info.get(HEAD)
    if written and written[1] == last.number:
        return None  # of this very transaction
    deadline_s = time.monotonic() + NOTED_WITHIN_S
    while (anchor := read_anchor(scope.anchor)) and anchor[0] < last.number and time.monotonic() < deadline_s:
        time.sleep(0.01)  # another process is between its commit and its note
    if not anchor or anchor[0] >= last.number or not anchor_holds(session, anchor):
        return None
    return (
        f"Lines {anchor[0] + 1} to {last.number} were not noted in {scope.anchor.name}: something else added them, or "
        "Cohort Bridge was cut off right after it wrote them."
    )
