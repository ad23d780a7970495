"""How long a PostgreSQL server waits for a connection of ours: one process that hangs must not stop the others."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event

from data.database_clock import outside_transactions

_LIMITS_MS = {
    # A process that was frozen within a transaction holds its locks. Nothing here takes as long between two statements:
    # it is waited for in no transaction, and files that are written in one are small, or renamed.
    "idle_in_transaction_session_timeout": 30_000,
    # Longer than that: who waits behind such a process gets the lock when the server has ended it.
    "lock_timeout": 40_000,
    # The longest query of a screen takes seconds with a million runs; one without an end keeps old rows from being
    # cleaned up for everybody.
    "statement_timeout": 120_000,
}
# A shorter one of the server's own, or of its administrator for this user, stays.
_SET = """
SELECT set_config(name, CASE WHEN setting::bigint BETWEEN 1 AND ours THEN setting ELSE ours::text END, false)
FROM pg_settings JOIN (VALUES {}) AS limits (limited, ours) ON name = limited
""".format(", ".join(f"('{name}', {limit}::bigint)" for name, limit in _LIMITS_MS.items()))


def limit(engine: Engine) -> None:
    """Have each new connection begin with the limits."""

    def set_limits(connection: Any, _record: object) -> None:
        with outside_transactions(connection):
            connection.execute(_SET)

    event.listen(engine, "connect", set_limits)


def lift(connection: Connection) -> None:
    """Lift the limits for one transaction, or for good on a connection that commits each statement.

    For what changes all of a table: it takes as long as it takes.
    """
    names = ", ".join(f"set_config('{name}', '0', {str(connection.in_transaction()).lower()})" for name in _LIMITS_MS)
    connection.exec_driver_sql(f"SELECT {names}")
