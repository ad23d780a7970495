"""What a backup or a restore that was killed left in the home: it holds ids that may have been forgotten since."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from core.bridge import Bridge
from core.errors import CohortBridgeError
from data import engine, placing

# Where a backup is put together, in the home.
BACKUP_PARTS = "backup.part"
_BACKUP, _RESTORE = "backup.lock", "restore.lock"


class UnderWay(CohortBridgeError):
    """Another backup of the same home is being made, or another restore of it is under way."""

    code = "under_way"
    default_advice = "Wait until it has ended, then start this again."


@contextmanager
def backing_up_alone(home: Path) -> Generator[None]:
    """Let no other process back this home up. Raises UnderWay."""
    with _alone(home / _BACKUP, "Another backup of this home is being made at this moment."):
        yield


@contextmanager
def restoring_alone(home: Path) -> Generator[None]:
    """Let no other process restore this home. Raises UnderWay."""
    with _alone(home / _RESTORE, "Another restore of this home is running."):
        yield


@contextmanager
def _alone(lock: Path, what: str) -> Generator[None]:
    from filelock import FileLock, Timeout  # most starts have nothing to wait for

    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise UnderWay(what) from None
    try:
        yield
    finally:
        held.release()


def remove_leftovers(bridge: Bridge) -> None:
    """Remove what a process that was killed left; what one is working on stays."""
    home, database = bridge.settings.home, engine.sqlite_file(bridge.settings.database_url)
    _remove(home / _BACKUP, home / BACKUP_PARTS)
    if database is None:
        _remove(home / _RESTORE, home / placing.UNPACKED)
    elif database.exists():  # what was decided on, and is not in place, is never removed
        _remove(home / _RESTORE, home / placing.UNPACKED, home / placing.WHOLE)


def _remove(lock: Path, *folders: Path) -> None:
    if not any(folder.exists() for folder in folders):
        return
    try:
        with _alone(lock, ""):
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
    except UnderWay:
        return
