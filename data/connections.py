"""Connections: the credentials of Mixpanel projects and the destinations of groups, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select, update

from data.audit import chain
from data.audit.scope import Scope
from data.engine import Engine, read_session, write_session
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, Group, Sync, SyncState

# The columns whose values are sealed.
SEALED = ("secret", "project_token")

# Seals a sealed text again with the newest key. It is called within the transaction that stores the text: a key that
# is rotated meanwhile would otherwise leave behind what nothing opens any more.
SealAgain = Callable[[str], str]


@dataclass(frozen=True)
class NewConnection:
    """What was entered of a connection. A connection of the same side and name is replaced by it."""

    side: str
    kind: str
    name: str
    created_by: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class AccountCheck:
    """What Mixpanel reported of a service account: why it may not connect, and if it `answered`, when it expires."""

    trouble: str | None
    answered: bool = False
    expires_at: datetime | None = None


def get_connection(engine: Engine, connection_id: int) -> Connection | None:
    """Return a connection, removed ones too; None if there is none of that id."""
    with read_session(engine) as session:
        return session.get(Connection, connection_id)


def list_connections(engine: Engine) -> list[Connection]:
    """List what is connected, Mixpanel first, then by name."""
    with read_session(engine) as session:
        query = select(Connection).where(col(Connection.removed).is_(False))
        return list(session.exec(query.order_by(col(Connection.side).desc(), col(Connection.name))).all())


def list_side(engine: Engine, side: str) -> list[Connection]:
    """List what is connected on one side, the oldest first."""
    with read_session(engine) as session:
        query = select(Connection).where(Connection.side == side, col(Connection.removed).is_(False))
        return list(session.exec(query.order_by(col(Connection.id))).all())


def store(engine: Engine, new: NewConnection, *, seal_again: SealAgain, now: datetime) -> Connection:
    """Store a connection, in place of the one of its name. Groups whose destination leads elsewhere are in doubt."""
    with write_session(engine) as session:
        connection = session.exec(
            select(Connection).where(Connection.side == new.side, Connection.name == new.name)
        ).first()
        if connection is None:
            connection = Connection(
                side=new.side, kind=new.kind, name=new.name, created_by=new.created_by, created_at=now
            )
        else:
            new = replace(new, values={**new.values, **_kept_token(connection, new)})
            if new.side == DESTINATION_SIDE and _leads_elsewhere(connection, new):
                # What the new place holds is not known, whatever the old one was given.
                session.exec(update(Group).where(col(Group.destination_id) == connection.id).values(in_doubt=True))
        _put(connection, new.values, seal_again)
        connection.kind, connection.removed, connection.checked_at = new.kind, False, now
        session.add(connection)
    return connection


def _kept_token(connection: Connection, new: NewConnection) -> dict[str, Any]:
    """Return the token to keep: of the same project it was entered once, and nothing says that it is another now."""
    if new.side != MIXPANEL_SIDE or new.values["project_token"] or connection.project_id != new.values["project_id"]:
        return {}
    return {"project_token": connection.project_token, "project_token_end": connection.project_token_end}


def _leads_elsewhere(connection: Connection, new: NewConnection) -> bool:
    place = (new.kind, new.values["url"], new.values["folder"])
    return (connection.kind, connection.url, connection.folder) != place


def _put(connection: Connection, values: Mapping[str, Any], seal_again: SealAgain) -> None:
    for name, value in values.items():
        setattr(connection, name, seal_again(value) if name in SEALED and value else value)


def change_mixpanel(
    engine: Engine, connection_id: int, values: Mapping[str, Any], *, seal_again: SealAgain
) -> Connection | None:
    """Change values of a Mixpanel connection; None when there is none of that id (any more)."""
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed or connection.side != MIXPANEL_SIDE:
            return None
        _put(connection, values, seal_again)
        session.add(connection)
    return connection


def remove(engine: Engine, connection_id: int, *, reason: str) -> bool:
    """Forget a connection's secrets and pause its active syncs for `reason`, which may hold {name}.

    Returns False, and changes nothing, when it was removed already.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed:
            return False
        connection.removed = True
        connection.secret = connection.project_token = None
        connection.secret_end = connection.project_token_end = ""
        session.add(connection)
        groups = select(Group.id).where(Group.destination_id == connection_id)
        session.exec(
            update(Sync)
            .where(
                (col(Sync.mixpanel_id) == connection_id) | col(Sync.group_id).in_(groups),
                col(Sync.state) == SyncState.ACTIVE,
            )
            .values(state=SyncState.PAUSED, paused_reason=reason.format(name=connection.name))
        )
    return True


def seal_all_again(engine: Engine, *, prepare: Callable[[Sequence[Connection]], None], seal_again: SealAgain) -> int:
    """Seal every secret again, in one transaction; returns how many those are.

    `prepare` is given the connections before any is changed: it makes the new key, or raises, and nothing is changed.
    """
    with write_session(engine) as session:
        connections = session.exec(select(Connection).where(col(Connection.removed).is_(False))).all()
        prepare(connections)
        count = sum(_seal_again(session, connection, seal_again) for connection in connections)
        session.flush()
    return count


def _seal_again(session: Session, connection: Connection, seal_again: SealAgain) -> int:
    sealed = {name: text for name in SEALED if (text := getattr(connection, name))}
    _put(connection, sealed, seal_again)
    session.add(connection)
    return len(sealed)


# --- service accounts ----------------------------------------------------------------------------------------------


def claim_account_check(engine: Engine, connection: Connection, *, now: datetime) -> bool:
    """Take the question about a connection's account as one's own; False when another worker asks it already."""
    seen = connection.account_asked_at
    with write_session(engine) as session:
        claimed = session.exec(
            update(Connection)
            .where(col(Connection.id) == connection.id, col(Connection.account_asked_at).is_not_distinct_from(seen))
            .values(account_asked_at=now)
        )
    return claimed.rowcount == 1


def record_account_check(
    engine: Engine, before: Connection, check: AccountCheck, *, scope: Scope, now: datetime
) -> bool:
    """Record what was reported of an account, unless the connection was entered again since `before` was read.

    Returns whether that is something else than was known.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, before.id)
        if connection is None or connection.removed or connection.secret != before.secret:
            return False
        known = connection.account_trouble
        if known != check.trouble:
            subject = f"mixpanel connection {connection.name}"
            chain.append(
                session,
                scope,
                subject=subject,
                before={subject: {"account_trouble": known}},
                after={subject: {"account_trouble": check.trouble}},
            )
        connection.account_trouble, connection.checked_at = check.trouble, now
        if check.answered:
            connection.account_expires_at = check.expires_at
        session.add(connection)
    return known != check.trouble
