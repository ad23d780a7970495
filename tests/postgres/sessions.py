"""Sessions of the server that tests run on, as who administers it ends them."""

from __future__ import annotations

from sqlalchemy import Connection, text

from tests.stage.sandbox import wait_until


def end(server: Connection, pid: int) -> None:
    """End a session, and wait until it is gone."""
    server.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    wait_until(lambda: is_gone(server, pid))


def is_gone(server: Connection, pid: int) -> bool:
    return not server.execute(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid}).scalar()
