"""A file that has to stay as it is while it is read: whoever writes to it, or puts another in its place, is noticed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from data.members.duck import MembersDamaged


class _State(NamedTuple):
    size: int
    written_ns: int


class Steady:
    """A file that is open, as it was then; `is_alone` where others may put one as good in its place.

    Raises: OSError where it cannot be opened.
    """

    def __init__(self, path: Path, *, is_alone: bool = False) -> None:
        self._path = None if is_alone else path
        self._handle = os.open(path, os.O_RDONLY)
        self._was = _state(os.fstat(self._handle))

    def lock(self) -> bool:
        """Lock it against whoever makes room, until it is closed; False where it was removed before that."""
        fcntl.flock(self._handle, fcntl.LOCK_SH)
        return os.fstat(self._handle).st_nlink > 0

    def digest(self) -> str:
        """Return the SHA-256 of what it holds now."""
        with os.fdopen(os.dup(self._handle), "rb") as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def require_unchanged(self) -> None:
        """Look whether it is as it was, and whether what has its name by now is too. Raises MembersDamaged.

        One that was removed did not change: whoever had it open read it to its end.
        """
        states = [_state(os.fstat(self._handle))]
        if self._path is not None:
            with suppress(FileNotFoundError):
                states.append(_state(os.stat(self._path)))
        if any(state != self._was for state in states):
            raise changed()

    def close(self) -> None:
        """Close it, and let go of its lock."""
        os.close(self._handle)


def changed() -> MembersDamaged:
    """Build the error of a file that something else changed."""
    return MembersDamaged(
        "A file of members was changed by something else while it was in use.",
        advice="Start it again, and let nothing but Cohort Bridge write to its folders.",
    )


def _state(status: os.stat_result) -> _State:
    return _State(status.st_size, status.st_mtime_ns)
