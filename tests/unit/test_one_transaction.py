"""Several actions as one transaction: all of them with their lines of the audit log, or none and no line."""

from __future__ import annotations

import pytest
from sqlmodel import select

from core.access import audit_log, people, roles
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import SettingsError
from data import engine
from data.audit import recorder
from data.audit.anchor import read_anchor
from data.engine import read_session, write_session
from data.models import AuditEntry, Person


class Stopped(Exception):
    """The test's own."""


def told(bridge: Bridge) -> list[tuple[int, str, str]]:
    """Return the audit log, which nothing objects to."""
    assert audit_log.verify_audit(bridge, LOCAL).ok
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).order_by("number")).all()
    return [(entry.number, entry.action, entry.subject) for entry in entries]


def addresses(bridge: Bridge) -> list[str]:
    return [view.person.email for view in people.list_people(bridge, LOCAL)]


def test_each_action_has_its_line_once_all_is_committed(bridge: Bridge):
    anchor = bridge.settings.audit_head
    with engine.as_one(bridge.engine):
        people.add_person(bridge, LOCAL, "a@example.com", "admin")
        people.add_person(bridge, LOCAL, "b@example.com")
        assert addresses(bridge) == ["a@example.com", "b@example.com"]
        assert read_anchor(anchor) is None

    assert told(bridge) == [(1, "add_person", "a@example.com"), (2, "add_person", "b@example.com")]
    noted = read_anchor(anchor)
    assert noted is not None
    assert noted[0] == 2


def test_nothing_is_left_of_what_comes_to_nothing(bridge: Bridge):
    people.add_person(bridge, LOCAL, "before@example.com")

    def add_and_stop() -> None:
        with engine.as_one(bridge.engine):
            people.add_person(bridge, LOCAL, "a@example.com", "admin")
            raise Stopped

    with pytest.raises(Stopped):
        add_and_stop()

    assert addresses(bridge) == ["before@example.com"]
    people.add_person(bridge, LOCAL, "after@example.com")
    assert told(bridge) == [(1, "add_person", "before@example.com"), (2, "add_person", "after@example.com")]


def test_what_one_action_began_is_in_no_other_s_line(bridge: Bridge):
    def add_and_stop() -> None:
        scope = roles.scope(bridge, "local", "add_half")
        with recorder.acting(scope), write_session(bridge.engine) as session:
            session.add(Person(email="half@example.com", role="admin", created_at=bridge.clock.now()))
            session.flush()
            raise Stopped

    with engine.as_one(bridge.engine):
        with pytest.raises(Stopped):
            add_and_stop()
        with pytest.raises(SettingsError):
            people.add_person(bridge, LOCAL, "no address")
        people.add_person(bridge, LOCAL, "a@example.com")

    assert addresses(bridge) == ["a@example.com"]
    assert told(bridge) == [(1, "add_person", "a@example.com")]
