"""Files and folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

# What a file is called until it is whole; DuckDB puts a name of its own before that while it writes it.
_PART = re.compile(r"(?:tmp_)?\..+\.[0-9a-f]{4,32}\.part", re.DOTALL)


@contextmanager
def replacing(target: Path, *, within: AbstractContextManager[object] | None = None) -> Generator[Path]:
    """Give a temporary name to write to, and put it in place of `target` once it is whole and on disk.

    That happens inside `within`, which may raise as it is entered: then `target` stays as it was.
    """
    with part_of(target) as part:
        _require_file_or_nothing(target)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        yield part
        flush_to_disk(part)
        with within or nullcontext():
            part.replace(target)
            flush_to_disk(target.parent)


@contextmanager
def part_of(target: Path) -> Generator[Path]:
    """Give a name of one's own beside a file, which nothing has, and remove what has it in the end."""
    make_folder(target.parent)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def is_part(path: Path) -> bool:
    """Return whether a file is called as ours are until they are whole."""
    return _PART.fullmatch(path.name) is not None


def _require_file_or_nothing(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "What has the name is no file", str(path))


def read_text(path: Path) -> str:
    """Read a small file. Raises OSError, also for what is no file and would be waited for; UnicodeDecodeError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "What has the name is no file", str(path))
        return file.read().decode("ascii")


def replace_folder(part: Path, target: Path) -> None:
    """Put a folder of files in place of another once all of them are on disk."""
    for file in part.iterdir():
        flush_to_disk(file)
    flush_to_disk(part)
    shutil.rmtree(target, ignore_errors=True)  # a folder takes the place of no other that holds something
    part.replace(target)
    flush_to_disk(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, so that its name is on disk too."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_to_disk(folder.parent)


def flush_to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before anything else happens."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_older(path: Path, than_s: float) -> bool:
    """Return whether a file or folder was last written before that; one that is gone by now is not."""
    try:
        return path.stat().st_mtime < than_s
    except FileNotFoundError:
        return False
