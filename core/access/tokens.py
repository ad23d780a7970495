"""Tokens that pipelines ask with: made by admins for a role below theirs, shown once, revoked at any time.

The text is 256 bits of chance, so that a plain hash of it can neither be tried against nor turned around.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from core.access import roles
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors
from core.errors import NotFound, SettingsError, StorageFailed, TokenRefused
from core.validation import clean_exact_line
from data import tokens
from data.models import Person
from data.token_models import ApiToken

log = logging.getLogger(__name__)

# What every token begins with: scanners for secrets, and people, know it by that.
PREFIX = "cbr_"
ROLES = (Role.VIEWER, Role.ANALYST)
LONGEST_NAME, MOST_TOKENS, MOST_DAYS = 64, 100, 3660
_TEXT = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
# A row is written at most this often to note that a token is in use.
_NOTE_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class NewToken:
    """A token that was made, and its text, which is kept nowhere."""

    token: ApiToken
    text: str

    def __repr__(self) -> str:
        return f"NewToken({self.token.name!r})"


@dataclass(frozen=True)
class TokenView:
    """A token that was not revoked, and why it does not count all the same, None while it does."""

    token: ApiToken
    refused: str | None

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.refused == roles.EXPIRED


@action(Role.ADMIN)
def list_tokens(bridge: Bridge, actor: Actor) -> list[TokenView]:
    """List the tokens that were not revoked, by name."""
    now = bridge.clock.now()
    rows = tokens.list_unrevoked(bridge.engine)
    return [TokenView(token, roles.why_refused(bridge.settings, token, maker, now)) for token, maker in rows]


@action(Role.ADMIN)
def make_token(bridge: Bridge, actor: Actor, name: str, role: str, *, days: int | None = None) -> NewToken:
    """Make a token, for so many days or until it is revoked. Raises SettingsError naming the field."""
    line = clean_exact_line(name, "Name")
    if len(line) > LONGEST_NAME:
        raise SettingsError(f"Name: at most {LONGEST_NAME} characters.")
    if role not in [each.label for each in ROLES]:
        raise SettingsError("Role: choose viewer or analyst; no token is an admin.")
    if days is not None and not 0 < days <= MOST_DAYS:
        raise SettingsError(f"Days: a whole number from 1 to {MOST_DAYS:,}.")
    text, now = PREFIX + secrets.token_urlsafe(32), bridge.clock.now()
    token = ApiToken(
        name=line,
        role=role,
        secret_hash=_hash(text),
        secret_end=text[-4:],
        created_by=actor.name,
        created_by_id=actor.person_id,
        created_at=now,
        expires_at=now + timedelta(days=days) if days else None,
    )

    def check(present: Sequence[ApiToken]) -> None:
        if any(other.name.casefold() == line.casefold() for other in present):
            raise SettingsError("Name: a token has it already.", advice="Choose another, or revoke that one first.")
        if len(present) >= MOST_TOKENS:
            raise SettingsError(f"There are {MOST_TOKENS} tokens already.", advice="Revoke those that no one uses.")

    return NewToken(tokens.add(bridge.engine, token, check=check), text)


@action(Role.ADMIN)
def revoke_token(bridge: Bridge, actor: Actor, token_id: int) -> ApiToken:
    """Revoke a token for good, from its next request on. Raises NotFound."""
    # Told to whoever sends it, perhaps a thief: by whom, the audit log has.
    token = tokens.revoke(bridge.engine, token_id, why="This token was revoked.", now=bridge.clock.now())
    if token is None:
        raise NotFound("There is no such token.", advice="Reload the page.")
    return token


# --- asking with one -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asker:
    """Who asks: an actor where the token that was sent counts, else why it does not; `token_id` of one that is known.

    `is_open`: whether any token counts. While none does there is nothing to open. `has_counted`: asked before with it.
    """

    is_open: bool
    actor: Actor | None = None
    refused: TokenRefused | None = None
    token_id: int | None = None
    name: str = "unknown token"
    has_counted: bool = False


def find_asker(bridge: Bridge, text: str | None) -> Asker:
    """Find out who sends a text as their token, and note that it is in use. Raises StorageFailed."""
    now, settings = bridge.clock.now(), bridge.settings
    hashed = _hash(text) if text is not None and _TEXT.fullmatch(text) else None
    with storage_errors():
        rows = tokens.list_with(bridge.engine, hashed)
    is_open = any(roles.why_refused(settings, token, maker, now) is None for token, maker in rows)
    found = [row for row in rows if hashed is not None and hmac.compare_digest(row[0].secret_hash, hashed)]
    if not found:
        sent = "This token is not known." if text is not None else "A token is needed."
        return Asker(is_open, refused=TokenRefused(sent))
    return _known_asker(bridge, *found[0], is_open=is_open)


def _known_asker(bridge: Bridge, token: ApiToken, maker: Person | None, *, is_open: bool) -> Asker:
    now, actor = bridge.clock.now(), roles.token_actor(token)
    why = roles.why_refused(bridge.settings, token, maker, now)
    if why:
        return Asker(is_open, refused=TokenRefused(why), token_id=token.id, name=actor.name)
    assert token.id is not None
    if token.last_used_at is None or abs(now - token.last_used_at) >= _NOTE_EVERY:
        with suppress(StorageFailed), storage_errors():  # a database that is busy is no reason to refuse
            tokens.note_used(bridge.engine, token.id, now=now)
    return Asker(is_open, actor, token_id=token.id, name=actor.name, has_counted=token.last_used_at is not None)


def note_refused(bridge: Bridge, asker: Asker) -> None:
    """Record in the audit log, and in the log, that a token was refused; the same again within minutes once."""
    why = asker.refused.message if asker.refused else ""
    log.warning("token refused token_id=%s reason=%s", asker.token_id, why)
    roles.note_refusal(bridge, asker.name, "use_token", why)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
