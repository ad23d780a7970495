"""Workers of an earlier version that are still at work: whoever is to change the schema waits until they have left.

They are known by what they signed on with. Those of a version that did not say so yet are earlier than any that does.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, inspect, null, select

from data import database_clock, worker_names
from data.database_errors import StorageError
from data.models import WorkerHeartbeat

log = logging.getLogger(__name__)

PATIENCE_S = 120.0
_LOOK_AGAIN_S = 0.5


class _Worker(NamedTuple):
    """What is asked of the table, by the names of its columns."""

    name: str
    seen_at: datetime
    label: str | None
    revision: str | None


def wait_for_their_end(engine: Engine, own_revision: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait until every worker of another version has signed off, or is dead. Raises StorageError after so long."""
    until_s = time.monotonic() + patience_s
    told = ""
    while there := ", ".join(_list_names(engine, own_revision)):
        if time.monotonic() > until_s:
            raise StorageError(
                f"Workers of an earlier version of Cohort Bridge are still at work: {there}.",
                advice="Stop them, which hands their runs back; then start this again.",
            )
        if there != told:
            told = there
            log.warning("Waiting for workers of an earlier version to end, before the database is changed: %s.", there)
        time.sleep(_LOOK_AGAIN_S)


def _list_names(engine: Engine, own_revision: str) -> list[str]:
    clock = database_clock.find_clock(engine)
    with engine.connect() as connection:
        workers = _list_workers(connection)
    now = clock.now() if clock else datetime.now(UTC)
    return sorted(
        worker_names.called(worker.label, worker.name)
        for worker in workers
        if worker.revision != own_revision and worker_names.is_up(worker.seen_at, now)
    )


def _list_workers(connection: Connection) -> list[_Worker]:
    """List the workers with what an earlier version of the table says of them."""
    table, present = str(WorkerHeartbeat.__tablename__), inspect(connection)
    if not present.has_table(table):
        return []
    columns = {column["name"] for column in present.get_columns(table)}
    asked = [getattr(WorkerHeartbeat, name) if name in columns else null() for name in _Worker._fields]
    return [_Worker(*row) for row in connection.execute(select(*asked))]
