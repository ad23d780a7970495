"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass  # below it is imported where it is used: most commands end sooner than that takes


@contextmanager
def replacing(target: Path, *, within: AbstractContextManager[object] | None = None) -> Generator[Path]:
    """Give a temporary name to write to, and put it in place of `target` once it is whole and on disk.

    That happens inside `within`, which may raise as it is entered: then `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        flush_to_disk(part)
        with within or nullcontext():
            part.replace(target)
            flush_to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
