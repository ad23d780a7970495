"""Everything that is kept sealed: listed here for whoever changes keys, or looks which of them are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlmodel import Session, col, select

from data import installation, receivers
from data.alert_models import AlertChannel
from data.connections import SEALED
from data.engine import Engine, read_session, write_session
from data.models import Connection
from data.seals import Seals

# The columns whose values are sealed, by table. A table that is missing here loses its secrets when the key changes.
COLUMNS: dict[type[Connection] | type[AlertChannel], tuple[str, ...]] = {
    Connection: SEALED,
    AlertChannel: ("address",),
}
_Row = Connection | AlertChannel


class Sealed(NamedTuple):
    """Whose secrets they are, as a screen names it, with what it is entered as; and the sealed texts."""

    kind: str
    side: str
    name: str
    texts: tuple[str, ...]


def list_sealed(engine: Engine) -> list[Sealed]:
    """List all that is present and may hold a secret, connections first."""
    with read_session(engine) as session:
        return [_sealed(row) for row in _list_present(session)]


def seal_all_again(engine: Engine, *, prepare: Callable[[Sequence[Sealed]], None], seals: Seals) -> int:
    """Seal every secret again, in one transaction, and make the hashes again; returns how many secrets those are.

    `prepare` is given all of them before any is changed: it makes the new key, or raises, and nothing is changed. The
    newest key is then the only one that is needed.
    """
    with write_session(engine) as session:
        rows = _list_present(session)
        prepare([_sealed(row) for row in rows])
        count = 0
        for row in rows:
            for column in COLUMNS[type(row)]:
                if text := getattr(row, column):
                    setattr(row, column, seals.seal_again(text))
                    count += 1
            session.add(row)
        receivers.refresh_hashes(session, seals)
        installation.keep_keys(session, seals.list_checks()[:1])
        session.flush()
    return count


def _list_present(session: Session) -> list[_Row]:
    connections = select(Connection).where(col(Connection.removed).is_(False))
    channels = select(AlertChannel).where(col(AlertChannel.removed).is_(False))
    return [
        *session.exec(connections.order_by(col(Connection.side).desc(), col(Connection.name))).all(),
        *session.exec(channels.order_by(col(AlertChannel.name))).all(),
    ]


def _sealed(row: _Row) -> Sealed:
    texts = tuple(text for column in COLUMNS[type(row)] if (text := getattr(row, column)))
    if isinstance(row, Connection):
        return Sealed("connection", row.side, row.name, texts)
    return Sealed("alert channel", "alert channel", row.name, texts)
