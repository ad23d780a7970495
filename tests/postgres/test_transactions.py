"""Transactions on PostgreSQL mean what they mean on SQLite, and what was deleted is in no file of a table any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlmodel import select

from core.bridge import Bridge
from data import engine as data_engine
from data import postgres_vacuum
from data.engine import StorageError, read_session, write_session
from data.models import Association, AssociationBatch, Connection, Group, Person, Run, Sync
from tests.stage.sandbox import wait_until

KNOWN, LEFT = "Mixpanel says: jane-doe-77 is unknown", "Mixpanel's reason is not kept"


@pytest.fixture
def person(bridge: Bridge) -> int:
    with write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", name="0", role="admin", created_at=bridge.clock.now()))
        session.flush()
        return session.exec(select(Person.id)).one() or 0


@pytest.fixture
def batch(bridge: Bridge) -> int:
    """An association, one of whose rows Mixpanel refused with a reason that names somebody."""
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        mixpanel = Connection(side="mixpanel", kind="mixpanel", name="default", created_at=now)
        session.add(mixpanel)
        session.flush()
        association = Association(
            mixpanel_id=mixpanel.id or 0, project_id=1, actor="a", source="", match_property="$user_id",
            expects_prefix=True, aliases=False, created_at=now,
        )  # fmt: skip
        session.add(association)
        session.flush()
        number = association.id or 0
        session.add(AssociationBatch(association_id=number, start=0, end=1, size=1, refused={"0": KNOWN}))
    return number


@pytest.fixture
def noted(bridge: Bridge) -> int:
    """A run that was let through with a note that names somebody."""
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        place = Connection(side="destination", kind="csv", name="csv", created_at=now)
        session.add(place)
        session.flush()
        known = {"project_id": 1, "cohort_id": 7, "created_at": now}
        group = Group(destination_id=place.id or 0, cohort_name="c", name="g", **known)
        session.add(group)
        session.flush()
        sync = Sync(kind="one_time", mixpanel_id=place.id or 0, group_id=group.id or 0, **known)
        session.add(sync)
        session.flush()
        run = Run(
            sync_id=sync.id or 0, group_id=group.id or 0, cohort_id=7, cohort_name="c", group_name="g",
            destination="csv", trigger="manual", actor="a", queued_at=now, decision_note=KNOWN,
        )  # fmt: skip
        session.add(run)
        session.flush()
        return run.id or 0


def test_all_that_one_session_reads_is_of_one_moment(bridge: Bridge, person: int):
    with read_session(bridge.engine) as session:
        before = session.exec(select(Person.name).where(Person.id == person)).one()
        with write_session(bridge.engine) as other:
            other.get_one(Person, person).name = "new"
        assert session.exec(select(Person.name).where(Person.id == person)).one() == before

    with read_session(bridge.engine) as session:
        assert session.exec(select(Person.name).where(Person.id == person)).one() == "new"


def test_a_writer_that_waited_reads_what_the_one_before_it_wrote(bridge: Bridge, person: int):
    def count_up(_: int) -> None:
        with write_session(bridge.engine) as session:
            row = session.get_one(Person, person)
            row.name = str(int(row.name) + 1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count_up, range(40)))

    with read_session(bridge.engine) as session:
        assert session.get_one(Person, person).name == "40"


def test_what_the_driver_had_the_server_prepare_outlasts_who_only_read(bridge: Bridge, person: int):
    for _ in range(8):
        with read_session(bridge.engine) as session:
            assert session.exec(select(Person.name).where(Person.id == person)).one() == "0"

    with read_session(bridge.engine) as session:
        prepared = session.connection().exec_driver_sql("SELECT statement FROM pg_prepared_statements").scalars().all()
    assert [statement for statement in prepared if "FROM person" in statement]


def test_what_was_forgotten_is_not_left_in_the_file_of_the_table(bridge: Bridge, batch: int):
    change(bridge, batch)
    assert KNOWN in file_of_batches(bridge)

    data_engine.drop_leftovers(bridge.engine)

    assert KNOWN not in file_of_batches(bridge)
    assert LEFT in file_of_batches(bridge)


def test_a_note_that_was_forgotten_is_not_left_in_the_file_of_the_runs(bridge: Bridge, noted: int):
    with write_session(bridge.engine) as session:
        session.get_one(Run, noted).decision_note = LEFT
    assert KNOWN in file_of(bridge, "run")

    data_engine.drop_leftovers(bridge.engine)

    assert KNOWN not in file_of(bridge, "run")
    assert LEFT in file_of(bridge, "run")


def test_what_somebody_may_still_look_at_is_dropped_as_soon_as_nobody_may(bridge: Bridge, batch: int):
    before = file_name(bridge)
    with ThreadPoolExecutor(1) as threads:
        with read_session(bridge.engine) as session:
            assert session.exec(select(Person)).all() == []  # of this moment is all that it reads from here on
            change(bridge, batch)
            dropping = threads.submit(data_engine.drop_leftovers, bridge.engine)
            wait_until(lambda: file_name(bridge) != before)
        dropping.result(timeout=30)

    assert KNOWN not in file_of_batches(bridge)


def test_what_somebody_may_look_at_for_too_long_is_said_to_be_there(
    bridge: Bridge, batch: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_vacuum, "WITHIN_S", 0.05)

    with read_session(bridge.engine) as session:
        session.exec(select(Person)).all()
        change(bridge, batch)
        with pytest.raises(StorageError, match="What was deleted may still be"):
            data_engine.drop_leftovers(bridge.engine)


def test_leftovers_that_somebody_holds_are_said_to_be_there(
    bridge: Bridge, batch: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_vacuum, "WITHIN_S", 0.05)

    with read_session(bridge.engine) as session:
        session.get_one(AssociationBatch, (batch, 0))
        with pytest.raises(StorageError, match="What was deleted may still be"):
            data_engine.drop_leftovers(bridge.engine)


def change(bridge: Bridge, batch: int) -> None:
    with write_session(bridge.engine) as session:
        session.get_one(AssociationBatch, (batch, 0)).refused = {"0": LEFT}


def file_name(bridge: Bridge) -> str:
    with bridge.engine.connect() as connection:
        return str(connection.execute(text("SELECT pg_relation_filepath('association_batch')")).scalar_one())


def file_of_batches(bridge: Bridge) -> str:
    return file_of(bridge, "association_batch")


def file_of(bridge: Bridge, table: str) -> str:
    """Return what the file of a table holds on the disk, as far as it is text."""
    with bridge.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
        query = text("SELECT pg_read_binary_file(pg_relation_filepath(:table))")
        return bytes(connection.execute(query, {"table": table}).scalar_one()).decode("latin-1")
