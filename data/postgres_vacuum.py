"""Writing a table of PostgreSQL again, so that its files hold nothing of what was deleted or changed in it."""

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


def rewrite(connection: Connection, table: str) -> None:
    """Write a table again without what was deleted. Raises DBAPIError, TimeoutError when others hold it for too long.

    The server writes a deleted row again as long as any session of the database, whatever it reads, began before the
    row was deleted, or has only just begun: it is done once more then.
    """
    told = list[str]()

    def listen(diagnostic: Any) -> None:
        if diagnostic.source_function == _TELLS:
            told.append(diagnostic.message_detail or "")

    driver: Any = connection.connection.driver_connection
    driver.add_notice_handler(listen)
    until_s = time.monotonic() + WITHIN_S
    try:
        time_limits.lift(connection)
        connection.exec_driver_sql(f"SET lock_timeout = '{WITHIN_S * 1000:.0f}ms'")
        while True:
            told.clear()
            connection.exec_driver_sql(f"VACUUM (FULL, VERBOSE) {table}")
            if not any(map(_number_of_deleted, told)):
                return
            if time.monotonic() > until_s:
                raise TimeoutError
            time.sleep(_AGAIN_S)
    finally:
        connection.invalidate()  # with what was set of it


def _number_of_deleted(detail: str) -> int:
    number = re.search(r"\d+", detail)
    return int(number[0]) if number else 0
