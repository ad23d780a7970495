"""People, roles, and who may do what: checked here for the browser and the command line alike."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Concatenate, ParamSpec, TypeVar

from core.bridge import Bridge, storage_errors
from core.errors import NotAllowed, SignedOut, TokenRefused
from core.settings import Settings
from data import people, sign_ins, tokens
from data.audit import events, recorder, refusals
from data.audit.scope import Scope
from data.engine import StorageError
from data.models import Person
from data.sign_in_models import SignIn
from data.token_models import ApiToken

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

SIGNED_OUT = "You were signed out."
SIGNED_OUT_EVERYWHERE = "You were signed out everywhere."
EXPIRED = "This token has expired."


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
    """The person who acts, or the token: looked up again at every action, whatever was known before."""

    name: str
    role: Role
    person_id: int | None = None
    sign_in: str | None = None  # the key of the sign-in that brought them here
    token_id: int | None = None  # a pipeline's, which no person acts by


# The local operator: anyone at this machine's terminal, and, while sign-in is not set up, its loopback address.
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

    The person is looked up again and their role is checked first; what the function changes is written to the audit
    log in the same transaction (see data.audit.recorder), and storage failures become ours.
    """

    def wrap(function: Callable[Concatenate[Bridge, Actor, P], T]) -> Callable[Concatenate[Bridge, Actor, P], T]:
        ACTIONS[function.__name__] = role

        @functools.wraps(function)
        def checked(bridge: Bridge, actor: Actor, *args: P.args, **kwargs: P.kwargs) -> T:
            with storage_errors():
                current = check(bridge, actor, role, function.__name__)
                with recorder.acting(scope(bridge, current.name, function.__name__)):
                    return function(bridge, current, *args, **kwargs)

        return checked

    return wrap


def scope(bridge: Bridge, who: str, name: str) -> Scope:
    """Return who acts, for the audit log."""
    return Scope(who, name, bridge.audit_head, bridge.clock.now)


def check(bridge: Bridge, actor: Actor, role: Role, what: str) -> Actor:
    """Return the person as they are now, if they may do `what`; a refusal is written to the audit log.

    Raises: NotAllowed, SignedOut.
    """
    with storage_errors():
        try:
            current = _as_of_now(bridge, actor)
            require(current, role)
        except SignedOut:
            raise  # that it is over has a line already
        except NotAllowed as exc:
            note_refusal(bridge, actor.name, what, exc.message)
            raise
    return current


def _as_of_now(bridge: Bridge, actor: Actor) -> Actor:
    """Look a person up again: role, whether they were deactivated, whether their sign-in still counts.

    Raises: NotAllowed, SignedOut, TokenRefused.
    """
    if actor.token_id is not None:
        return _token_as_of_now(bridge, actor.token_id)
    if actor.person_id is None:
        return actor
    person, sign_in = sign_ins.get_of_person(bridge.engine, actor.person_id, actor.sign_in or "")
    if person is None or (person.disabled and not is_fixed_admin(bridge.settings, person.email)):
        raise NotAllowed(f"{actor.name} was deactivated.", advice="Ask an admin of Cohort Bridge.")
    why = why_ended(bridge.settings, person, sign_in, bridge.clock.now())
    if why:
        raise SignedOut(why)
    return replace(actor, role=get_role(bridge.settings, person))


def why_ended(settings: Settings, person: Person | None, sign_in: SignIn | None, now: datetime) -> str | None:
    """Return why a sign-in does not count (any more), None while it does."""
    if sign_in is None or sign_in.ended_at or sign_in.refused or person is None or sign_in.person_id != person.id:
        return (sign_in and sign_in.ended_why) or SIGNED_OUT
    if person.sign_ins_from is not None and sign_in.issued_at <= person.sign_ins_from:
        return SIGNED_OUT_EVERYWHERE
    if now - sign_in.issued_at >= timedelta(hours=settings.sign_in_hours):
        return too_long_ago(settings)
    if now - sign_in.seen_at >= timedelta(minutes=settings.sign_in_idle_minutes):
        return f"Nothing was done for {settings.sign_in_idle_minutes:g} minutes, so you were signed out."
    return None


def _token_as_of_now(bridge: Bridge, token_id: int) -> Actor:
    token, maker = tokens.get_with_maker(bridge.engine, token_id) or (None, None)
    if token is None:
        raise TokenRefused("There is no such token.")
    why = why_refused(bridge.settings, token, maker, bridge.clock.now())
    if why:
        raise TokenRefused(why)
    return token_actor(token)


def why_refused(settings: Settings, token: ApiToken, maker: Person | None, now: datetime) -> str | None:
    """Return why a token does not count (any more), None while it does.

    Whoever made it has seen its text: it counts only as long as they could make it still.
    """
    if token.revoked_at is not None:
        return token.revoked_why or "This token was revoked."
    if token.expires_at is not None and now >= token.expires_at:
        return EXPIRED
    if token.created_by_id is not None and not (maker and is_enabled_admin(settings, maker)):
        return "The person who made this token is no longer an admin."
    return None


def token_actor(token: ApiToken) -> Actor:
    """Return who acts by a token: a viewer or an analyst, whatever its row says."""
    role = Role.ANALYST if token.role == Role.ANALYST.label else Role.VIEWER
    return Actor(f"token: {token.name}", role, token_id=token.id)


def too_long_ago(settings: Settings) -> str:
    """Format why a sign-in that is too old does not count."""
    return f"A sign-in lasts {settings.sign_in_hours:g} hours, and yours is over."


def get_role(settings: Settings, person: Person) -> Role:
    """Return the role that counts: the settings come before the database."""
    if is_fixed_admin(settings, person.email):
        return Role.ADMIN
    return Role[person.role.upper()]


def is_fixed_admin(settings: Settings, email: str) -> bool:
    """Return whether COHORT_BRIDGE_ADMINS names the address: always an admin, and never deactivated."""
    return email in addresses(settings.admins)


def is_enabled_admin(settings: Settings, person: Person) -> bool:
    """Return whether a person is an admin who was not deactivated."""
    is_fixed = is_fixed_admin(settings, person.email)
    return is_fixed or (not person.disabled and get_role(settings, person) is Role.ADMIN)


def addresses(text: str) -> frozenset[str]:
    """Read comma-separated e-mail addresses, or domains."""
    return frozenset(normal(part) for part in text.split(",") if part.strip())


def normal(address: str) -> str:
    """Return an address in the one form in which it is compared.

    Only A to Z become small: other letters that do (the Kelvin sign becomes a k) would make two addresses one.
    """
    return "".join(sign.lower() if sign.isascii() else sign for sign in address.strip())


def admins(bridge: Bridge) -> list[str]:
    """List the addresses of those who can change roles."""
    with storage_errors():
        enabled = people.list_enabled(bridge.engine)
    named = addresses(bridge.settings.admins)
    return sorted({person.email for person in enabled if get_role(bridge.settings, person) is Role.ADMIN} | named)


def note_refusal(bridge: Bridge, who: str, what: str, why: str) -> None:
    """Record a refusal in the audit log; the same one again within minutes is not written twice.

    That it cannot be written changes nothing about the refusal.
    """
    try:
        refusals.note(bridge.engine, scope(bridge, who, what), why, now=bridge.clock.now())
    except StorageError as exc:
        log.warning("refusal not recorded action=%s reason=%s", what, exc)


def note_done(bridge: Bridge, who: str, what: str, subject: str) -> None:
    """Record in the audit log what somebody did that changes nothing here, such as a message that was sent."""
    events.note(bridge.engine, scope(bridge, who, what), subject)
