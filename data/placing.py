"""The last step of a restore: what was unpacked and checked is put in its place, by whichever process comes next.

A restore decides by renaming the folder that it unpacked to; from then on the home counts as restored. The database
comes last: while it is not there, nobody works with the home, and whoever opens it finishes this first.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from data.members.files import flush_to_disk, make_folder, replacing

# Where a backup is unpacked to, and what that folder is called once all in it was checked.
UNPACKED, WHOLE = "restore.part", "restore.whole"
# What a backup has, each under the name that it has in a home, but for the database, which may lie elsewhere.
DATABASE, SNAPSHOTS, ASSOCIATIONS, AUDIT_HEAD, DELIVERY_MARK = (
    "cohort_bridge.db",
    "snapshots",
    "associations",
    "audit.head",
    "deliveries.mark",
)
# What a storage is known by, which each gives itself as it is used first: no backup has it.
STORAGE_ID = "installation.id"
_BESIDE_THE_DATABASE = (SNAPSHOTS, ASSOCIATIONS, AUDIT_HEAD, DELIVERY_MARK)
_NAME = re.compile(
    rf"{re.escape(DATABASE)}|{re.escape(AUDIT_HEAD)}|{re.escape(DELIVERY_MARK)}"
    rf"|{SNAPSHOTS}/[A-Za-z0-9_][A-Za-z0-9_.-]{{0,79}}\.parquet"
    rf"|{ASSOCIATIONS}/[0-9]{{8,19}}/(?:upload\.csv|plan\.parquet|outcomes\.csv|raw/[0-9]{{1,19}}\.parquet)"
)


def is_name(name: str) -> bool:
    """Return whether a backup may hold a file of this name, below the home: no other is written or unpacked."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def alone(home: Path, *, timeout_s: float) -> Generator[None]:
    """Let no other process make a database in this home, migrate it, or restore one. Raises TimeoutError."""
    from filelock import FileLock  # most starts have nothing to wait for

    with FileLock(home / "migrate.lock", timeout=timeout_s):
        yield


def decide(home: Path) -> None:
    """Have what was unpacked count as what the home holds. To be called `alone`. Raises OSError."""
    (home / UNPACKED).replace(home / WHOLE)
    flush_to_disk(home)


def is_decided(home: Path) -> bool:
    """Return whether something was decided on that is not in place, as far as is known."""
    return (home / WHOLE / DATABASE).exists()


def finish(home: Path, database: Path) -> bool:
    """Put in place what a restore decided on; False where there is nothing. To be called `alone`. Raises OSError."""
    whole = home / WHOLE
    if not is_decided(home):
        return False
    place_beside(home)
    _place_database(whole / DATABASE, database)
    shutil.rmtree(whole, ignore_errors=True)
    return True


def place_beside(home: Path) -> None:
    """Put all but the database in place, as far as it is not. To be called `alone`. Raises OSError."""
    for name in _BESIDE_THE_DATABASE:
        if (home / WHOLE / name).exists():
            _place(home / WHOLE / name, home / name)
    flush_to_disk(home)


def _place(unpacked: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink() and not _holds_something(target):
        for path in target.iterdir():  # what a start left: no folder takes the place of one that holds something
            path.unlink()
    unpacked.replace(target)


def _place_database(unpacked: Path, database: Path) -> None:
    make_folder(database.parent)
    try:
        unpacked.replace(database)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        with replacing(database) as part:  # it lies on another disk than the home
            shutil.copyfile(unpacked, part)
            part.chmod(0o600)
        return
    flush_to_disk(database.parent)


def list_occupied(home: Path, database: Path | None) -> list[str]:
    """List what is in a home, and a restore would replace; keys, logs and the sandbox's state are none of it.

    Nor is what a start alone leaves, which says nothing of any delivery.
    """
    beside = (
        [database.with_name(f"{database.name}{end}") for end in ("", "-wal", "-shm", "-journal")] if database else []
    )
    found = [path.name for path in [*beside, home / AUDIT_HEAD] if path.exists()]
    found += [DELIVERY_MARK] if (home / DELIVERY_MARK).exists() and not _is_of_a_start(home / DELIVERY_MARK) else []
    folders = [name for name in (SNAPSHOTS, ASSOCIATIONS) if _holds_something(home / name)]
    return found + folders


def _holds_something(folder: Path) -> bool:
    if folder.is_symlink():  # no folder takes the place of a link
        return True
    return folder.exists() and (not folder.is_dir() or any(not _is_of_a_start(path) for path in folder.iterdir()))


def _is_of_a_start(path: Path) -> bool:
    """Return whether a file is what the first start leaves, before anything was done."""
    if path.is_symlink() or not path.is_file():
        return False
    return path.name == STORAGE_ID or (path.name == DELIVERY_MARK and path.read_bytes().strip() == b"0")
