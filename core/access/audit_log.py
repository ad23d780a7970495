"""The audit log: who did what, and who was refused. Written by every action and sign-in; read and verified here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors
from core.errors import SettingsError
from core.text import parse_id
from data.audit import reader
from data.audit.reader import AuditCheck, AuditFilter
from data.models import AuditEntry

_COLUMNS = ("number", "at", "who", "action", "outcome", "subject", "before", "after", "hash")


@action(Role.ADMIN)
def list_audit(
    bridge: Bridge, actor: Actor, filter_by: AuditFilter | None = None, *, limit: int = 50, offset: int = 0
) -> list[AuditEntry]:
    """List the log's lines, newest first."""
    return reader.list_entries(bridge.engine, filter_by or AuditFilter(), limit=limit, offset=offset)


@action(Role.ADMIN)
def count_audit(bridge: Bridge, actor: Actor, filter_by: AuditFilter | None = None) -> int:
    """Count the lines that `list_audit` pages through."""
    return reader.count_entries(bridge.engine, filter_by or AuditFilter())


@action(Role.ADMIN)
def audit_line(bridge: Bridge, actor: Actor, number: int) -> AuditEntry | None:
    """Return one line, None if there is none of that number."""
    return reader.get_entry(bridge.engine, number)


@action(Role.ADMIN)
def audit_actions(bridge: Bridge, actor: Actor) -> list[str]:
    """List the actions that occur in the log."""
    return reader.list_actions(bridge.engine)


@action(Role.ADMIN)
def audit_csv(bridge: Bridge, actor: Actor, filter_by: AuditFilter | None = None) -> Iterator[str]:
    """Yield the log as CSV, oldest line first; no cell starts like a formula of a spreadsheet."""
    return spreadsheet.lines(_COLUMNS, _rows(reader.iterate(bridge.engine, filter_by or AuditFilter())))


@action(Role.ADMIN)
def verify_audit(bridge: Bridge, actor: Actor, *, noted_head: str | None = None) -> AuditCheck:
    """Check whether any line was changed or removed; `noted_head` is a `NUMBER:HASH` that was noted elsewhere."""
    if noted_head is not None:
        number, _, hashed = noted_head.partition(":")
        if parse_id(number) is None or not hashed:
            raise SettingsError("Head: this is NUMBER:HASH, as an earlier check printed it.")
    return reader.verify(bridge.engine, bridge.audit_head, noted_head=noted_head)


def _rows(entries: Iterator[AuditEntry]) -> Iterator[list[str]]:
    with storage_errors():
        for entry in entries:
            yield [_cell(entry, name) for name in _COLUMNS]


def _cell(entry: AuditEntry, name: str) -> str:
    value = getattr(entry, name)
    if name == "at":
        return entry.at.astimezone(UTC).isoformat(timespec="seconds")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
