"""Every failure of a PostgreSQL server ends in a sentence with what helps, whichever way the driver tells of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlmodel import Session

from core.bridge import Bridge
from data.engine import StorageError, open_database, read_session, write_session
from data.models import Connection as Kept
from data.models import Person
from tests.postgres.sessions import end, is_gone
from tests.stage.sandbox import wait_until


def name_of(bridge: Bridge) -> str:
    return bridge.engine.url.database or ""


def add_person(bridge: Bridge, email: str = "a@example.com") -> None:
    with write_session(bridge.engine) as session:
        session.add(Person(email=email, role="admin", created_at=bridge.clock.now()))


def set_limit(bridge: Bridge, server: Connection, setting: str) -> None:
    """Have all later sessions of the database begin with a setting."""
    server.execute(text(f"ALTER DATABASE {name_of(bridge)} SET {setting}"))
    bridge.engine.dispose()


def sentence_of(does: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(StorageError) as caught:
        does()
    assert caught.value.advice, "there is something that helps"
    return str(caught.value), caught.value.advice


def ask(session: Session, what: str) -> Any:
    return session.connection().execute(text(what))


def test_a_read_only_standby(bridge: Bridge, server: Connection):
    set_limit(bridge, server, "default_transaction_read_only = on")

    message, advice = sentence_of(lambda: add_person(bridge))

    assert message == "The database is read-only."
    assert "primary" in advice


def test_a_session_that_the_server_ends_for_idling_in_a_transaction(bridge: Bridge, server: Connection):
    set_limit(bridge, server, "idle_in_transaction_session_timeout = '50ms'")

    def idle() -> None:
        with write_session(bridge.engine) as session:
            pid = ask(session, "SELECT pg_backend_pid()").scalar()
            wait_until(lambda: is_gone(server, pid))
            session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))

    assert sentence_of(idle)[0].startswith("The connection to the database was lost")
    set_limit(bridge, server, "idle_in_transaction_session_timeout = 0")
    add_person(bridge)  # nothing of it is left, and nothing stands in the way


def test_a_connection_that_is_cut_while_it_is_used_or_between(bridge: Bridge, server: Connection):
    def cut() -> None:
        with read_session(bridge.engine) as session:
            end(server, ask(session, "SELECT pg_backend_pid()").scalar())
            ask(session, "SELECT 1")

    assert sentence_of(cut)[0].startswith("The connection to the database was lost")
    with read_session(bridge.engine) as session:
        pid = ask(session, "SELECT pg_backend_pid()").scalar()
    end(server, pid)
    add_person(bridge)  # one that was cut in between is made again, unnoticed


@pytest.mark.parametrize("value", [{"times_replaced": 2**40}, {"name": "a\0b"}, {"name": "n" * 101}])
def test_a_value_that_the_database_does_not_keep(bridge: Bridge, value: dict[str, Any]):
    def write() -> None:
        with write_session(bridge.engine) as session:
            kept = {"side": "mixpanel", "kind": "mixpanel", "name": "n", "created_at": bridge.clock.now(), **value}
            session.add(Kept(**kept))

    assert sentence_of(write)[0].startswith("A value is longer, larger or of another kind")


def test_a_query_that_takes_longer_than_the_server_allows(bridge: Bridge, server: Connection):
    set_limit(bridge, server, "statement_timeout = '50ms'")

    def wait() -> None:
        with read_session(bridge.engine) as session:
            ask(session, "SELECT pg_sleep(10)")

    assert sentence_of(wait)[0] == "The database ended a query: it took longer than the server allows."


def test_a_lock_that_is_not_had_in_time(bridge: Bridge, server: Connection):
    set_limit(bridge, server, "lock_timeout = '50ms'")

    def write_twice() -> None:
        with write_session(bridge.engine) as session:
            ask(session, "SELECT 1")  # from here on it holds what only one writer has
            add_person(bridge)

    assert sentence_of(write_twice)[0] == "The database was busy with what another process writes."


def test_a_user_without_rights(bridge: Bridge, server: Connection):
    server.execute(text("CREATE ROLE stranger LOGIN"))
    url = bridge.settings.database_url.replace("tests@", "stranger@")
    try:
        message, _ = sentence_of(lambda: open_database(url, bridge.settings.home))
    finally:
        server.execute(text("DROP ROLE stranger"))

    assert message == "The database's user may not do this."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"username": "nobody_of_ours"}, "The database server refused to let Cohort Bridge in."),
        ({"database": "none_of_ours"}, "There is no such database on the server."),
        ({"query": {"host": "/nowhere"}}, "The database server cannot be reached."),
        ({"host": "127.0.0.1", "port": 1, "query": {}}, "The database server cannot be reached."),
    ],
)
def test_a_server_that_does_not_let_one_in(bridge: Bridge, change: dict[str, Any], said: str):
    url = make_url(bridge.settings.database_url).set(**{k: v for k, v in change.items() if k != "query"})
    url = url.set(query=change.get("query", url.query))

    opened = sentence_of(lambda: open_database(url.render_as_string(hide_password=False), bridge.settings.home))

    assert opened[0] == said


def test_a_server_that_takes_no_more_connections(bridge: Bridge, server: Connection):
    server.execute(text(f"ALTER DATABASE {name_of(bridge)} CONNECTION LIMIT 0"))
    server.execute(text("CREATE ROLE guest LOGIN"))
    url = bridge.settings.database_url.replace("tests@", "guest@")
    try:
        message, _ = sentence_of(lambda: open_database(url, bridge.settings.home))
    finally:
        server.execute(text("DROP ROLE guest"))

    assert message == "The database server takes no more connections."


def test_nothing_is_left_open_by_what_could_not_be_opened(bridge: Bridge, server: Connection, tmp_path: Path):
    with bridge.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    bridge.engine.dispose()

    with pytest.raises(StorageError, match="newer version"):
        open_database(bridge.settings.database_url, tmp_path)

    wait_until(lambda: count_sessions(server, bridge.engine) == 0)


def count_sessions(server: Connection, engine: Engine) -> int:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
    return int(server.execute(query, {"name": engine.url.database}).scalar() or 0)
