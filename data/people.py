"""People: who may sign in, with which role. What is checked before a change is checked in its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from data import sign_ins
from data.engine import Engine, read_session, write_session
from data.locks import PEOPLE
from data.models import Person
from data.repeating import repeated

# Is given the person and all that are not disabled, and raises to refuse the change.
Check = Callable[[Person, Sequence[Person]], None]


def list_people(engine: Engine) -> list[Person]:
    """List everyone who signed in or was added, by address."""
    with read_session(engine) as session:
        return list(session.exec(select(Person).order_by(col(Person.email))).all())


def list_enabled(engine: Engine) -> list[Person]:
    """List everyone who may sign in."""
    with read_session(engine) as session:
        return _enabled(session)


def _enabled(session: Session) -> list[Person]:
    return list(session.exec(select(Person).where(col(Person.disabled).is_(False))).all())


def add(engine: Engine, email: str, role: str, *, now: datetime) -> Person | None:
    """Add a person; None when there is one of this address already."""
    with write_session(engine, PEOPLE) as session:
        if session.exec(select(Person).where(Person.email == email)).first():
            return None
        person = Person(email=email, role=role, created_at=now)
        session.add(person)
    return person


@repeated
def change_role(engine: Engine, person_id: int, role: str, *, check: Check) -> Person | None:
    """Give a person another role; None when there is no such person."""
    with write_session(engine, PEOPLE) as session:
        person = session.get(Person, person_id)
        if person is None:
            return None
        check(person, _enabled(session))
        person.role = role
        session.add(person)
    return person


@repeated
def disable(engine: Engine, person_id: int, *, check: Check, reason: str, now: datetime) -> Person | None:
    """Disable a person and end their sign-ins for `reason`; None when there is no such person."""
    with write_session(engine, PEOPLE) as session:
        person = session.get(Person, person_id)
        if person is None:
            return None
        check(person, _enabled(session))
        person.disabled = True
        sign_ins.end_all_in(session, person, reason=reason, now=now)
    return person


@repeated
def enable(engine: Engine, person_id: int) -> Person | None:
    """Enable a person again; None when there is no such person."""
    with write_session(engine, PEOPLE) as session:
        person = session.get(Person, person_id)
        if person is None:
            return None
        person.disabled = False
        session.add(person)
    return person


@repeated
def end_sign_ins(engine: Engine, person_id: int, *, reason: str, now: datetime) -> Person | None:
    """End all sign-ins of a person for `reason`; None when there is no such person."""
    with write_session(engine, PEOPLE) as session:
        person = session.get(Person, person_id)
        if person is None:
            return None
        sign_ins.end_all_in(session, person, reason=reason, now=now)
    return person
