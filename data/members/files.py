"""Files and folders that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path


@contextmanager
def replacing(target: Path, *, within: AbstractContextManager[object] | None = None) -> Generator[Path]:
    """Give a temporary name to write to, and put it in place of `target` once it is whole and on disk.

    That happens inside `within`, which may raise as it is entered: then `target` stays as it was.
    """
    make_folder(target.parent)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        flush_to_disk(part)
        with within or nullcontext():
            part.replace(target)
            flush_to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


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
