"""Tokens of pipelines: kept without their text, found by its hash. Whether one counts is decided in core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlmodel import Session, col, func, or_, select, update

from data.engine import Engine, read_session, write_session
from data.locks import PEOPLE
from data.models import Person
from data.repeating import repeated
from data.token_models import ApiToken

# Why none counts in a database that was put back: one that was revoked since is among them, perhaps.
PUT_BACK = "This token was revoked: the database was restored."

_WITH_MAKER = select(ApiToken, Person).join(Person, col(ApiToken.created_by_id) == col(Person.id), isouter=True)
# Is given the tokens that were not revoked, and raises to refuse a new one beside them.
Check = Callable[[Sequence[ApiToken]], None]


def add(engine: Engine, token: ApiToken, *, check: Check) -> ApiToken:
    """Add a token."""
    with write_session(engine, PEOPLE) as session:
        check(session.exec(select(ApiToken).where(col(ApiToken.revoked_at).is_(None))).all())
        session.add(token)
    return token


def list_unrevoked(engine: Engine) -> list[tuple[ApiToken, Person | None]]:
    """List the tokens that were not revoked, each with the person who made it, by name."""
    with read_session(engine) as session:
        unrevoked = _WITH_MAKER.where(col(ApiToken.revoked_at).is_(None))
        return list(session.exec(unrevoked.order_by(col(ApiToken.name), col(ApiToken.id))).all())


def list_with(engine: Engine, secret_hash: str | None) -> list[tuple[ApiToken, Person | None]]:
    """List the one with this hash, revoked or not, and those that were not revoked: at one read of the database."""
    with read_session(engine) as session:
        is_one = or_(col(ApiToken.secret_hash) == secret_hash, col(ApiToken.revoked_at).is_(None))
        return list(session.exec(_WITH_MAKER.where(is_one)).all())


def get_with_maker(engine: Engine, token_id: int) -> tuple[ApiToken, Person | None] | None:
    """Return a token and the person who made it, None if there is none of that number."""
    with read_session(engine) as session:
        return session.exec(_WITH_MAKER.where(ApiToken.id == token_id)).first()


@repeated
def revoke(engine: Engine, token_id: int, *, why: str, now: datetime) -> ApiToken | None:
    """Revoke a token for good; one that was revoked stays as it is. None when there is no such token."""
    with write_session(engine, PEOPLE) as session:
        token = session.get(ApiToken, token_id)
        if token is not None and token.revoked_at is None:
            token.revoked_at, token.revoked_why = now, why
            session.add(token)
    return token


def revoke_put_back(session: Session, *, now: datetime) -> int:
    """Revoke every token of a database that was put back, within a writing session. Returns how many there were."""
    unrevoked = update(ApiToken).where(col(ApiToken.revoked_at).is_(None))
    return session.exec(unrevoked.values(revoked_at=now, revoked_why=PUT_BACK)).rowcount


def count_put_back(engine: Engine) -> int:
    """Count the tokens that were revoked since the database was put back."""
    with read_session(engine) as session:
        return session.exec(select(func.count()).where(ApiToken.revoked_why == PUT_BACK)).one()


@repeated
def note_used(engine: Engine, token_id: int, *, now: datetime) -> None:
    """Note that a token was used."""
    with write_session(engine, by_rows=True) as session:
        session.exec(update(ApiToken).where(col(ApiToken.id) == token_id).values(last_used_at=now))
