"""Receivers: destinations that lead to one place, and the one group that a cohort has there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, exists
from sqlmodel import Session, col, select

from data import alert_states
from data.audit import recorder
from data.audit.scope import Scope
from data.doubt import put_in_doubt
from data.engine import Engine, read_session, write_session
from data.models import (
    DESTINATION_SIDE,
    UNFINISHED,
    Connection,
    ConnectionKind,
    DoubtCause,
    Group,
    Run,
    SignInKind,
    Sync,
    SyncKind,
    SyncState,
)
from data.proof_models import DeliveryCount, LeftPlace, Untraced
from data.same_place import is_same_place, normal_address
from data.seals import Seals
from data.sync_runs import cancel_queued


class SharedReceiver(Exception):
    """The cohort has a group at the same place through another connection, and no one said that they are kept apart."""

    def __init__(self, group: Group, connection: Connection, other: Connection) -> None:
        super().__init__(f"Cohort {group.cohort_id} is kept at one place by {connection.name} and {other.name}.")
        self.cohort_id = group.cohort_id
        self.names = (connection.name, other.name)


def has_same_credentials(connection: Connection, other: Connection, seals: Seals) -> bool:
    """Return whether two destinations are signed in to alike: in the same way, by the same name and secret."""
    if (connection.sign_in, _sign_in_name(connection)) != (other.sign_in, _sign_in_name(other)):
        return False
    if connection.sign_in == SignInKind.ADDRESS:
        return True  # there is nothing beside the address
    return seals.is_same(connection.secret, other.secret)


def _sign_in_name(connection: Connection) -> str:
    """Return a user name, or the name of a header, whose letters are alike in either case (RFC 9110)."""
    name = connection.sign_in_name
    return name.lower() if connection.sign_in == SignInKind.HEADER else name


def hash_address(connection: Connection, seals: Seals) -> str:
    """Return the keyed hash of where an endpoint leads; empty where no key opens its address."""
    if connection.kind != ConnectionKind.ENDPOINT:
        return ""
    if connection.address is None:
        return seals.hash_text(normal_address(connection.url))
    return seals.hash_sealed(connection.address, normal_address) or ""


def refresh_hashes(session: Session, seals: Seals) -> None:
    """Make the hashes of all addresses again: those of two keys cannot be compared, and a key may be another now."""
    endpoints = select(Connection).where(
        Connection.side == DESTINATION_SIDE,
        Connection.kind == ConnectionKind.ENDPOINT,
        col(Connection.removed).is_(False),
    )
    for connection in session.exec(endpoints).all():
        connection.address_hash = hash_address(connection, seals)
        session.add(connection)


def list_neighbors(session: Session, connection: Connection) -> list[Connection]:
    """List the other destinations that lead to the same place, the oldest first."""
    others = session.exec(
        select(Connection)
        .where(
            Connection.side == DESTINATION_SIDE,
            col(Connection.removed).is_(False),
            col(Connection.id).is_distinct_from(connection.id),
        )
        .order_by(col(Connection.id))
    ).all()
    return [other for other in others if is_same_place(connection, other)]


def list_twins(session: Session, connection: Connection) -> list[Connection]:
    """List the neighbors that no one said are kept apart: what one writes there, the other takes for its own."""
    return [other for other in list_neighbors(session, connection) if not are_apart(connection, other)]


def are_apart(connection: Connection, other: Connection) -> bool:
    """Return whether it was said of one of two neighbors that its groups are kept apart."""
    return connection.apart or other.apart


def list_shared(engine: Engine) -> dict[int, list[Connection]]:
    """Return the neighbors of each destination that has any."""
    with read_session(engine) as session:
        destinations = session.exec(
            select(Connection).where(Connection.side == DESTINATION_SIDE, col(Connection.removed).is_(False))
        ).all()
        shared = {row.id or 0: list_neighbors(session, row) for row in destinations} if len(destinations) > 1 else {}
    return {connection_id: neighbors for connection_id, neighbors in shared.items() if neighbors}


def mark_in_doubt(
    session: Session, connections: Sequence[Connection], *, untraced: Untraced | None = Untraced.PLACE
) -> None:
    """Note that what the groups that were delivered to these destinations hold is not known.

    `untraced` None: whom a receiver that only adds may hold is known all the same.
    """
    ids = [connection.id for connection in connections]
    delivered = (col(Group.destination_id).in_(ids), col(Group.delivered_at).is_not(None) | col(Group.in_doubt))
    put_in_doubt(session, *delivered, cause=DoubtCause.CONNECTION, untraced=untraced)


def require_own(session: Session, group: Group) -> None:
    """Check that no other connection keeps a group of the same cohort at the same place. Raises SharedReceiver."""
    connection = session.get(Connection, group.destination_id)
    for twin in list_twins(session, connection) if connection and not connection.removed else []:
        other = session.exec(
            select(Group.id).where(
                Group.destination_id == twin.id,
                Group.project_id == group.project_id,
                Group.cohort_id == group.cohort_id,
                _is_kept(),
            )
        ).first()
        if other is not None:
            raise SharedReceiver(group, session.get_one(Connection, group.destination_id), twin)


def note_left(session: Session, connection: Connection) -> None:
    """Note where an endpoint leads, or as whom, before that is another: a later connection may lead there again."""
    if connection.kind != ConnectionKind.ENDPOINT or connection.id is None:
        return
    left = LeftPlace(connection_id=connection.id, url=connection.url, is_hidden=connection.address is not None)
    known = session.exec(select(LeftPlace).where(LeftPlace.connection_id == connection.id)).all()
    if (left.url, left.is_hidden) not in {(place.url, place.is_hidden) for place in known}:
        session.add(left)


def find_first_untraced(session: Session, group: Group, connection: Connection) -> Untraced | None:
    """Return why a receiver that only adds may hold a cohort already, though this group was never delivered."""
    if not connection.adds_only or group.may_exist:
        return None
    if _was_written_through_another(session, group, connection):
        return Untraced.PLACE
    count = session.get(DeliveryCount, 1)
    # What an older database lacks may be this very group.
    return Untraced.RESTORED if count and count.noticed_at else None


def _was_written_through_another(session: Session, group: Group, connection: Connection) -> bool:
    """Return whether another connection, removed since or not, led to the same place and wrote this cohort there."""
    others = session.exec(
        select(Connection)
        .where(
            Group.destination_id == Connection.id,
            Group.project_id == group.project_id,
            Group.cohort_id == group.cohort_id,
            Group.id != group.id,
            col(Group.delivered_at).is_not(None) | col(Group.in_doubt),
        )
        .distinct()
    ).all()
    left = select(LeftPlace).where(col(LeftPlace.connection_id).in_([other.id for other in others]))
    return any(_may_have_led_to_it(other, connection) for other in others) or any(
        _is_left_place(place, connection) for place in session.exec(left).all()
    )


def _is_left_place(place: LeftPlace, connection: Connection) -> bool:
    """Return whether a place that was left may be a destination's: of addresses that are secret the hosts are known."""
    if place.is_hidden or connection.address is not None:
        return _host(place.url) == _host(connection.url)
    return normal_address(place.url) == normal_address(connection.url)


def _host(url: str) -> str:
    parts = urlsplit(normal_address(url))
    return f"{parts.scheme}://{parts.netloc}"


def _may_have_led_to_it(other: Connection, connection: Connection) -> bool:
    if not other.removed:  # two that are both there are one place only where that is what people said
        if other.address is not None and not other.address_hash:  # no key opens it: its host is known
            return _host(other.url) == _host(connection.url)
        return is_same_place(connection, other) and not are_apart(connection, other)
    # Of an address that was a secret only the host is left once it was removed.
    is_same_host = connection.address is not None and other.url == connection.url
    return is_same_place(connection, other) or is_same_host


def _is_kept() -> ColumnElement[bool]:
    """Build the condition that something was, or is going to be, delivered to a group."""
    has_sync = exists().where(
        col(Sync.group_id) == col(Group.id),
        col(Sync.kind) == SyncKind.RECURRING,
        col(Sync.state) != SyncState.REMOVED,
    )
    has_run = exists().where(
        col(Run.group_id) == col(Group.id), col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False)
    )
    return col(Group.delivered_at).is_not(None) | col(Group.in_doubt) | has_sync | has_run


def pause_shared(
    engine: Engine, *, get_reason: Callable[[SharedReceiver], str], scope: Scope, seals: Seals, now: datetime
) -> list[Sync]:
    """Pause the active recurring syncs whose group is not their own, and note that such groups are in doubt.

    Returns the syncs that were paused. What is paused and in doubt already stays as it is.
    """
    with recorder.acting(scope), write_session(engine) as session:
        refresh_hashes(session, seals)  # a key that was lost may be back
        shared = _list_shared_groups(session)
        believed = [group.id for group, _ in shared if group.delivered_at and not group.in_doubt]
        if believed:
            is_believed = col(Group.id).in_(believed)
            put_in_doubt(session, is_believed, cause=DoubtCause.CONNECTION, untraced=Untraced.PLACE)
        return [sync for group, why in shared for sync in _pause_syncs(session, group, get_reason(why), now)]


def _list_shared_groups(session: Session) -> list[tuple[Group, SharedReceiver]]:
    """List the groups that are not their connection's own, each with why."""
    destinations = session.exec(
        select(Connection).where(Connection.side == DESTINATION_SIDE, col(Connection.removed).is_(False))
    ).all()
    twins = [connection.id for connection in destinations if list_twins(session, connection)]
    shared = list[tuple[Group, SharedReceiver]]()
    for group in session.exec(select(Group).where(col(Group.destination_id).in_(twins), _is_kept())).all():
        try:
            require_own(session, group)
        except SharedReceiver as exc:
            shared.append((group, exc))
    return shared


def _pause_syncs(session: Session, group: Group, reason: str, now: datetime) -> list[Sync]:
    syncs = session.exec(
        select(Sync).where(Sync.group_id == group.id, Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE)
    ).all()
    for sync in syncs:
        sync.state, sync.next_run_at, sync.paused_reason = SyncState.PAUSED, None, reason
        session.add(sync)
        cancel_queued(session, col(Run.sync_id) == sync.id, now=now)
    alert_states.note_paused(session, [sync.id for sync in syncs], by_person=False, now=now)
    return list(syncs)
