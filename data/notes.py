"""What is noted outside the database: in a file beside it, or, where machines share a storage, in a small object there.

A database that was put back to what it was, or changed by something else, is known by what is noted elsewhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.engine import StorageError
from data.members.files import read_text, replacing
from data.storage.port import AlreadyThere, ObjectGone, Storage, VersionMoved

_LOCKED_FOR_S = 10
_TRIES, _LONGEST_PAUSE_MS = 20, 200
# Stands for what is no text of ours.
UNREADABLE = "\ufffd"


@dataclass(frozen=True)
class StoredNote:
    """A small object that is changed by comparing and setting, so that no machine undoes what another noted."""

    storage: Storage
    name: str

    def __str__(self) -> str:
        return f"{self.name} in {self.storage.address}"


Note = Path | StoredNote


def read_note(note: Note) -> str | None:
    """Return what is noted; None where nothing is. Raises OSError of a file, StorageError of an object."""
    if isinstance(note, StoredNote):
        found = _read_stored(note)
        return found[0] if found else None
    try:
        return read_text(note)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return UNREADABLE


def change_note(note: Note, change: Callable[[str | None], str | None]) -> None:
    """Put in place of what is noted what `change` makes of it, or leave it where that is None.

    Of an object it may be asked several times. Raises OSError, TimeoutError of a file, StorageError of an object.
    """
    if isinstance(note, StoredNote):
        _change_stored(note, change)
        return
    from filelock import FileLock  # a command that notes nothing does without

    with FileLock(note.with_suffix(".lock"), timeout=_LOCKED_FOR_S):
        text = change(read_note(note))
        if text is not None:
            with replacing(note) as part:
                part.write_text(text)


def _read_stored(note: StoredNote) -> tuple[str, str] | None:
    """Return what is noted, and as which version; None where nothing is."""
    try:
        found = note.storage.read(note.name)
    except ObjectGone:
        return None
    try:
        return found.content.decode("ascii"), found.version
    except UnicodeDecodeError:
        return UNREADABLE, found.version


def _change_stored(note: StoredNote, change: Callable[[str | None], str | None]) -> None:
    for _ in range(_TRIES):
        found = _read_stored(note)
        text = change(found[0] if found else None)
        if text is None:
            return
        try:
            if found is None:
                note.storage.put(note.name, text.encode("ascii"))
            else:
                note.storage.replace(note.name, text.encode("ascii"), found[1])
            return
        except (AlreadyThere, VersionMoved):  # another machine was faster
            time.sleep(secrets.randbelow(_LONGEST_PAUSE_MS) / 1000)
    raise StorageError(
        f"The storage let others change {note.name} each time that this process wanted to.", advice="Try again."
    )
