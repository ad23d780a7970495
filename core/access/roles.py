"""People, roles, and who may do what: checked here for the browser and the command line alike."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session, col, select

from core.bridge import Bridge, storage_errors
from core.errors import NotAllowed, SignedOut
from core.settings import Settings
from data.audit import recorder
from data.audit.scope import Scope
from data.engine import StorageError, read_session, write_session
from data.models import AuditEntry, Person, SignIn, utc_now

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

# A page that refreshes itself is refused again every few seconds: that is one event, not hundreds.
_SAME_REFUSAL = timedelta(minutes=5)


class Role(IntEnum):
    """What a person may do; each role may do all that the ones below it may."""

    VIEWER = 1
    ANALYST = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role as the screens and the database spell it."""
        return self.name.lower()


@dataclass(frozen=True)
class Actor:
    """The person who acts. One who signed in is looked up again at every action, whatever was known before."""

    name: str
    role: Role
    person_id: int | None = None
    sign_in: str | None = None  # the key of the sign-in that brought them here


# The local operator: whoever has this machine's terminal, and, while sign-in is not set up, its loopback address.
LOCAL = Actor("local", Role.ADMIN)

# Every action by name, with the role that it needs.
ACTIONS: dict[str, Role] = {}


def require(actor: Actor, role: Role) -> None:
    """Refuse when the person lacks the role. Raises NotAllowed."""
    if actor.role < role:
        raise NotAllowed(f"This needs the role {role.label}, and {actor.name} has the role {actor.role.label}.")


def action(
    role: Role,
) -> Callable[[Callable[Concatenate[Bridge, Actor, P], T]], Callable[Concatenate[Bridge, Actor, P], T]]:
    """Mark a function as something people do.

    The person is looked up afresh and their role is checked first; what the function changes is written to the audit
    log in the same transaction (see data.audit.recorder), and storage failures become ours.
    """

    def wrap(function: Callable[Concatenate[Bridge, Actor, P], T]) -> Callable[Concatenate[Bridge, Actor, P], T]:
        ACTIONS[function.__name__] = role

        @functools.wraps(function)
        def checked(bridge: Bridge, actor: Actor, *args: P.args, **kwargs: P.kwargs) -> T:
            with storage_errors():
                present = check(bridge, actor, role, function.__name__)
                with recorder.acting(scope(bridge, present.name, function.__name__)):
                    return function(bridge, present, *args, **kwargs)

        return checked

    return wrap


def scope(bridge: Bridge, who: str, name: str) -> Scope:
    """Return who acts, for the audit log."""
    return Scope(who, name, bridge.settings.audit_head, bridge.clock.now)


def check(bridge: Bridge, actor: Actor, role: Role, what: str) -> Actor:
    """Return the person as they are now, if they may do `what`; a refusal is written to the audit log.

    Raises: NotAllowed, SignedOut.
    """
    with storage_errors():
        try:
            present = as_of_now(bridge, actor)
            require(present, role)
        except SignedOut:
            raise  # that it is over has a line already
        except NotAllowed as exc:
            note_refusal(bridge, actor.name, what, exc.message)
            raise
    return present


def as_of_now(bridge: Bridge, actor: Actor) -> Actor:
    """Look a person up afresh: role, whether they were disabled, whether their sign-in still counts.

    Raises: NotAllowed, SignedOut.
    """
    if actor.person_id is None:
        return actor
    with read_session(bridge.engine) as session:
        person, held = session.get(Person, actor.person_id), session.get(SignIn, actor.sign_in or "")
    if person is None or (person.disabled and not is_fixed_admin(bridge.settings, person.email)):
        raise NotAllowed(f"{actor.name} is not let in any more.", advice="Ask an admin of Cohort Bridge.")
    why = why_ended(bridge.settings, person, held, utc_now())
    if why:
        raise SignedOut(why)
    return replace(actor, role=get_role(bridge.settings, person))


def why_ended(settings: Settings, person: Person, held: SignIn | None, now: datetime) -> str | None:
    """Say why a sign-in does not count (any more), None while it does."""
    if held is None or held.ended_at or held.refused or held.person_id != person.id:
        return (held and held.ended_why) or "You were signed out."
    if person.sign_ins_from is not None and held.issued_at <= person.sign_ins_from:
        return "You were signed out everywhere."
    if now - held.issued_at >= timedelta(hours=settings.sign_in_hours):
        return f"A sign-in lasts {settings.sign_in_hours:g} hours, and yours is over."
    if now - held.seen_at >= timedelta(minutes=settings.sign_in_idle_minutes):
        return f"Nothing was done for {settings.sign_in_idle_minutes:g} minutes, so you were signed out."
    return None


def get_role(settings: Settings, person: Person) -> Role:
    """Return the role that counts: what the settings say of a person comes before what the database says."""
    if is_fixed_admin(settings, person.email):
        return Role.ADMIN
    return Role[person.role.upper()]


def is_fixed_admin(settings: Settings, email: str) -> bool:
    """Tell whether COHORT_BRIDGE_ADMINS names the address: always an admin, and never shut out."""
    return email in addresses(settings.admins)


def addresses(text: str) -> frozenset[str]:
    """Read comma-separated e-mail addresses, or domains."""
    return frozenset(normal(part) for part in text.split(",") if part.strip())


def normal(address: str) -> str:
    """Write an address the one way in which it is compared.

    Only A to Z become small: other letters that do (the Kelvin sign becomes a k) would make two addresses one.
    """
    return "".join(sign.lower() if sign.isascii() else sign for sign in address.strip())


def admins(bridge: Bridge) -> list[str]:
    """List the addresses of those who can change roles."""
    with storage_errors(), read_session(bridge.engine) as session:
        found = session.exec(select(Person).where(col(Person.disabled).is_(False))).all()
    named = addresses(bridge.settings.admins)
    return sorted({one.email for one in found if get_role(bridge.settings, one) is Role.ADMIN} | named)


def note_refusal(bridge: Bridge, who: str, what: str, why: str) -> None:
    """Write a refusal to the audit log; the same one again within minutes is not written twice.

    That it cannot be written changes nothing about the refusal.
    """
    try:
        with write_session(bridge.engine) as session:
            add_refusal(bridge, session, who, what, why)
    except StorageError as exc:
        log.warning("refusal not recorded action=%s reason=%s", what, exc)


def add_refusal(bridge: Bridge, session: Session, who: str, what: str, why: str) -> None:
    """Add a refusal to the audit log within a writing session."""
    lately = select(AuditEntry).where(
        AuditEntry.who == who[:320],
        AuditEntry.action == what,
        AuditEntry.outcome == "refused",
        AuditEntry.subject == why,
        col(AuditEntry.at) > utc_now() - _SAME_REFUSAL,
    )
    if session.exec(lately.limit(1)).first() is None:
        recorder.append(session, scope(bridge, who, what), subject=why, outcome="refused")
