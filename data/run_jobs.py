"""Jobs of an engine that hands out work: each points to a run that waits. What is true stands in the run's own row.

They lie in a schema of the engine's own, beside our tables. Losing them all costs the seconds until a worker looks
through the table of runs again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, case, cast, func, literal, text
from sqlalchemy.types import String
from sqlmodel import Session, col, select

from data import leases
from data.engine import one_at_a_time, read_session, write_session
from data.models import TO_CLAIM, UNFINISHED, Group, LeaseKind, Run

# Known to the functions that the schema's migration 0026 makes.
SCHEMA, TASK, PREVIEWS = "cohort_bridge_jobs", "cohort_bridge.run", "previews"
# What its tables do by themselves names others of them without their schema.
WITH_ITS_SCHEMA = f"SELECT set_config('search_path', current_setting('search_path') || ', {SCHEMA}', true)"
_INSTALLED_WITHIN_S = 10.0  # a process that is asked to end waits for that


def queue_name(destination_id: int | None) -> str:
    """Name the queue of a destination's runs, or that of previews, which need none."""
    return PREVIEWS if destination_id is None else f"destination-{destination_id}"


def find_destination(queue: str) -> int | None:
    """Return whose runs a queue holds; None for that of previews, and for one that is not ours."""
    number = queue.rpartition("-")[2]
    return int(number) if number.isdecimal() else None


def ring(session: Session, run_ids: Collection[int | None]) -> None:
    """Tell workers, when this transaction is committed, of runs that wait and that any of them may take.

    Nothing comes of it, and nothing fails, where no engine is set up.
    """
    if session.get_bind().dialect.name != "postgresql" or not run_ids:
        return
    by_group = case((col(Run.dry_run), None), else_=literal("group-") + cast(Run.group_id, String))
    queue = case((col(Run.dry_run), PREVIEWS), else_=literal("destination-") + cast(Group.destination_id, String))
    rung = (
        select(func.cohort_bridge_ring(Run.id, queue, by_group, Run.waiting_until))
        .join(Group, col(Group.id) == Run.group_id)
        .where(col(Run.id).in_(run_ids), col(Run.status).in_(TO_CLAIM), ~leases.is_held(LeaseKind.RUN, Run.id))
        .order_by(col(Run.id))
    )
    session.exec(rung).all()


def drop(session: Session, run_id: int) -> None:
    """Drop the job of a run whose process died, so that the next run of its group is not kept waiting by it."""
    if session.get_bind().dialect.name == "postgresql":
        session.exec(select(func.cohort_bridge_hush(run_id))).all()


def forget_ended(engine: Engine) -> int:
    """Remove the jobs of runs that have ended, which nobody came for; returns how many."""
    if not _version(engine):
        return 0
    unfinished = ", ".join(f"'{status}'" for status in UNFINISHED)
    ended = (
        f"DELETE FROM {SCHEMA}.procrastinate_jobs AS job WHERE task_name = '{TASK}' AND NOT EXISTS (SELECT FROM run "
        f"WHERE run.id::text = job.args ->> 'run_id' AND run.status IN ({unfinished}))"
    )
    with write_session(engine, by_rows=True) as session:  # a run that has ended does not come back
        connection = session.connection()
        connection.exec_driver_sql(WITH_ITS_SCHEMA)
        return connection.exec_driver_sql(ended).rowcount


def install(engine: Engine, home: Path, *, tables: str, version: str) -> bool:
    """Make the engine's tables, of a version of it, and a job for each run that waits; in one process at a time.

    Tables of an earlier version are made again. False where they are of a later one, which this process does not know.
    """
    if _version(engine) == version:
        return True
    with one_at_a_time(engine, home, within_s=_INSTALLED_WITHIN_S), engine.begin() as connection:
        present = _version(engine)
        if present == version:
            return True
        if present is not None and _order(present) > _order(version):
            return False
        driver: Any = connection.connection.driver_connection
        driver.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        driver.execute(f"SET LOCAL search_path = {SCHEMA}")
        driver.execute(tables)  # many statements, which the driver takes where there are no parameters
        driver.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{version}'")
    with write_session(engine) as session:
        ring(session, session.exec(select(Run.id).where(col(Run.status).in_(TO_CLAIM))).all())
    return True


def _version(engine: Engine) -> str | None:
    """Return of which version the engine's tables are; None where there are none."""
    query = text("SELECT obj_description(to_regnamespace(:schema), 'pg_namespace')").bindparams(schema=SCHEMA)
    with read_session(engine) as session:
        return session.connection().execute(query).scalar()


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def connect_arguments(engine: Engine) -> dict[str, Any]:
    """Return what the driver is told to connect to the database, for an engine with connections of its own."""
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return dict(arguments)
