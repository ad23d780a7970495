"""Connections: the credentials of Mixpanel projects and the destinations of groups, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlmodel import Session, col, select, update

from data import account_alerts, doubt, receivers
from data.audit import chain, recorder
from data.audit.scope import Scope
from data.engine import Engine, read_session, write_session
from data.models import (
    DESTINATION_SIDE,
    MIXPANEL_SIDE,
    Connection,
    ConnectionKind,
    DoubtCause,
    Group,
    SignInKind,
    Sync,
)
from data.proof_models import Untraced
from data.repeating import repeated
from data.same_place import is_same_place
from data.seals import SealAgain, Seals
from data.seen import Seen, require_as_seen
from data.sync_runs import stop_syncs, stop_writing

# The columns whose values are sealed.
SEALED = ("secret", "project_token", "address")
# Which id a receiver is sent, under which key, and whether that removes anybody.
_MEMBER_COLUMNS = ("member_id", "member_property", "member_key", "adds_only")

# What becomes of a connection that has the name already: it may be entered again where it leads to where it led
# ("take_over"), or wherever it leads now ("replace").
IfTaken = Literal["refuse", "take_over", "replace"]


@dataclass(frozen=True)
class NewConnection:
    """What was entered of a connection. `apart`: at an address with others, its groups are kept apart from theirs."""

    side: str
    kind: str
    name: str
    created_by: str
    values: Mapping[str, Any]
    if_taken: IfTaken = "refuse"
    apart: bool = False


class ConnectionTaken(Exception):
    """A connection has the name already; `free_name` is one that none had."""

    def __init__(self, present: Connection, free_name: str, *, leads_elsewhere: bool) -> None:
        super().__init__(f"There is a connection {present.name}.")
        self.present = present
        self.free_name = free_name
        self.leads_elsewhere = leads_elsewhere


class PlaceTaken(Exception):
    """Another destination leads to the same place: with the same credentials, or no one said that groups are apart.

    `entered` is the one that was to lead there.
    """

    def __init__(self, entered: Connection, other: Connection, *, is_same: bool) -> None:
        super().__init__(f"The connection {other.name} leads there.")
        self.entered = entered
        self.other = other
        self.is_same = is_same


class ConnectionGone(Exception):
    """A connection that was looked up a moment ago was removed since, or leads to another project."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(f"The connection {connection.name} is not what it was.")
        self.name = connection.name


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


def require_there(session: Session, *looked_up: Connection) -> None:
    """Check that connections are still there, and of the projects that they were of, in the transaction that relies on
    them: one that is removed stops only what is there by then. Raises ConnectionGone.
    """
    for connection in looked_up:
        now = session.get(Connection, connection.id)
        if now is None or now.removed or now.project_id != connection.project_id:
            raise ConnectionGone(connection)


def list_connections(engine: Engine) -> list[Connection]:
    """List what is connected, Mixpanel first, then by name."""
    with read_session(engine) as session:
        query = select(Connection).where(col(Connection.removed).is_(False))
        return list(session.exec(query.order_by(col(Connection.side).desc(), col(Connection.name))).all())


def list_with_removed(engine: Engine) -> list[Connection]:
    """List what is or was connected, Mixpanel first, then by name."""
    with read_session(engine) as session:
        return list(session.exec(select(Connection).order_by(col(Connection.side).desc(), col(Connection.name))).all())


def list_side(engine: Engine, side: str) -> list[Connection]:
    """List what is connected on one side, the oldest first."""
    with read_session(engine) as session:
        query = select(Connection).where(Connection.side == side, col(Connection.removed).is_(False))
        return list(session.exec(query.order_by(col(Connection.id))).all())


def list_ids(engine: Engine, side: str) -> list[int]:
    """List what is connected on one side, by number."""
    query = select(Connection.id).where(Connection.side == side, col(Connection.removed).is_(False))
    with read_session(engine) as session:
        return [number for number in session.exec(query.order_by(col(Connection.id))).all() if number is not None]


def free_name(engine: Engine, side: str, name: str) -> str:
    """Return a name that no connection of a side has or had, made from one that was wished for."""
    with read_session(engine) as session:
        return _free_name(session, side, name)


def _free_name(session: Session, side: str, name: str) -> str:
    taken = set(session.exec(select(Connection.name).where(Connection.side == side)).all())
    stem = re.sub(r"-\d+$", "", name)[:90]
    names = (name, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def store(engine: Engine, new: NewConnection, *, seals: Seals, now: datetime) -> Connection:
    """Store a connection: a new one, or in place of the one of its name, as far as `if_taken` allows.

    Raises: ConnectionTaken, PlaceTaken.
    """
    with write_session(engine) as session:
        receivers.refresh_hashes(session, seals)
        present = session.exec(
            select(Connection).where(Connection.side == new.side, Connection.name == new.name)
        ).first()
        if present is None or present.removed:
            connection = present or Connection(
                side=new.side, kind=new.kind, name=new.name, created_by=new.created_by, created_at=now
            )
        else:
            leads_elsewhere = _leads_elsewhere(present, new.kind, new.values, seals)
            if new.if_taken == "refuse" or (new.if_taken == "take_over" and leads_elsewhere):
                suggested = _free_name(session, new.side, new.name)
                raise ConnectionTaken(present, suggested, leads_elsewhere=leads_elsewhere)
            connection = present
        _enter(session, connection, new, seals, now)
    return connection


@repeated
def replace(
    engine: Engine,
    connection_id: int,
    values: Mapping[str, Any],
    *,
    apart: bool = False,
    seen: Seen,
    seals: Seals,
    now: datetime,
) -> Connection | None:
    """Replace what was entered of a connection; None when there is none of that id (any more).

    It must still be as it was `seen` by the one who put the values together. Raises: PlaceTaken, ChangedSinceSeen.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed:
            return None
        require_as_seen(connection, seen)
        receivers.refresh_hashes(session, seals)
        new = NewConnection(
            connection.side, connection.kind, connection.name, connection.created_by, values, apart=apart
        )
        _enter(session, connection, new, seals, now)
    return connection


@repeated
def keep_apart(engine: Engine, connection_id: int, *, seals: Seals, now: datetime) -> Connection | None:
    """Remember that a destination's groups are kept apart at its address; None when there is none (any more).

    What they hold is in doubt, and what those of its neighbors hold: until now each wrote over the other.
    Raises: PlaceTaken when a neighbor has the same credentials.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed or connection.side != DESTINATION_SIDE:
            return None
        receivers.refresh_hashes(session, seals)
        twins = receivers.list_twins(session, connection)
        _settle(session, connection, True, seals, moves=False)
        connection.checked_at = now
        session.add(connection)
        receivers.mark_in_doubt(session, [connection, *twins] if twins else [])
    return connection


def _enter(session: Session, connection: Connection, new: NewConnection, seals: Seals, now: datetime) -> None:
    """Enter values into a connection. What its groups hold is in doubt, whatever is another now."""
    is_replaced = connection.id is not None
    moves = connection.removed or not is_replaced or _leads_elsewhere(connection, new.kind, new.values, seals)
    reads_otherwise = moves or _differ(connection, new.values, ("workspace_id", "id_merge"))
    twins = receivers.list_twins(session, connection) if is_replaced else []
    untraced = _untraced_by(connection, new, seals, moves=moves) if new.side == DESTINATION_SIDE else None
    if is_replaced and new.side == DESTINATION_SIDE and (moves or not _writes_alike(connection, new, seals)):
        stop_writing(session, connection.id)
        receivers.note_left(session, connection)
    if is_replaced and not connection.removed:
        recorder.rename(session, _replacement(connection, new, moves=moves))
    with session.no_autoflush:
        values = new.values if moves else _kept_hidden(connection, new.values)
        _put(connection, {**values, **_kept_token(connection, new)}, seals.seal_again)
        connection.kind, connection.removed, connection.checked_at = new.kind, False, now
        if new.side == DESTINATION_SIDE:
            connection.address_hash = receivers.hash_address(connection, seals)
            _settle(session, connection, new.apart, seals, moves=moves)
    if is_replaced:
        connection.times_replaced += 1
    session.add(connection)
    if new.side == DESTINATION_SIDE:
        receivers.mark_in_doubt(session, [connection] if is_replaced else [], untraced=untraced)
        receivers.mark_in_doubt(session, twins)
    elif is_replaced and reads_otherwise:
        _mark_fed_in_doubt(session, connection)
    if is_replaced and new.side == MIXPANEL_SIDE:
        account_alerts.note_account(session, connection, now=now)


def _writes_alike(connection: Connection, new: NewConnection, seals: Seals) -> bool:
    """Return whether what is written to a destination at its place stays the same, and as whom."""
    entered = _as_entered(connection, new.kind, new.values)
    return new.kind == ConnectionKind.CSV or (
        receivers.has_same_credentials(connection, entered, seals)
        and not _differ(connection, new.values, _MEMBER_COLUMNS)
    )


def _untraced_by(connection: Connection, new: NewConnection, seals: Seals, *, moves: bool) -> Untraced | None:
    """Return why a receiver may hold somebody who is not known once these values are entered; None: all are known.

    Another token, the first time, leads to the same group, or to one that is empty. Later it may be an earlier one.
    """
    if moves:
        return Untraced.PLACE
    if new.values.get("adds_only") and not connection.adds_only:
        return Untraced.REPLACED
    if _differ(connection, new.values, ("member_id", "member_property", "member_key")):
        return Untraced.MEMBER_ID
    if connection.times_replaced and not _writes_alike(connection, new, seals):
        return Untraced.SIGN_IN
    return None


def _settle(session: Session, connection: Connection, apart: bool, seals: Seals, *, moves: bool) -> None:
    """Check that a destination's place is its own, or that it was said that its groups are kept apart there.

    Raises: PlaceTaken.
    """
    neighbors = receivers.list_neighbors(session, connection)
    for other in neighbors:
        if connection.kind == ConnectionKind.CSV or receivers.has_same_credentials(connection, other, seals):
            raise PlaceTaken(connection, other, is_same=True)
    if neighbors and moves and not apart:
        raise PlaceTaken(connection, neighbors[0], is_same=False)
    connection.apart = bool(neighbors) and (apart or (connection.apart and not moves))


def _replacement(connection: Connection, new: NewConnection, *, moves: bool) -> str:
    """Name what is done to a connection that is there, for the audit log."""
    if new.side == MIXPANEL_SIDE:
        return "change_project" if moves else "replace_secret"
    if new.kind == ConnectionKind.CSV:
        return "change_folder"
    if moves:
        return "change_address"
    if "secret" not in new.values:
        return "change_receiver"
    is_token = connection.sign_in == new.values.get("sign_in", connection.sign_in) == SignInKind.APPTIMIZE
    return "replace_token" if is_token else "replace_sign_in"


def _mark_fed_in_doubt(session: Session, connection: Connection) -> None:
    """Have the groups that are fed through a Mixpanel connection written in full: other users are read through it."""
    fed = select(Sync.group_id).where(Sync.mixpanel_id == connection.id)
    doubt.put_in_doubt(session, col(Group.id).in_(fed), cause=DoubtCause.CONNECTION)


def _kept_token(connection: Connection, new: NewConnection) -> dict[str, Any]:
    """Return the token to keep: of the same project it was entered once, and nothing says that it is another now."""
    if new.side != MIXPANEL_SIDE or connection.id is None:
        return {}
    if new.values.get("project_token") or connection.project_id != new.values.get("project_id", connection.project_id):
        return {}
    return {"project_token": connection.project_token, "project_token_end": connection.project_token_end}


def _kept_hidden(connection: Connection, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without an address in the open, where the same place was entered as a secret before."""
    is_open = connection.address is not None and values.get("address") is None
    return {name: value for name, value in values.items() if not (is_open and name in ("url", "address"))}


def _differ(connection: Connection, values: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(name in values and getattr(connection, name) != values[name] for name in names)


def _leads_elsewhere(connection: Connection, kind: str, values: Mapping[str, Any], seals: Seals) -> bool:
    """Return whether these values lead to another place, or project, than a connection does."""
    if connection.side == MIXPANEL_SIDE:
        return _differ(connection, values, ("project_id", "base_url"))
    entered = _as_entered(connection, kind, values)
    entered.address_hash = receivers.hash_address(entered, seals)
    return not is_same_place(connection, entered)


def _as_entered(connection: Connection, kind: str, values: Mapping[str, Any]) -> Connection:
    """Return a destination as it would be with these values, beside the one that is stored."""
    entered = Connection(side=connection.side, kind=kind, name="", created_at=connection.created_at)
    for name in ("url", "address", "folder", "sign_in", "sign_in_name", "secret"):
        setattr(entered, name, values.get(name, getattr(connection, name)))
    return entered


def _put(connection: Connection, values: Mapping[str, Any], seal_again: SealAgain) -> None:
    for name, value in values.items():
        setattr(connection, name, seal_again(value) if name in SEALED and value else value)


@repeated
def change_mixpanel(
    engine: Engine, connection_id: int, values: Mapping[str, Any], *, seen: Seen, seal_again: SealAgain
) -> Connection | None:
    """Change values of a Mixpanel connection; None when there is none of that id (any more).

    Raises: ChangedSinceSeen.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed or connection.side != MIXPANEL_SIDE:
            return None
        require_as_seen(connection, seen)
        _put(connection, values, seal_again)
        session.add(connection)
    return connection


@repeated
def remove(engine: Engine, connection_id: int, *, reason: str, now: datetime) -> bool:
    """Forget a connection's secrets and pause its active syncs for `reason`, which may hold {name}.

    Returns False, and changes nothing, when it was removed already.
    """
    with write_session(engine) as session:
        connection = session.get(Connection, connection_id)
        if connection is None or connection.removed:
            return False
        # What a twin's groups hold now is not known: both wrote there.
        receivers.mark_in_doubt(session, receivers.list_twins(session, connection))
        stop_writing(session, connection_id)
        receivers.note_left(session, connection)
        connection.removed, connection.apart = True, False
        connection.secret = connection.project_token = connection.address = None
        connection.secret_end = connection.project_token_end = connection.address_hash = ""
        session.add(connection)
        groups = select(Group.id).where(Group.destination_id == connection_id)
        uses_it = (col(Sync.mixpanel_id) == connection_id) | col(Sync.group_id).in_(groups)
        stop_syncs(session, uses_it, reason=reason.format(name=connection.name), now=now)
        account_alerts.note_account(session, connection, now=now)
    return True


# --- service accounts ----------------------------------------------------------------------------------------------


@repeated
def claim_account_check(engine: Engine, connection: Connection, *, now: datetime) -> bool:
    """Take the question about a connection's account as one's own; False when another worker asks it already."""
    seen = connection.account_asked_at
    with write_session(engine, by_rows=True) as session:
        claimed = session.exec(
            update(Connection)
            .where(col(Connection.id) == connection.id, col(Connection.account_asked_at).is_not_distinct_from(seen))
            .values(account_asked_at=now)
        )
    return claimed.rowcount == 1


@repeated
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
        account_alerts.note_account(session, connection, now=now)
    return known != check.trouble
