"""What a backup holds where members lie in object storage: fetched a few at a time, as the archive is written.

Nothing can be kept hold of there. So the database is copied again, and what it names now is fetched too, until the copy
names nothing that was removed meanwhile; that copy is the one in the backup.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from sqlalchemy import func
from sqlmodel import col, select

from data import association_retention, associations, home_copy, row_copy
from data.audit.chain import find_head
from data.engine import Engine, StorageError, read_session, schema_revision
from data.home_copy import HomeCopy, KeptAt
from data.members import bundle
from data.members.duck import MembersDamaged
from data.models import Association, AuditEntry
from data.placing import ASSOCIATIONS, DATABASE, SNAPSHOTS, is_name
from data.run_retention import named_files
from data.storage.port import ObjectDamaged, ObjectGone, Storage

_TRIES = 5
# So many files are fetched, and lie on the disk, at a time.
_AT_ONCE = 8
# Whose line in the audit log tells that files were removed which the backup must not have either.
_FORGETTING = "forget_person"


def collect(engine: Engine, kept: KeptAt, storage: Storage, into: Path) -> HomeCopy:
    """Put together in an empty folder what a backup holds: its files come, and go, as they are asked for.

    What is counted and lost is known after the last of them. Asking raises StorageError, OSError.
    """
    copy = HomeCopy(schema_revision(engine) or "")
    copy.files = _Fetching(engine, kept, storage, into, copy).files()
    return copy


class _Fetching:
    def __init__(self, engine: Engine, kept: KeptAt, storage: Storage, into: Path, copy: HomeCopy) -> None:
        self._engine = engine
        self._kept = kept
        self._storage = storage
        self._into = into
        self._copy = copy
        self._held = set[str]()
        self._gone = set[str]()

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield what the backup holds, the database last."""
        database = self._into / DATABASE
        first = _newest_line(self._engine)
        for tries_left in reversed(range(_TRIES)):
            before = home_copy.look_beside(self._kept)
            home_copy.copy_to_file(self._engine, database)
            with row_copy.opened(database) as copy:
                named = named_files(copy)
                yield from self._fetch_members(sorted(named - self._held - self._gone))
                if tries_left and (self._gone & named) - named_files(self._engine):
                    continue  # they were removed since the database was copied: the next copy does not name them
                yield from self._fetch_associations(copy)
                _require_nobody_forgotten(copy, since=first)
                self._copy.counts = home_copy.count(copy)
                self._copy.lost = sorted(self._gone & named)
                head = find_head(copy, self._engine, self._kept.audit_head, before.head)
            yield from home_copy.write_notes(self._into, head, before.mark).items()
            yield DATABASE, database
            return

    def _fetch_members(self, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
        """Yield the files of members that are there, a few at a time."""
        left = iter(names)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            while some := list(islice(left, _AT_ONCE)):
                for name, path in zip(some, pool.map(self._fetch_member, some), strict=True):
                    if path is None:
                        self._gone.add(name)
                        continue
                    self._held.add(name)
                    yield f"{SNAPSHOTS}/{name}.parquet", path
                    path.unlink(missing_ok=True)

    def _fetch_member(self, name: str) -> Path | None:
        """Fetch a file; one that is not there, or is another than was put there, counts as lost."""
        if not is_name(f"{SNAPSHOTS}/{name}.parquet"):
            return None
        try:
            return self._fetch(f"{name}.parquet")
        except ValueError:
            return None  # a name that no storage takes

    def _fetch(self, name: str) -> Path | None:
        target = self._into / f"{secrets.token_hex(8)}.part"
        try:
            self._storage.get_file(name, target)
        except (ObjectGone, ObjectDamaged):
            return None
        except OSError as exc:
            raise StorageError(
                f"A file of members could not be fetched for the backup: {exc.strerror or exc}.",
                advice="Check that the disk of COHORT_BRIDGE_HOME has space for a copy of the database.",
            ) from exc
        return target

    # --- associations ----------------------------------------------------------------------------------------------

    def _fetch_associations(self, copy: Engine) -> Iterator[tuple[str, Path]]:
        """Yield the files of the associations that are in the copy, each as its stage there needs them."""
        with read_session(copy) as session:
            rows = session.exec(
                select(Association.id, Association.stage, Association.bundle).order_by(col(Association.id))
            ).all()
        for number, stage, name in rows:
            folder = self._into / "association"
            if name and number is not None and self._unpack(number, name, folder):
                chosen = home_copy.choose(folder, stage)
                yield from ((f"{ASSOCIATIONS}/{number:08d}/{below}", path) for below, path in chosen)
            shutil.rmtree(folder, ignore_errors=True)

    def _unpack(self, number: int, name: str, folder: Path) -> bool:
        """Unpack the files of an association, or those that took their place meanwhile: they hold the same rows."""
        for _ in range(_TRIES):
            if fetched := self._fetch(association_retention.object_of(name)):
                try:
                    bundle.unpack(fetched, folder)
                    return True
                except MembersDamaged:
                    return False
                finally:
                    fetched.unlink(missing_ok=True)
            present = associations.get(self._engine, number)
            if present is None or present.bundle in ("", name):
                return False
            name = present.bundle
        return False


def _newest_line(engine: Engine) -> int:
    with read_session(engine) as session:
        return session.exec(select(func.max(AuditEntry.number))).one() or 0


def _require_nobody_forgotten(copy: Engine, *, since: int) -> None:
    """Refuse to go on where a person was forgotten while files with them went into the backup. Raises StorageError."""
    with read_session(copy) as session:
        forgotten = select(AuditEntry.number).where(AuditEntry.action == _FORGETTING, col(AuditEntry.number) > since)
        if session.exec(forgotten.limit(1)).first() is not None:
            raise StorageError(
                "Somebody was forgotten while this backup was made, and is still in it.",
                advice="Nothing is left of it. Make the backup again.",
            )
