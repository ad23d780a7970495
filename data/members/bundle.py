"""The files of an association as one file, for a storage that is no folder: its rows as given, as read, as checked."""

from __future__ import annotations

import re
import secrets
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from data.engine import StorageError
from data.members.duck import MembersDamaged
from data.members.files import make_folder, replacing

# What is in one, and nothing else: outcomes are put together from the rows wherever they are asked for.
_HELD = re.compile(r"upload\.csv|plan\.parquet|raw/[0-9]{1,19}\.parquet")


def new_name() -> str:
    """Return a name for a bundle that no other has."""
    return secrets.token_hex(12)


def pack(folder: Path, target: Path, *, instead: Callable[[Path], Path | None] = lambda path: path) -> None:
    """Write what a folder holds to one file, whole or not at all; `instead` names another file for one, None for none.

    Raises: StorageError.
    """
    try:
        with replacing(target) as part, tarfile.open(part, "w") as archive:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if _HELD.fullmatch(name) and path.is_file() and (file := instead(path)):
                    archive.add(file, name, recursive=False)
    except OSError as exc:
        raise StorageError(f"The rows of the association could not be kept ({exc.strerror}).") from exc


def unpack(bundle: Path, target: Path) -> None:
    """Put what a file holds into a folder that is not there yet, whole or not at all. Raises StorageError."""
    part = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        make_folder(part / "raw")
        with tarfile.open(bundle) as archive:
            held = [entry for entry in archive if entry.isreg() and _HELD.fullmatch(entry.name)]
            for entry in held:
                _copy_out(archive, entry, part / entry.name)
        if not any((part / "raw").iterdir()):
            (part / "raw").rmdir()
        if not target.exists():
            _put_in_place(part, target)
    except tarfile.TarError as exc:
        raise MembersDamaged("The rows of the association are damaged.", advice="Start with the file again.") from exc
    except OSError as exc:
        raise StorageError(f"The rows of the association could not be read ({exc.strerror}).") from exc
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy_out(archive: tarfile.TarFile, entry: tarfile.TarInfo, to: Path) -> None:
    """Write what an entry holds: of the rest of it, its mode and owner, nothing counts here."""
    held = archive.extractfile(entry)
    assert held is not None  # only regular files are asked for
    with held, to.open("wb") as file:
        shutil.copyfileobj(held, file)


def _put_in_place(part: Path, target: Path) -> None:
    """Put a folder in its place, which nothing has; one that another process made meanwhile is as good."""
    try:
        part.rename(target)
    except OSError:
        if not target.is_dir():
            raise
