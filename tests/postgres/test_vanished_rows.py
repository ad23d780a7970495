"""A row that another process removes while one changes it, which SQLite's single writer cannot meet."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from core.bridge import Bridge
from data.engine import Engine, TransactionLost, write_session
from data.models import Person
from data.repeating import repeated


def add_person(bridge: Bridge) -> int:
    with write_session(bridge.engine) as session:
        person = Person(email="a@example.com", role="admin", created_at=bridge.clock.now())
        session.add(person)
    assert person.id is not None
    return person.id


def remove(bridge: Bridge, person_id: int) -> None:
    with write_session(bridge.engine, by_rows=True) as session:
        session.connection().execute(text("DELETE FROM person WHERE id = :id"), {"id": person_id})


def change(bridge: Bridge, person_id: int, tries: list[Person | None]) -> None:
    with write_session(bridge.engine, by_rows=True) as session:
        person = session.get(Person, person_id)
        tries.append(person)
        if person is None:
            return
        remove(bridge, person_id)
        person.name = "A"
        session.add(person)


def test_a_change_of_a_row_that_is_gone_meanwhile_is_a_transaction_that_was_lost(bridge: Bridge):
    with pytest.raises(TransactionLost, match="busy"):
        change(bridge, add_person(bridge), [])


def test_it_is_done_again_where_that_is_safe(bridge: Bridge):
    person_id, tries = add_person(bridge), list[Person | None]()

    @repeated
    def try_to(_: Engine) -> None:
        change(bridge, person_id, tries)

    try_to(bridge.engine)

    assert [person is not None for person in tries] == [True, False]
