"""Files of members that lie in object storage, and the copies of them that are read: a cache of a bounded size.

A copy is whole or not there. It is told by its name from any other, since no name is ever used twice; what is done with
it is what a process knows of the object, so that one machine's copies and another's are alike. What was used longest
ago goes first. A copy that is being read stays: its reader holds a lock on it, which ends with the process. Its time is
a mark of its object: a copy that something else wrote to has another one, and is fetched again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from data.engine import StorageError
from data.members.bounded_cache import BoundedCache
from data.members.duck import MembersDamaged, MembersGone
from data.members.files import is_older, is_part
from data.members.places import COMPARED, END, Stamp
from data.members.steady import Steady
from data.storage.port import ObjectDamaged, ObjectGone, Storage, Stored

T = TypeVar("T")

# So many files are fetched at a time, and by so many locks each of them once.
_AT_ONCE, _LOCKS = 8, 64
# Of so many files it is remembered that they are there, or that this process put them: each run makes some.
_NAMES_KNOWN = 20_000
# A reader that has many files opens them within so many seconds, without a lock on each.
_JUST_USED_S = 60.0
# A copy whose object no row names any more goes once nobody has used it for so long.
_UNNAMED_FOR_S = 600.0
# Files that only this machine has: a run's own, and what pages compared. They go after a day.
_LENT, _LENT_FOR_S = "lent", 24 * 3600.0
# The time of a copy is a mark of its object: whole seconds, as no file has that something else wrote to.
_MARK_NS = 1_000_000_000
_GONE = "The members are no longer kept."
_EXPORT_AGAIN = "Export the cohort again: that keeps them."


@contextmanager
def _cache_errors() -> Generator[None]:
    """Turn errors of the disk on which copies lie into a sentence."""
    try:
        yield
    except OSError as exc:
        raise StorageError(
            f"A file of members could not be kept in the cache ({exc.strerror}).",
            advice="Make room on the disk of COHORT_BRIDGE_HOME, or set COHORT_BRIDGE_CACHE_MB to less. Its folder "
            "cache may be removed while nothing runs.",
        ) from exc


class _Copy(NamedTuple):
    path: Path
    size: int
    used_s: float


class CopiedPlace:
    """The files of a storage that has no folder here. Safe to share between threads; processes share the copies."""

    def __init__(self, storage: Storage, folder: Path, *, most_bytes: int) -> None:
        self.folder = folder
        self._storage = storage
        self._most_bytes = most_bytes
        self._lent = folder / _LENT
        # What was seen to be there, by name: that stays so until it is removed here, or turns out to be gone.
        self._known = BoundedCache[str, Stored](_NAMES_KNOWN)
        # What this process put, or tried to.
        self._made = BoundedCache[str, bool](_NAMES_KNOWN)
        # The copies for which no room was made yet.
        self._uncounted = set[str]()
        # Who fetches a file holds one of these; two files may share one.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._lock = threading.Lock()
        self._readers = threading.local()
        self._holding = threading.Lock()

    @property
    def is_elsewhere(self) -> bool:
        """Whether the files lie elsewhere: they do."""
        return True

    def file(self, name: str) -> str:
        """Return where the copy lies, or would lie."""
        lent = f"{self._lent}/{name}{END}"
        return lent if os.path.exists(lent) else f"{self.folder}/{name}{END}"

    @_cache_errors()
    def read(self, name: str) -> Path:
        """Return the copy, which is fetched if it is not here. Raises MembersGone, StorageError."""
        for _ in range(3):
            path = self._fetch(name)
            if self._hold(path):
                return path
        raise MembersGone(_GONE, advice=_EXPORT_AGAIN)

    @_cache_errors()
    def bring(self, names: Sequence[str]) -> list[str]:
        """Fetch many files, some at a time, and return those that are here. Raises StorageError."""
        missing = [name for name in names if not self._use(Path(self.file(name)))]
        gone = set[str]()

        def fetch(name: str) -> None:
            try:
                self._fetch(name)
            except MembersGone:
                gone.add(name)

        if missing:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
                for done in [pool.submit(copy_context().run, fetch, name) for name in missing]:
                    done.result()
        return [name for name in names if name not in gone]

    @contextmanager
    def reading(self) -> Generator[None]:
        """Hold what is read inside, until the end. Raises MembersDamaged for what something else changed meanwhile."""
        held = list[Steady]()
        readers: list[list[Steady]] = self._readers.__dict__.setdefault("held", [])
        with self._holding:
            readers.append(held)
        try:
            yield
            for file in held:
                file.require_unchanged()
        finally:
            with self._holding:  # what is read some rows at a time may end in another thread than it began in
                readers[:] = [each for each in readers if each is not held]
            for file in held:
                file.close()

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells the object from another one: that of its copy is the same on every machine."""
        with suppress(OSError):
            status = os.stat(self.file(name))
            return 0, status.st_size, status.st_mtime_ns
        known = self._look(name)
        return (0, known.size, _written_ns(known)) if known else None

    def exists(self, name: str) -> bool:
        """Return whether the file is there: once it was, it is not asked for again."""
        return os.path.isfile(self.file(name)) or self._look(name) is not None

    @_cache_errors()
    def make(self, name: str, write: Callable[[Path], T], *, is_kept: bool) -> T:
        """Have a file written here, whole, put it where it is kept, and keep the copy. Raises StorageError."""
        if not is_kept:
            return write(self._lent / f"{name}{END}")
        if self._made.get(name):
            self.discard(name)  # an attempt that came to nothing: no row names it yet
        part = self._lent / f"{secrets.token_hex(8)}{END}"
        try:
            result = write(part)
            self._made.put(name, True)
            known = self._storage.put_file(part, f"{name}{END}")
            self._adopt(part, name, known)
        finally:
            part.unlink(missing_ok=True)
        self._make_room(name)
        return result

    @_cache_errors()
    def renew(self, name: str) -> bool:
        """Drop the copy of a file and fetch it again: what is wrong with it may be so here alone."""
        path = Path(self.file(name))
        if path.parent == self._lent:
            return False
        path.unlink(missing_ok=True)
        try:
            self._fetch(name)
        except MembersGone:
            return False
        return True

    def set_aside(self, name: str, *, now_s: float) -> Path | None:
        """Leave a damaged object where it is, to be looked at: nothing takes its name, and it goes with its row."""
        return None

    def was_set_aside(self, name: str) -> bool:
        """Return whether the file was set aside: none is."""
        return False

    @_cache_errors()
    def remove(self, name: str) -> None:
        """Remove a file by its name, and its copy here. Raises StorageError."""
        self._drop(name)
        self._storage.remove(f"{name}{END}")

    @_cache_errors()
    def discard(self, name: str) -> None:
        """Remove a file if this process put it, or tried to: nothing is asked for otherwise."""
        self._drop(name)
        if self._made.get(name):
            self._storage.remove(f"{name}{END}")
            self._made.forget(name)

    def list(self) -> Iterator[tuple[str, float]]:
        """Yield the files at the top of the storage with the time each was written. Raises StorageError."""
        for known in self._storage.list():
            if known.name.endswith(END) and "/" not in known.name:
                yield known.name.removesuffix(END), known.written_s

    @_cache_errors()
    def tidy(self, list_unnamed: Callable[[Sequence[str]], Collection[str]], *, now_s: float) -> int:
        """Remove copies that no row names and nobody uses, and what only this machine had; return how many."""
        unused = [copy for copy in self._copies(self.folder) if now_s - copy.used_s > _UNNAMED_FOR_S]
        lent = {copy.path: _compared(copy.path.stem) for copy in self._copies(self._lent)}
        asked = {copy.path.stem for copy in unused}.union(*lent.values())
        unnamed = set(list_unnamed(sorted(asked))) if asked else set[str]()
        removed = sum(_remove_unused(copy.path) for copy in unused if copy.path.stem in unnamed)
        old = [copy.path for copy in self._copies(self._lent) if now_s - copy.used_s > _LENT_FOR_S]
        old += [path for path, names in lent.items() if not unnamed.isdisjoint(names)]
        old += [path for path in self._parts() if is_older(path, now_s - _LENT_FOR_S)]
        for path in {*old}:
            path.unlink(missing_ok=True)
        self._forget(unnamed)
        return removed + len({*old})

    @_cache_errors()
    def drop_compared(self, names: Sequence[str]) -> None:
        """Remove all that is here alone: no run works meanwhile, and pages compare again."""
        for copy in self._copies(self._lent):
            copy.path.unlink(missing_ok=True)

    def _parts(self) -> Iterator[Path]:
        """Yield what processes were writing that died, or do at this moment."""
        for folder in (self.folder, self._lent):
            yield from (path for path in folder.glob("*.part") if is_part(path))

    def _forget(self, names: Collection[str]) -> None:
        """Forget what was known of files that no row names any more."""
        for name in names:
            self._known.forget(name)
            self._made.forget(name)

    def _look(self, name: str) -> Stored | None:
        known = self._known.get(name)
        if known is None and (known := self._storage.look(f"{name}{END}")):
            self._known.put(name, known)
        return known

    def _fetch(self, name: str) -> Path:
        path = Path(self.file(name))
        if self._use(path):
            return path
        with self._locks[hash(name) % _LOCKS]:
            if self._use(path):
                return path
            self._copy(name)
        self._make_room(name)
        return Path(f"{self.folder}/{name}{END}")

    def _copy(self, name: str) -> None:
        part = self._lent / f"{secrets.token_hex(8)}{END}"
        try:
            self._adopt(part, name, self._storage.get_file(f"{name}{END}", part))
        except ObjectGone:
            self._known.forget(name)
            raise MembersGone(_GONE, advice=_EXPORT_AGAIN) from None
        except ObjectDamaged as exc:
            raise MembersDamaged(str(exc), advice=exc.advice) from None
        finally:
            part.unlink(missing_ok=True)

    def _adopt(self, part: Path, name: str, known: Stored) -> None:
        """Make a whole file the copy of an object."""
        self._known.put(name, known)
        written_ns = _written_ns(known)
        os.utime(part, ns=(time.time_ns(), written_ns))
        part.replace(f"{self.folder}/{name}{END}")

    def _use(self, path: Path) -> bool:
        """Note that a copy is used now; False where there is none, or one that something else wrote to."""
        try:
            written_ns = path.stat().st_mtime_ns
            if written_ns % _MARK_NS and path.parent == self.folder:
                path.unlink(missing_ok=True)
                return False
            os.utime(path, ns=(time.time_ns(), written_ns))
        except FileNotFoundError:
            return False
        return True

    def _hold(self, path: Path) -> bool:
        """Hold a copy for the reader around, if there is one; False where it went away meanwhile."""
        readers: list[list[Steady]] = self._readers.__dict__.get("held", [])
        if not readers:
            return path.exists()
        try:
            file = Steady(path, is_alone=path.parent == self._lent)
        except FileNotFoundError:
            return False
        if not file.lock():
            file.close()
            return False
        readers[-1].append(file)
        return True

    def _make_room(self, name: str) -> None:
        """Remove what was used longest ago until the copies take no more than they may, now that one more is here.

        To look at all of them takes a while: who waits for that need not do it again, if it was begun after their own
        copy was here.
        """
        self._uncounted.add(name)
        with self._lock:
            if name not in self._uncounted:
                return
            self._uncounted.clear()
            copies = sorted(self._copies(self.folder), key=lambda copy: copy.used_s)
            size = sum(copy.size for copy in copies)
            for copy in copies:
                if size <= self._most_bytes:
                    return
                if _remove_unused(copy.path):
                    size -= copy.size

    def _copies(self, folder: Path) -> Iterator[_Copy]:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(END) and entry.is_file(follow_symlinks=False):
                        yield _Copy(Path(entry.path), status.st_size, status.st_atime)

    def _drop(self, name: str) -> None:
        self._known.forget(name)
        for folder in (self._lent, self.folder):
            Path(f"{folder}/{name}{END}").unlink(missing_ok=True)


def _remove_unused(path: Path) -> bool:
    """Remove a copy that nobody reads and nobody is about to."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(handle).st_atime < _JUST_USED_S:
            return False
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _written_ns(known: Stored) -> int:
    """Return the time that a copy has, in place of when it was written: one that comes of the object's tag alone."""
    return int.from_bytes(hashlib.sha256(known.tag.encode()).digest()[:4]) // 2 * _MARK_NS


def _compared(name: str) -> list[str]:
    """Return the two files that one of this machine alone was compared of, none where it is another kind."""
    if not name.startswith(COMPARED):
        return []
    first, _, second = name.removeprefix(COMPARED).partition("-run-")
    return [first, f"run-{second}"]
