"""Sign-ins: from the provider's answer to their end, refused ones too, with their lines in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlmodel import Session, col, delete, select, update

from data.audit import chain, refusals
from data.audit.scope import Scope
from data.engine import Engine, read_session, write_session
from data.locks import PEOPLE
from data.models import Person
from data.repeating import repeated
from data.sign_in_models import SignIn

# Longer than the cookie lasts: an older one is refused for its age alone.
_KEPT_FOR = timedelta(days=35)


@dataclass(frozen=True)
class ClaimedSignIn:
    """One sign-in as a provider reported it; a person whom no admin added gets `first_role`."""

    key: str
    email: str
    name: str
    issued_at: datetime
    first_role: str


class Step(Enum):
    """What becomes of a sign-in."""

    REFUSE = auto()
    LEAVE = auto()  # it does not count, and nothing is written of it
    BEGIN = auto()
    CONTINUE = auto()
    END = auto()


@dataclass(frozen=True)
class Decision:
    """What becomes of a sign-in. `reason` goes with REFUSE and END, `role`, the one that counts, with BEGIN.

    `error` is what the caller raises once the step is written.
    """

    step: Step
    reason: str = ""
    role: str = ""
    error: Exception | None = None


def get_with_person(engine: Engine, key: str) -> tuple[SignIn | None, Person | None]:
    """Return a sign-in, and whose it is."""
    with read_session(engine) as session:
        sign_in = session.get(SignIn, key)
        return sign_in, session.get(Person, sign_in.person_id) if sign_in and sign_in.person_id else None


def get_of_person(engine: Engine, person_id: int, key: str) -> tuple[Person | None, SignIn | None]:
    """Return a person, and the sign-in that they act by."""
    with read_session(engine) as session:
        return session.get(Person, person_id), session.get(SignIn, key)


@repeated
def end(engine: Engine, key: str, *, reason: str, scope: Scope, now: datetime) -> None:
    """End one sign-in, with a line in the audit log."""
    with write_session(engine, PEOPLE) as session:
        sign_in = session.get_one(SignIn, key)
        sign_in.ended_at, sign_in.ended_why = now, reason
        session.add(sign_in)
        chain.append(session, scope, subject=scope.who)


def end_all_in(session: Session, person: Person, *, reason: str, now: datetime) -> None:
    """End all sign-ins of a person within a writing session."""
    person.sign_ins_from = now
    session.add(person)
    # By the provider's clock a sign-in of before may be younger than that.
    is_open = (col(SignIn.person_id) == person.id, col(SignIn.ended_at).is_(None))
    session.exec(update(SignIn).where(*is_open).values(ended_at=now, ended_why=reason))


# --- one sign-in, decided and written in one transaction -----------------------------------------------------------


@repeated
def settle(
    engine: Engine,
    claimed: ClaimedSignIn,
    decide: Callable[[SignIn | None, Person | None], Decision],
    *,
    scope: Scope,
    now: datetime,
) -> tuple[Decision, Person | None]:
    """Ask `decide` what becomes of a sign-in, given what is kept of it and of its person, and write that down.

    Returns the decision, and the person; None where there is none. `scope.who` is the address as it is written down.
    """
    with write_session(engine, PEOPLE) as session:
        sign_in = session.get(SignIn, claimed.key)
        person = session.exec(select(Person).where(Person.email == claimed.email)).first()
        decision = decide(sign_in, person)
        if decision.step is Step.REFUSE:
            _refuse(session, sign_in, claimed, decision.reason, scope, now)
        elif decision.step is Step.BEGIN:
            person = _begin(session, sign_in, person, claimed, decision.role, scope, now)
        elif sign_in is not None and decision.step is Step.CONTINUE:
            sign_in.seen_at = now
            session.add(sign_in)
        elif sign_in is not None and decision.step is Step.END and sign_in.ended_at is None:
            sign_in.ended_at, sign_in.ended_why = now, decision.reason
            session.add(sign_in)
            _record(session, replace(scope, action="signed_out"), claimed.email, {"reason": decision.reason})
    return decision, person


def _refuse(
    session: Session, sign_in: SignIn | None, claimed: ClaimedSignIn, reason: str, scope: Scope, now: datetime
) -> None:
    if sign_in is not None and sign_in.refused == reason:
        return
    refusals.add(session, scope, reason, now=now)
    sign_in = sign_in or SignIn(key=claimed.key, issued_at=claimed.issued_at, seen_at=now)
    sign_in.email, sign_in.refused, sign_in.seen_at = scope.who, reason, now
    session.add(sign_in)


def _begin(
    session: Session,
    sign_in: SignIn | None,
    person: Person | None,
    claimed: ClaimedSignIn,
    role: str,
    scope: Scope,
    now: datetime,
) -> Person:
    if person is None:
        person = Person(email=claimed.email, name=claimed.name, role=claimed.first_role, created_at=now)
        session.add(person)
        session.flush()
    is_first = person.signed_in_at is None
    person.signed_in_at, person.name = now, claimed.name or person.name
    sign_in = sign_in or SignIn(key=claimed.key, issued_at=claimed.issued_at, seen_at=now)
    sign_in.person_id, sign_in.email = person.id, person.email
    sign_in.seen_at, sign_in.refused = now, None
    session.add_all([person, sign_in])
    session.exec(delete(SignIn).where(col(SignIn.issued_at) < now - _KEPT_FOR))
    _record(session, scope, person.email, {"role": role} | ({"first": True} if is_first else {}))
    return person


def _record(session: Session, scope: Scope, subject: str, after: dict[str, Any]) -> None:
    chain.append(session, scope, subject=subject, after={subject: after})
