"""Where the files of members lie, as those who read and make them see it: a folder, or copies of what is elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

from data.members.files import flush_to_disk

T = TypeVar("T")

# What a damaged file is called once it was set aside, beside the others: nothing reads it any more.
SET_ASIDE = ".damaged"
# What tells a file from another one of its name: inode, size, and when it was last written.
Stamp = tuple[int, int, int]
END = ".parquet"
# What the files begin with that pages compared: no row names them.
COMPARED = "compare-"


class Place(Protocol):
    """Where files of members lie by name. Every method may raise StorageError where they have to be asked for."""

    folder: Path

    @property
    def is_elsewhere(self) -> bool:
        """Whether the files lie elsewhere, and are copied here to be read; they have names of their own each then."""
        ...

    def file(self, name: str) -> str:
        """Return where the file lies, or would lie, on this machine."""
        ...

    def read(self, name: str) -> Path:
        """Return where the file can be read now; it is fetched, if need be."""
        ...

    def bring(self, names: Sequence[str]) -> list[str]:
        """Have many files here to be read at once, and return those that are."""
        ...

    def reading(self) -> AbstractContextManager[object]:
        """Keep what is read inside where it is until the end. Raises MembersDamaged if a copy was changed by then."""
        ...

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells the present file of this name from another one, None when there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether the file is there."""
        ...

    def make(self, name: str, write: Callable[[Path], T], *, is_kept: bool) -> T:
        """Have a file written whole, and keep it under its name; one that is not kept is for this process alone."""
        ...

    def renew(self, name: str) -> bool:
        """Fetch the copy of a file again that cannot be read, or is another; False where there is no other one."""
        ...

    def set_aside(self, name: str, *, now_s: float) -> Path | None:
        """Rename a damaged file, to be looked at later; returns its new place, None when it stays where it is."""
        ...

    def was_set_aside(self, name: str) -> bool:
        """Return whether a file of this name was found damaged and is there to be looked at."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def discard(self, name: str) -> None:
        """Remove a file that this process made, or began to make."""
        ...

    def list(self) -> Iterator[tuple[str, float]]:
        """Yield the files with the time each was written; a listing may lag, and nothing is decided by it alone."""
        ...

    def tidy(self, list_unnamed: Callable[[Sequence[str]], Collection[str]], *, now_s: float) -> int:
        """Remove what is here of files that no row names any more; return how many."""
        ...

    def drop_compared(self, names: Sequence[str]) -> None:
        """Remove what pages have compared of files that are no longer to be kept."""
        ...


class FolderPlace:
    """A folder: each file lies there under its name, and is read there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_elsewhere(self) -> bool:
        """Whether the files lie elsewhere: they do not."""
        return False

    def file(self, name: str) -> str:
        """Return where the file lies, or would lie: a text, as to build hundreds of paths takes long."""
        return f"{self.folder}/{name}{END}"

    def read(self, name: str) -> Path:
        """Return where the file lies, or would lie."""
        return Path(self.file(name))

    def bring(self, names: Sequence[str]) -> list[str]:
        """Return those of many files that are there."""
        return [name for name in names if os.path.isfile(self.file(name))]

    def reading(self) -> AbstractContextManager[object]:
        """Do nothing: a file stays until somebody removes it."""
        return nullcontext()

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells the present file of this name from another one, None when there is none."""
        try:
            status = os.stat(self.file(name))
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def exists(self, name: str) -> bool:
        """Return whether the file is there."""
        return os.path.isfile(self.file(name))

    def make(self, name: str, write: Callable[[Path], T], *, is_kept: bool) -> T:
        """Have a file written in its place, whole and on disk, or not at all, as `write` sees to."""
        return write(Path(self.file(name)))

    def renew(self, name: str) -> bool:
        """Return that there is no other one."""
        return False

    def set_aside(self, name: str, *, now_s: float) -> Path | None:
        """Rename a damaged file, to be looked at later; returns its new place, None when it cannot be renamed."""
        path = self.read(name)
        target = path.with_suffix(SET_ASIDE)
        try:
            os.utime(path, (now_s, now_s))  # from now on it is kept for a while
            path.replace(target)
            flush_to_disk(self.folder)
        except OSError:
            return None
        return target

    def was_set_aside(self, name: str) -> bool:
        """Return whether a file of this name was found damaged and is there to be looked at."""
        return self.read(name).with_suffix(SET_ASIDE).exists()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        Path(self.file(name)).unlink(missing_ok=True)

    def discard(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.remove(name)

    def list(self) -> Iterator[tuple[str, float]]:
        """Yield the files with the time each was written."""
        for path in sorted(self.folder.glob(f"*{END}")):
            try:
                yield path.stem, path.stat().st_mtime
            except FileNotFoundError:
                continue

    def tidy(self, list_unnamed: Callable[[Sequence[str]], Collection[str]], *, now_s: float) -> int:
        """Do nothing: what lies here is no copy."""
        return 0

    def drop_compared(self, names: Sequence[str]) -> None:
        """Remove what pages have compared of files that are no longer to be kept."""
        for path in self.folder.glob(f"{COMPARED}*{END}"):
            if any(name in path.stem for name in names):
                path.unlink(missing_ok=True)
