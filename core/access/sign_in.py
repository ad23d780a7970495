"""Who gets in: what an OpenID provider says of a person becomes an Actor, or a refusal with its reason.

The provider proves who somebody is and nothing else. What they may do, and for how long a sign-in counts, is ours: the
cookie that Streamlit keeps it in lasts thirty days, and nobody can take it back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlmodel import Session, col, delete, select

from core.access import roles
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors
from core.errors import SignedOut, SignInRefused
from core.settings import Settings
from data.audit import recorder
from data.engine import read_session, write_session
from data.models import Person, SignIn, utc_now

# The provider's clock and ours may differ by so much.
_SKEW = timedelta(minutes=5)
# A row is written at most this often to note that somebody is still there.
_NOTE_EVERY = timedelta(minutes=1)
# Longer than the cookie lasts: an older one is refused for its age alone.
_KEPT_FOR = timedelta(days=35)
_NAME_LENGTH = 200
# The code of refusals that an admin can lift.
ACCESS_DENIED = "not_let_in"
_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,64}@[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")


@dataclass(frozen=True)
class IdentityClaims:
    """What a provider said: the one sign-in that it is about, and whose."""

    key: str
    email: str
    name: str
    issued_at: datetime


def admit(bridge: Bridge, claims: Mapping[str, Any], *, by_itself: bool = False) -> Actor:
    """Let somebody in whom the provider vouches for, and note that they are there, unless the page came `by_itself`.

    A first sign-in makes a person; every sign-in, its end and every refusal is written to the audit log, once.
    Raises: SignInRefused, SignedOut.
    """
    visit = read_claims(claims)
    with storage_errors():
        actor = _let_in_before(bridge, visit, within=None if by_itself else _NOTE_EVERY)
        if actor is not None:
            return actor
        with write_session(bridge.engine) as session:
            admitted = _Admission(bridge, session, visit, claims).decide()
    if isinstance(admitted, Exception):
        raise admitted
    return admitted


def _let_in_before(bridge: Bridge, visit: IdentityClaims, *, within: timedelta | None) -> Actor | None:
    """Return the person if their sign-in counts, and was noted `within` that time: nothing needs to be written then."""
    with read_session(bridge.engine) as session:
        held = session.get(SignIn, visit.key)
        person = session.get(Person, held.person_id) if held and held.person_id else None
    now = utc_now()
    if not person or not held or person.disabled or person.email != visit.email:
        return None
    if within is not None and now - held.seen_at >= within:
        return None
    if roles.why_ended(bridge.settings, person, held, now):
        return None
    return _actor(bridge.settings, person, visit)


def read_claims(claims: Mapping[str, Any]) -> IdentityClaims:
    """Read what identifies one sign-in. Raises SignInRefused when the provider did not say it."""
    issuer, subject, issued_s = claims.get("iss"), claims.get("sub"), claims.get("iat")
    if not issuer or not subject or isinstance(issued_s, bool) or not isinstance(issued_s, int | float):
        raise SignInRefused(
            "The sign-in provider did not say who you are and since when.",
            advice="Ask an admin to check the sign-in set-up: it must be an OpenID Connect provider.",
        )
    try:
        issued_at = datetime.fromtimestamp(issued_s, UTC)
    except (OverflowError, OSError, ValueError):
        raise SignInRefused("The sign-in provider's time cannot be read.", advice="Sign in again.") from None
    key = hashlib.sha256("\n".join((str(issuer), str(subject), str(issued_s))).encode()).hexdigest()
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+", " ", str(claims.get("name") or "")).strip()[:_NAME_LENGTH]
    email = claims.get("email")
    return IdentityClaims(key, roles.normal(email) if isinstance(email, str) else "", name, issued_at)


def is_verified(claims: Mapping[str, Any], email: str) -> bool:
    """Tell whether the provider itself vouches for the address.

    `email_verified` is the standard claim (OpenID Connect Core, 5.1); some providers write it as text. Microsoft Entra
    has it not: there `xms_edov` says that the address's domain belongs to the organisation, and
    `verified_primary_email` lists the addresses that do.
    """
    if claims.get("email_verified") in (False, "false", "False"):
        return False
    if any(claims.get(name) in (True, "true", "True", "1") for name in ("email_verified", "xms_edov")):
        return True
    listed = claims.get("verified_primary_email")
    verified = cast("list[Any]", listed) if isinstance(listed, list) else []
    return email in [roles.normal(str(one)) for one in verified]


class _Admission:
    """The decision about one visit, in one transaction with what it writes."""

    def __init__(self, bridge: Bridge, session: Session, visit: IdentityClaims, claims: Mapping[str, Any]) -> None:
        self._bridge = bridge
        self._session = session
        self._visit = visit
        self._claims = claims
        self._now = utc_now()
        self._held = session.get(SignIn, visit.key)
        self._person = session.exec(select(Person).where(Person.email == visit.email)).first()

    def decide(self) -> Actor | SignInRefused | SignedOut:
        """Return the person, or what to tell them."""
        refusal = self._refusal()
        if refusal:
            return self._refuse(refusal)
        age = self._now - self._visit.issued_at
        is_new = self._held is None or self._held.refused is not None
        if is_new and age >= timedelta(hours=self._bridge.settings.sign_in_hours):
            return SignedOut(f"A sign-in lasts {self._bridge.settings.sign_in_hours:g} hours, and yours is over.")
        person = self._person or self._new_person()
        if is_new:
            return self._begin(person)
        assert self._held is not None
        why = roles.why_ended(self._bridge.settings, person, self._held, self._now)
        if why:
            return self._end(person, why)
        self._held.seen_at = self._now
        self._session.add(self._held)
        return _actor(self._bridge.settings, person, self._visit)

    def _refusal(self) -> SignInRefused | None:
        visit, settings = self._visit, self._bridge.settings
        if not _ADDRESS.fullmatch(visit.email):
            return SignInRefused(
                "The sign-in provider did not say your e-mail address.",
                advice="Ask an admin to check the sign-in set-up: the scope `email` is needed.",
            )
        if not is_verified(self._claims, visit.email):
            return SignInRefused(
                f"The sign-in provider does not vouch for the address {visit.email}.",
                advice="Verify the address with the provider, then sign in again; see docs/sign-in for the claim.",
            )
        if visit.issued_at - self._now > _SKEW:
            return SignInRefused(
                "The sign-in was issued in the future.", advice="Ask an admin to check this machine's clock."
            )
        if roles.is_fixed_admin(settings, visit.email):
            return None
        domains = roles.addresses(settings.allowed_domains)
        if domains and visit.email.rpartition("@")[2] not in domains:
            return SignInRefused(
                f"{visit.email} is not of a domain that may sign in.", advice="Use the address of your organisation."
            )
        if self._person is None and settings.first_sign_in == "refused":
            return SignInRefused(f"{visit.email} was not let in by an admin yet.", code=ACCESS_DENIED)
        if self._person is not None and self._person.disabled:
            return SignInRefused(
                f"{visit.email} is not let in any more.", advice="Ask an admin of Cohort Bridge.", code=ACCESS_DENIED
            )
        return None

    def _refuse(self, refusal: SignInRefused) -> SignInRefused:
        if self._held is None or self._held.refused != refusal.message:
            roles.add_refusal(self._bridge, self._session, self._who(), "sign_in", refusal.message)
            held = self._held or SignIn(key=self._visit.key, issued_at=self._visit.issued_at)
            held.email, held.refused, held.seen_at = self._who(), refusal.message, self._now
            self._session.add(held)
        return refusal

    def _new_person(self) -> Person:
        # Whom the settings name is an admin as long as they do, and not by what is kept here.
        person = Person(email=self._visit.email, name=self._visit.name, role=Role.VIEWER.label)
        self._session.add(person)
        self._session.flush()
        return person

    def _begin(self, person: Person) -> Actor | SignedOut:
        if person.sign_ins_from is not None and self._visit.issued_at <= person.sign_ins_from:
            return SignedOut("You were signed out everywhere.")
        if self._held is not None and self._held.ended_at is not None:
            return SignedOut(self._held.ended_why or "You were signed out.")
        first = person.signed_in_at is None
        person.signed_in_at, person.name = self._now, self._visit.name or person.name
        held = self._held or SignIn(key=self._visit.key, issued_at=self._visit.issued_at)
        held.person_id, held.email = person.id, person.email
        held.seen_at, held.refused = self._now, None
        self._session.add_all([person, held])
        self._session.exec(delete(SignIn).where(col(SignIn.issued_at) < self._now - _KEPT_FOR))
        actor = _actor(self._bridge.settings, person, self._visit)
        after = {"role": actor.role.label} | ({"first": True} if first else {})
        self._tell("sign_in", person.email, after)
        return actor

    def _end(self, person: Person, why: str) -> SignedOut:
        assert self._held is not None
        if self._held.ended_at is None:
            self._held.ended_at, self._held.ended_why = self._now, why
            self._session.add(self._held)
            self._tell("signed_out", person.email, {"reason": why})
        return SignedOut(why)

    def _tell(self, what: str, subject: str, after: dict[str, Any]) -> None:
        held = roles.scope(self._bridge, self._who(), what)
        recorder.append(self._session, held, subject=subject, after={subject: after})

    def _who(self) -> str:
        return self._visit.email if _ADDRESS.fullmatch(self._visit.email) else "unknown"


def _actor(settings: Settings, person: Person, visit: IdentityClaims) -> Actor:
    return Actor(person.email, roles.get_role(settings, person), person.id, visit.key)


@action(Role.VIEWER)
def sign_out(bridge: Bridge, actor: Actor) -> None:
    """End the sign-in that the person acts by: a copy of its cookie leads nowhere from now on."""
    if actor.sign_in is None:
        return
    with write_session(bridge.engine) as session:
        held = session.get_one(SignIn, actor.sign_in)
        held.ended_at, held.ended_why = utc_now(), "You signed out."
        session.add(held)
        recorder.append(session, roles.scope(bridge, actor.name, "sign_out"), subject=actor.name)
