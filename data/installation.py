"""What the database knows to be its own: which storage, and which keys; and who looks through that storage."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import Session, col, or_, update

from data.engine import Engine, read_session, write_session
from data.placing import STORAGE_ID as NAME
from data.proof_models import Installation
from data.storage.port import AlreadyThere, ObjectGone, Storage

_LONGEST, _LONGEST_ADDRESS = 64, 400
# A time that is so far ahead was written before a clock was set back.
_AHEAD = timedelta(hours=1)


class Own(NamedTuple):
    """What is an installation's own; what is empty is whatever the next process has."""

    storage_id: str | None = None
    storage_address: str | None = None
    keys: tuple[str, ...] = ()

    def kept_in(self, storage: Storage, storage_id: str) -> Own:
        """Return the same with another storage, which has this id."""
        return self._replace(storage_id=storage_id, storage_address=_address_of(storage))

    def is_called_as(self, storage: Storage) -> bool:
        """Return whether the installation's own storage was called by the address of this one."""
        return self.storage_address == _address_of(storage)


def find(engine: Engine) -> Own | None:
    """Return what the database knows to be its own; None where no process has told it. Raises StorageError."""
    with read_session(engine) as session:
        return _own(session)


def bind(engine: Engine, before: Own | None, own: Own) -> bool:
    """Keep what is the database's own, if that is still as it was read. Raises StorageError."""
    with write_session(engine) as session:
        if _own(session) != before:
            return False
        keep(session, own)
    return True


def keep(session: Session, own: Own) -> None:
    """Keep what is the database's own."""
    row = session.get(Installation, 1) or Installation()
    row.storage_id, row.storage_address = own.storage_id, own.storage_address
    row.key_checks = ",".join(own.keys) or None
    session.add(row)


def keep_keys(session: Session, keys: list[str]) -> None:
    """Keep which keys are the database's own."""
    keep(session, (_own(session) or Own())._replace(keys=tuple(keys)))


def unbind(session: Session) -> None:
    """Let the next process's storage and keys be the database's own: it was restored elsewhere."""
    keep(session, Own())


def _own(session: Session) -> Own | None:
    row = session.get(Installation, 1)
    if row is None:
        return None
    return Own(row.storage_id, row.storage_address, tuple((row.key_checks or "").split(",")) if row.key_checks else ())


def _address_of(storage: Storage) -> str:
    return storage.address[:_LONGEST_ADDRESS]


# --- the storage ---------------------------------------------------------------------------------------------------


def read_storage_id(storage: Storage) -> str | None:
    """Read which storage it is; None where none has told it. Raises StorageError."""
    try:
        return storage.read(NAME).content.decode(errors="replace").strip()[:_LONGEST]
    except ObjectGone:
        return None


def name_storage(storage: Storage, known: str | None = None) -> str:
    """Give a storage an id, unless another process was faster; returns the one that it has. Raises StorageError."""
    storage_id = known or secrets.token_hex(16)
    try:
        storage.put(NAME, f"{storage_id}\n".encode())
    except AlreadyThere:
        return read_storage_id(storage) or storage_id
    return storage_id


# --- looking through it --------------------------------------------------------------------------------------------


def take_search(engine: Engine, *, now: datetime, every: timedelta) -> bool:
    """Take it on to look through the whole storage, unless another worker did so a short time ago. Raises StorageError.

    Of several that ask at once one has it: the statement says what must be so.
    """
    at = col(Installation.searched_at)
    is_due = or_(at.is_(None), at <= now - every, at > now + _AHEAD)
    with write_session(engine, by_rows=True) as session:
        taken = session.exec(update(Installation).where(col(Installation.id) == 1, is_due).values(searched_at=now))
        return taken.rowcount == 1


def give_search_back(engine: Engine, *, taken_at: datetime, as_of: datetime) -> None:
    """Let it count as begun at another time, since it came to no end. Raises StorageError."""
    with write_session(engine, by_rows=True) as session:
        mine = (col(Installation.id) == 1, col(Installation.searched_at) == taken_at)
        session.exec(update(Installation).where(*mine).values(searched_at=as_of))
