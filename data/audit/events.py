"""What people did that changed nothing here: a line of the audit log by itself."""

from __future__ import annotations

from data.audit import chain
from data.audit.scope import Scope
from data.engine import Engine, write_session
from data.repeating import repeated


@repeated
def note(engine: Engine, scope: Scope, what: str) -> None:
    """Record in the audit log what somebody did."""
    with write_session(engine, by_rows=True) as session:
        chain.append(session, scope, subject=what)
