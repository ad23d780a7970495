"""A transaction that is lost is done again where nothing of it was kept, and never where somebody cannot know."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlmodel import Session, select

from core.bridge import Bridge
from data import time_limits
from data.engine import StorageError, TransactionLost, as_one, read_session, write_session
from data.models import Person
from data.repeating import repeated
from tests.postgres.sessions import end

LIMITS = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")


def cut(server: Connection, connection: Connection) -> None:
    """End a connection from the server's side, and wait until it is gone."""
    end(server, connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def cut_in_the_middle(server: Connection, session: Session) -> None:
    cut(server, session.connection())
    session.connection().execute(text("SELECT 1"))


def add(session: Session, bridge: Bridge) -> None:
    session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
    session.flush()


def count_people(bridge: Bridge) -> int:
    with read_session(bridge.engine) as session:
        return len(session.exec(select(Person)).all())


def adding(bridge: Bridge, interfere: Callable[[Session, int], None]) -> tuple[Callable[[], None], list[int]]:
    """Return what adds a person within one transaction, and the tries that it took."""
    tries = list[int]()

    @repeated
    def try_to(engine: Engine) -> None:
        with write_session(engine) as session:
            tries.append(len(tries) + 1)
            add(session, bridge)
            interfere(session, len(tries))

    return lambda: try_to(bridge.engine), tries


def test_what_was_cut_before_the_commit_is_done_again_as_a_whole(bridge: Bridge, server: Connection):
    add_person, tries = adding(
        bridge, lambda session, number: cut_in_the_middle(server, session) if number < 3 else None
    )

    add_person()

    assert tries == [1, 2, 3]
    assert count_people(bridge) == 1


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_what_the_server_ended_for_another_s_sake_is_done_again(bridge: Bridge, code: str):
    def fail(session: Session, number: int) -> None:
        if number == 1:
            session.connection().execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$"))

    add_person, tries = adding(bridge, fail)

    add_person()

    assert tries == [1, 2]
    assert count_people(bridge) == 1


def test_what_is_lost_each_time_ends_in_a_sentence(bridge: Bridge, server: Connection):
    add_person, tries = adding(bridge, lambda session, _: cut_in_the_middle(server, session))

    with pytest.raises(TransactionLost, match="The connection to the database was lost"):
        add_person()

    assert tries == [1, 2, 3, 4]
    assert count_people(bridge) == 0


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_commit_whose_answer_was_lost_is_not_done_again(bridge: Bridge, server: Connection, is_kept: bool):
    to_lose = [True]

    def lose(connection: Connection) -> None:
        if not to_lose or not to_lose.pop():
            return
        if is_kept:
            connection.exec_driver_sql("COMMIT; BEGIN")  # so that there is something to commit once more
        cut(server, connection)

    add_person, tries = adding(bridge, lambda *_: event.listen(bridge.engine, "commit", lose))

    with pytest.raises(StorageError, match="nobody knows whether it was kept") as caught:
        add_person()

    assert not isinstance(caught.value, TransactionLost)
    assert caught.value.advice == "Look whether the change is there before you make it again."
    assert tries == [1]
    assert count_people(bridge) == int(is_kept)


def test_a_part_of_a_larger_transaction_is_not_done_again_by_itself(bridge: Bridge, server: Connection):
    add_person, tries = adding(bridge, lambda session, _: cut_in_the_middle(server, session))

    with pytest.raises(StorageError), as_one(bridge.engine):
        add_person()

    assert tries == [1]
    assert count_people(bridge) == 0


def limits_of(connection: Connection) -> list[str]:
    return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in LIMITS]


def test_each_connection_has_limits_and_what_takes_long_has_none(bridge: Bridge):
    with bridge.engine.connect() as connection:
        assert limits_of(connection) == ["30s", "40s", "2min"]
        time_limits.lift(connection)
        assert limits_of(connection) == ["0", "0", "0"]
        connection.rollback()
        assert limits_of(connection) == ["30s", "40s", "2min"]


def test_a_shorter_limit_of_the_server_s_own_stays(bridge: Bridge, server: Connection):
    server.execute(text(f"ALTER DATABASE {bridge.engine.url.database} SET statement_timeout = '5s'"))
    server.execute(text(f"ALTER DATABASE {bridge.engine.url.database} SET lock_timeout = '10min'"))
    bridge.engine.dispose()

    with bridge.engine.connect() as connection:
        assert limits_of(connection) == ["30s", "40s", "5s"]
