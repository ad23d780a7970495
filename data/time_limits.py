"""How long a PostgreSQL server waits for a connection of ours, and we for it.

One process that hangs must not stop the others, and a machine that vanished none.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, event

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

# How long a process waits for the server's machine. One that vanished answers nothing and ends nothing: without these
# a connection to it is waited on for hours. A server that works on a long query is there, and answers these.
_REACHED_WITHIN = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds
}


def of_network(url: URL) -> URL:
    """Return the URL of a server with how long its machine is waited for, as far as it does not say so itself."""
    return url.update_query_dict({name: value for name, value in _REACHED_WITHIN.items() if name not in url.query})


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
