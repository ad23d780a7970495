"""Sign-in: what an OpenID provider reports of a person becomes an Actor, or a refusal with its reason.

The provider proves who someone is and nothing else. What they may do, and for how long a sign-in counts, is ours: the
cookie that Streamlit keeps it in lasts thirty days, and cannot be taken back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from core.access import roles
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, SignedOut, SignInRefused
from core.settings import Settings
from data import sign_ins
from data.models import Person
from data.sign_in_models import SignIn
from data.sign_ins import ClaimedSignIn, Decision, Step

# The provider's clock and ours may differ by so much.
_SKEW = timedelta(minutes=5)
# A row is written at most this often to note that someone is still there.
_NOTE_EVERY = timedelta(minutes=1)
_NAME_LENGTH = 200
# The code of refusals that an admin can lift.
ACCESS_DENIED = "not_let_in"
_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,64}@[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")


@dataclass(frozen=True)
class IdentityClaims:
    """What a provider reported: the one sign-in that it is about, and whose."""

    key: str
    email: str
    name: str
    issued_at: datetime

    @property
    def logged_email(self) -> str:
        """The address as the audit log names it: what is no address names no one."""
        return self.email if _ADDRESS.fullmatch(self.email) else "unknown"


def admit(bridge: Bridge, claims: Mapping[str, Any], *, by_itself: bool = False) -> Actor:
    """Admit a person whom the provider vouches for, and note that they are there, unless the page came `by_itself`.

    A first sign-in makes a person; every sign-in, its end and every refusal is written to the audit log, once.
    Raises: SignInRefused, SignedOut.
    """
    identity = _read_claims(claims)
    with storage_errors():
        actor = _admitted_before(bridge, identity, within=None if by_itself else _NOTE_EVERY)
        if actor is not None:
            return actor
        admission = _Admission(bridge.settings, identity, is_verified(claims, identity.email), bridge.clock.now())
        decision, person = sign_ins.settle(
            bridge.engine,
            ClaimedSignIn(identity.key, identity.email, identity.name, identity.issued_at, Role.VIEWER.label),
            admission.decide,
            scope=roles.scope(bridge, identity.logged_email, "sign_in"),
            now=admission.now,
        )
    if decision.error:
        raise decision.error
    assert person is not None
    return _actor(bridge.settings, person, identity)


def is_admitted(bridge: Bridge, claims: Mapping[str, Any]) -> bool:
    """Return whether a person was let in by this sign-in, which has not ended since. Nothing is written."""
    try:
        identity = _read_claims(claims)
        with storage_errors():
            return _admitted_before(bridge, identity, within=None) is not None
    except CohortBridgeError:
        return False


def _admitted_before(bridge: Bridge, identity: IdentityClaims, *, within: timedelta | None) -> Actor | None:
    """Return the person if their sign-in counts, and was noted `within` that time: nothing needs to be written then."""
    sign_in, person = sign_ins.get_with_person(bridge.engine, identity.key)
    now = bridge.clock.now()
    if not person or not sign_in or person.disabled or person.email != identity.email:
        return None
    if within is not None and now - sign_in.seen_at >= within:
        return None
    if roles.why_ended(bridge.settings, person, sign_in, now):
        return None
    return _actor(bridge.settings, person, identity)


def _read_claims(claims: Mapping[str, Any]) -> IdentityClaims:
    """Read what identifies one sign-in. Raises SignInRefused when the provider did not report it."""
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
    """Return whether the provider itself vouches for the address.

    `email_verified` is the standard claim (OpenID Connect Core, 5.1); some providers write it as text. Microsoft Entra
    has it not: there `xms_edov` says that the address's domain belongs to the organization, and
    `verified_primary_email` lists the addresses that do.
    """
    if claims.get("email_verified") in (False, "false", "False"):
        return False
    if any(claims.get(name) in (True, "true", "True", "1") for name in ("email_verified", "xms_edov")):
        return True
    listed = claims.get("verified_primary_email")
    verified = cast("list[Any]", listed) if isinstance(listed, list) else []
    return email in [roles.normal(str(address)) for address in verified]


@dataclass(frozen=True)
class _Admission:
    """The decision about one sign-in. Pure: what is kept is handed in, and what is decided is written by others."""

    settings: Settings
    identity: IdentityClaims
    is_verified: bool
    now: datetime

    def decide(self, sign_in: SignIn | None, person: Person | None) -> Decision:
        """Decide what becomes of a sign-in, by what is kept of it and of its person."""
        refusal = self._refusal(person)
        if refusal:
            return Decision(Step.REFUSE, reason=refusal.message, error=refusal)
        if sign_in is None or sign_in.refused is not None:
            over = self._over_before_it_began(sign_in, person)
            if over:
                return Decision(Step.LEAVE, error=SignedOut(over))
            newcomer = Person(email=self.identity.email, role=Role.VIEWER.label, created_at=self.now)
            return Decision(Step.BEGIN, role=roles.get_role(self.settings, person or newcomer).label)
        why = roles.why_ended(self.settings, person, sign_in, self.now)
        return Decision(Step.END, reason=why, error=SignedOut(why)) if why else Decision(Step.CONTINUE)

    def _over_before_it_began(self, sign_in: SignIn | None, person: Person | None) -> str | None:
        """Return why a sign-in that is new here cannot begin any more, None when it can."""
        issued_at = self.identity.issued_at
        if self.now - issued_at >= timedelta(hours=self.settings.sign_in_hours):
            return roles.too_long_ago(self.settings)
        if person is not None and person.sign_ins_from is not None and issued_at <= person.sign_ins_from:
            return roles.SIGNED_OUT_EVERYWHERE
        if sign_in is not None and sign_in.ended_at is not None:
            return sign_in.ended_why or roles.SIGNED_OUT
        return None

    def _refusal(self, person: Person | None) -> SignInRefused | None:
        email = self.identity.email
        return self._identity_refusal() or (
            None if roles.is_fixed_admin(self.settings, email) else self._person_refusal(email, person)
        )

    def _identity_refusal(self) -> SignInRefused | None:
        """Refuse where the provider does not prove who this is."""
        email = self.identity.email
        if not _ADDRESS.fullmatch(email):
            return SignInRefused(
                "The sign-in provider did not say your e-mail address.",
                advice="Ask an admin to check the sign-in set-up: the scope `email` is needed.",
            )
        if not self.is_verified:
            return SignInRefused(
                f"The sign-in provider does not vouch for the address {email}.",
                advice="Verify the address with the provider, then sign in again; see docs/sign-in for the claim.",
            )
        if self.identity.issued_at - self.now > _SKEW:
            return SignInRefused(
                "The sign-in was issued in the future.", advice="Ask an admin to check this machine's clock."
            )
        return None

    def _person_refusal(self, email: str, person: Person | None) -> SignInRefused | None:
        """Refuse whom neither the settings nor an admin lets sign in."""
        domains = roles.addresses(self.settings.allowed_domains)
        if domains and email.rpartition("@")[2] not in domains:
            return SignInRefused(
                f"{email} is not of a domain that may sign in.", advice="Use the address of your organization."
            )
        if person is None and self.settings.first_sign_in == "refused":
            return SignInRefused(f"{email} has not been added by an admin.", code=ACCESS_DENIED)
        if person is not None and person.disabled:
            return SignInRefused(
                f"{email} was deactivated.", advice="Ask an admin of Cohort Bridge.", code=ACCESS_DENIED
            )
        return None


def _actor(settings: Settings, person: Person, identity: IdentityClaims) -> Actor:
    return Actor(person.email, roles.get_role(settings, person), person.id, identity.key)


@action(Role.VIEWER)
def sign_out(bridge: Bridge, actor: Actor) -> None:
    """End the sign-in that the person acts by: a copy of its cookie leads nowhere from now on."""
    if actor.sign_in is None:
        return
    scope = roles.scope(bridge, actor.name, "sign_out")
    sign_ins.end(bridge.engine, actor.sign_in, reason="You signed out.", scope=scope, now=bridge.clock.now())
