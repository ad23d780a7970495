"""A folder as the storage: every file is there whole and on disk, or not at all.

It is code of our own beside the library's: that neither flushes to disk, nor refuses links, nor compares and sets.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data.members.files import flush_to_disk, make_folder, part_of, replacing
from data.storage.address import check_name
from data.storage.port import (
    MOST_SMALL,
    ObjectGone,
    SmallObject,
    StorageUnavailable,
    Stored,
    already_there,
    digest_of,
    gone,
    version_moved,
)


class FolderStorage:
    """A folder of this machine, or one that machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self._folder)

    @property
    def folder(self) -> Path | None:
        """The folder itself."""
        return self._folder

    def be_patient(self, is_patient: bool = True) -> None:
        """Do nothing: a folder answers at once, or not at all."""

    def check(self) -> None:
        """Look whether the folder is there, or can be made, and may be read and written."""
        with _disk_errors(self._folder):
            there = self._folder
            while not there.exists() and there != there.parent:
                there = there.parent
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), there)
            if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), there)

    def put_file(self, file: Path, name: str) -> Stored:
        """Put a copy of a file under a name that is free."""
        target = self._path(name)
        with _disk_errors(self._folder), part_of(target) as part:
            shutil.copyfile(file, part)
            if not _link(part, target) and digest_of(target) != digest_of(part):
                raise already_there(name)
        return self._known(name)

    def get_file(self, name: str, target: Path) -> Stored:
        """Get a copy of a file."""
        try:
            with _disk_errors(self._folder), replacing(target) as part:
                with _opened(self._path(name)) as source, part.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 2**20)
        except FileNotFoundError:
            raise gone(name) from None
        return self._known(name)

    def look(self, name: str) -> Stored | None:
        """Return what is known of a file."""
        with _disk_errors(self._folder):
            try:
                status = self._path(name).lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _stored(name, status) if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str) -> SmallObject:
        """Read a small file."""
        try:
            with _disk_errors(self._folder), _opened(self._path(name)) as file:
                content = file.read(MOST_SMALL)
        except FileNotFoundError:
            raise gone(name) from None
        return SmallObject(content, _version(content))

    def put(self, name: str, content: bytes) -> str:
        """Put a small file under a name that is free."""
        target = self._path(name)
        with _disk_errors(self._folder), part_of(target) as part:
            part.write_bytes(content)
            if not _link(part, target) and self.read(name).content != content:
                raise already_there(name)
        return _version(content)

    def replace(self, name: str, content: bytes, version: str) -> str:
        """Put a small file in the place of the one that was read, while nobody else does."""
        with _disk_errors(self._folder), self._locked(name):
            try:
                now = self.read(name).version
            except ObjectGone:
                now = None
            if now != version:
                raise version_moved(name)
            with replacing(self._path(name)) as part:
                part.write_bytes(content)
        return _version(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with _disk_errors(self._folder):
            self._path(name).unlink(missing_ok=True)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the files, hidden ones left out."""
        top = self._folder / prefix.rpartition("/")[0]
        for folder, below, files in os.walk(top):
            below[:] = sorted(each for each in below if not each.startswith("."))
            for file in sorted(files):
                name = (Path(folder) / file).relative_to(self._folder).as_posix()
                if name.startswith(prefix) and not file.startswith(".") and (known := self.look(name)):
                    yield known

    def _path(self, name: str) -> Path:
        return self._folder / check_name(name)

    def _known(self, name: str) -> Stored:
        known = self.look(name)
        if known is None:
            raise gone(name)
        return known

    @contextmanager
    def _locked(self, name: str) -> Generator[None]:
        """Keep others from changing a small file, on this machine and on those that share the folder."""
        path = self._path(name)
        make_folder(path.parent)
        lock = path.with_name(f".{path.name}.lock")
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _link(part: Path, target: Path) -> bool:
    """Give a whole file its name once it is on disk, if that is free; return whether it was."""
    flush_to_disk(part)
    try:
        os.link(part, target, follow_symlinks=False)
    except FileExistsError:
        return False
    flush_to_disk(target.parent)
    return True


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    """Open a file to be read, and never what a link leads to, or what would be waited for."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError(path)
        yield file


def _stored(name: str, status: os.stat_result) -> Stored:
    return Stored(name, status.st_size, f"{status.st_ino}-{status.st_mtime_ns}", status.st_mtime)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _disk_errors(folder: Path) -> Generator[None]:
    """Turn errors of the disk into a sentence; that a file is not there is for the one who asked."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise StorageUnavailable(
            f"The storage folder {folder} cannot be used ({exc.strerror or 'it may not be written'}).",
            advice="Make room there, or let the user that runs Cohort Bridge read and write it.",
        ) from exc
