"""The port of the storage: what a folder and object storage both do, and what goes wrong there.

What lies under a name is whole or is not there, and is never written over: files are put once, under names of their
own. Only small objects change, by comparing and setting. What a listing says may lag: nothing is decided by it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from data.engine import StorageError

# A small object is read into memory whole.
MOST_SMALL = 2**20


class StorageUnavailable(StorageError):
    """The storage did not answer, or refused: that says nothing about what lies there."""


class ObjectGone(StorageError):
    """There is nothing of that name (any more)."""


class ObjectDamaged(StorageError):
    """What lies there is not what was put there."""


class AlreadyThere(StorageError):
    """Something else has the name already: it stays as it is."""


class VersionMoved(StorageError):
    """A small object is another one by now than the one that was read: it stays as it is."""


class Stored(NamedTuple):
    """What is known of an object. `tag` is its content's, and stays the same as long as the content does."""

    name: str
    size: int
    tag: str
    written_s: float


@dataclass(frozen=True)
class SmallObject:
    """The content of a small object, and what it has to be still for another to take its place."""

    content: bytes
    version: str


class Storage(Protocol):
    """Where members are kept. Every method raises StorageError with a sentence; safe to share between threads.

    `address` names it to people. `folder` is where its files lie, None where they are not files of this machine.
    """

    @property
    def address(self) -> str:
        """What people know it by; it holds no secret."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder in which everything lies under its own name; None where it has to be fetched."""
        ...

    def be_patient(self, is_patient: bool = True) -> None:
        """Try again for as long as work in the background may wait, from now on, or for as long as a person would.

        What is `hurried` is never waited for longer; what is being tried when that changes goes by it too.
        """
        ...

    def check(self) -> None:
        """Look whether it can be used at all: it is there, answers, and lets itself be read. Changes nothing."""
        ...

    def put_file(self, file: Path, name: str) -> Stored:
        """Put a local file whole under a name that is free. Raises AlreadyThere.

        Where the same lies there already, whoever put it, that is as good: an answer may have been lost.
        """
        ...

    def get_file(self, name: str, target: Path) -> Stored:
        """Get a file whole to a local place, or not at all. Raises ObjectGone, ObjectDamaged."""
        ...

    def look(self, name: str) -> Stored | None:
        """Return what is known of an object, None where there is none."""
        ...

    def read(self, name: str) -> SmallObject:
        """Read a small object. Raises ObjectGone."""
        ...

    def put(self, name: str, content: bytes) -> str:
        """Put a small object under a name that is free, and return its version. Raises AlreadyThere.

        Where the same lies there already, that is as good: content that is to be one's own has a random part.
        """
        ...

    def replace(self, name: str, content: bytes, version: str) -> str:
        """Put a small object in the place of the one that was read with that version, and return its own version.

        Raises: VersionMoved where another one, or none, is there by now.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        ...

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what lies there under names that begin so. It may lag behind what was put and removed."""
        ...


_is_hurried: ContextVar[bool] = ContextVar("is_hurried", default=False)


@contextmanager
def hurried() -> Generator[None]:
    """Let what is asked of a storage inside wait no longer than a person would, however patient the process is."""
    token = _is_hurried.set(True)
    try:
        yield
    finally:
        _is_hurried.reset(token)


def is_hurried() -> bool:
    """Return whether somebody, or other work, waits for what is being asked."""
    return _is_hurried.get()


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a local file, as hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def already_there(name: str) -> AlreadyThere:
    """Build the error of a name that something else has."""
    return AlreadyThere(
        f"The storage holds something else under the name {name} already. Nothing was written.",
        advice="Start it again: it takes another name. If that happens twice, see whether two installations share it.",
    )


def version_moved(name: str) -> VersionMoved:
    """Build the error of a small object that another process changed meanwhile."""
    return VersionMoved(f"Another process changed {name} in the storage meanwhile.", advice="Try again.")


def gone(name: str) -> ObjectGone:
    """Build the error of what is not there."""
    return ObjectGone(f"The storage holds no {name} any more.", advice="Export the cohort again: that keeps it.")
