"""Files in folders that others may write to: nothing that somebody put there is followed, waited for or removed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Of these a file system may say that it cannot do it for a folder; it still keeps what the file itself was told to.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)  # of Linux alone
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NoFile(OSError):
    """What has the name is no file: a link, a folder, a pipe, a socket or a device. `kind` says which."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EEXIST, f"{path.name or path} is {kind}, and no file", str(path))
        self.kind = kind


class FileTaken(OSError):
    """Another program changed the folder, or the file in it, while the file was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EBUSY, "another program changed the folder meanwhile", str(path))


class OpenFolder:
    """A folder that was opened once: one that is put in its place meanwhile, or a link there, is not written to.

    Usable as a context manager. A link that leads to the folder is followed when it is opened, and links in it never.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            # One whose files this program may not list, though it may write there.
            self._handle = os.open(path, _O_PATH | os.O_DIRECTORY)

    def __enter__(self) -> OpenFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def has_file(self, name: str) -> bool:
        """Return whether a file of this name is there, and not something else."""
        state = self._state(name)
        return state is not None and stat.S_ISREG(state.st_mode)

    def remove_file(self, name: str) -> None:
        """Remove a file, if it is there; what is no file stays."""
        if self.has_file(name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._handle)

    def remove_parts(self, name: str) -> None:
        """Remove what attempts to write this file left behind; whatever else is called so stays, and is no matter."""
        part = re.compile(rf"\.{re.escape(name)}(\.[0-9a-f]+)?\.part")
        with suppress(OSError):
            for found in filter(part.fullmatch, os.listdir(self._handle)):
                self._remove_own(found)

    def _remove_own(self, name: str) -> None:
        state = self._state(name)
        if state is not None and stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid():
            with suppress(OSError):
                os.unlink(name, dir_fd=self._handle)

    @contextmanager
    def replacing(self, name: str, *, mode: int = 0o666) -> Generator[IO[bytes]]:
        """Give a new file to write to, and put it in place of `name` once it is whole and on disk.

        Where something has the name that is no file, NoFile is raised and it stays. On failure nothing is left.
        """
        self._require_file_or_nothing(name)
        part = f".{name}.{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(part, flags, mode, dir_fd=self._handle)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(handle)
                self._require_file_or_nothing(name)
                os.replace(part, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
                self._require_same(name, os.fstat(handle))
            self._flush()
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=self._handle)
            raise

    def _require_file_or_nothing(self, name: str) -> None:
        state = self._state(name)
        if state is not None and not stat.S_ISREG(state.st_mode):
            raise NoFile(self._path / name, _kind(state))

    def _require_same(self, name: str, written: os.stat_result) -> None:
        """Check that who looks for the file by its path finds the one that was written. Raises FileTaken."""
        try:
            found = os.stat(self._path / name, follow_symlinks=False)
        except FileNotFoundError:
            raise FileTaken(self._path / name) from None
        if not os.path.samestat(found, written):
            raise FileTaken(self._path / name)

    def _flush(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError as exc:
            if exc.errno not in _NO_FLUSH:
                raise

    def _state(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return None


@contextmanager
def replacing(target: Path, *, mode: int = 0o666) -> Generator[IO[bytes]]:
    """Give a new file to write to, as `OpenFolder.replacing` does in the target's folder."""
    with OpenFolder(target.parent) as folder, folder.replacing(target.name, mode=mode) as file:
        yield file


def open_file(path: Path) -> IO[bytes]:
    """Open a file to be read; links are followed, and what is no file is not waited for. Raises NoFile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            raise NoFile(path, "a socket, or a device that is not there") from exc
        raise
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise NoFile(path, _kind(state))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _kind(state: os.stat_result) -> str:
    return next((kind for is_kind, kind in _KINDS if is_kind(state.st_mode)), "something else")
