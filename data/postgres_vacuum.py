"""Writing tables of PostgreSQL again, so that their files hold nothing of what was deleted or changed in them."""

from __future__ import annotations

import re
import time
from typing import Any

from sqlalchemy import Connection

from data import time_limits

# How long to wait for those that read the table, and for those that may still look at what was there before.
WITHIN_S = 30.0
_AGAIN_S = 0.1
# The function of the server that tells, in whichever language, how many deleted rows it wrote again.
_TELLS = "copy_table_data"
# Whether the table of runs, which may be large, can have held ids of people: what is forgotten of a note is replaced.
_HAS_NOTES = "SELECT EXISTS (SELECT FROM run WHERE decision_note IS NOT NULL)"


def rewrite(connection: Connection) -> None:
    """Write the tables again that may hold ids of people, without what was deleted.

    The server writes a deleted row again as long as any session of the database, whatever it reads, began before the
    row was deleted, or has only just begun: it is done once more then. Raises DBAPIError, TimeoutError when others hold
    one of them for too long.
    """
    told = list[str]()

    def listen(diagnostic: Any) -> None:
        if diagnostic.source_function == _TELLS:
            told.append(diagnostic.message_detail or "")

    driver: Any = connection.connection.driver_connection
    driver.add_notice_handler(listen)
    try:
        time_limits.lift(connection)
        connection.exec_driver_sql(f"SET lock_timeout = '{WITHIN_S * 1000:.0f}ms'")
        _rewrite(connection, "association_batch", told)
        if connection.exec_driver_sql(_HAS_NOTES).scalar():
            _rewrite(connection, "run", told)
    finally:
        connection.invalidate()  # with what was set of it


def _rewrite(connection: Connection, table: str, told: list[str]) -> None:
    until_s = time.monotonic() + WITHIN_S
    while True:
        told.clear()
        connection.exec_driver_sql(f"VACUUM (FULL, VERBOSE) {table}")
        if not any(map(_number_of_deleted, told)):
            return
        if time.monotonic() > until_s:
            raise TimeoutError
        time.sleep(_AGAIN_S)


def _number_of_deleted(detail: str) -> int:
    number = re.search(r"\d+", detail)
    return int(number[0]) if number else 0
