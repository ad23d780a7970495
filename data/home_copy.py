"""What a backup holds, put together while everything runs: a copy of the database, and the files that its rows name.

Files of members never change, and are removed only after the last row that named them. So each is given a second name
in the folder of the backup, before the database is copied and again after: whatever is removed meanwhile stays there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func
from sqlmodel import col, select

from data import row_copy
from data.audit.anchor import format_anchor, read_anchor
from data.audit.chain import find_head
from data.engine import Engine, copy_database, read_session, schema_revision
from data.models import Association, Connection, Group, ImportStage, Person, Run, Sync
from data.notes import Note, read_note
from data.placing import ASSOCIATIONS, AUDIT_HEAD, DATABASE, DELIVERY_MARK, SNAPSHOTS, is_name
from data.run_retention import named_files

# A file may come and go between two looks at the folder; that it does so time and again is not to be expected.
_TRIES = 5
# Associations that are checked when, and again if, they are restored: from their rows as they were read, or given.
CHECKED_AGAIN = (ImportStage.TO_CHECK, ImportStage.CHECKING, ImportStage.CHECKED)
_UPLOAD = "upload.csv"
_AS_READ, _AS_WRITTEN = re.compile(r"upload\.csv|raw/\d+\.parquet"), re.compile(r"plan\.parquet|outcomes\.csv")
_COUNTED = {"connections": Connection, "people": Person, "syncs": Sync, "groups": Group, "runs": Run}


@dataclass(frozen=True)
class KeptAt:
    """Where a home keeps what a backup holds."""

    snapshots: Path
    associations: Path
    audit_head: Note
    delivery_mark: Note


@dataclass
class HomeCopy:
    """What a backup holds: each file by the name that it has in a home, and what the database counts.

    `lost` are files that rows name and that were not there: a home can tell that of each. Where files are fetched as
    they are asked for, what is counted and lost is known after the last.
    """

    revision: str
    files: Iterable[tuple[str, Path]] = ()
    counts: dict[str, int] = field(default_factory=dict[str, int])
    lost: list[str] = field(default_factory=list[str])


def collect(engine: Engine, kept: KeptAt, into: Path) -> HomeCopy:
    """Put together in an empty folder what a backup holds. Raises StorageError, OSError."""
    for tries_left in reversed(range(_TRIES)):
        before = _look(kept, into)
        copy_to_file(engine, into / DATABASE)
        _link_all(kept.snapshots, into / SNAPSHOTS)
        with row_copy.opened(into / DATABASE) as copy:
            named = named_files(copy)
            lost = {name for name in named if not _is_kept(into, f"{SNAPSHOTS}/{name}.parquet")}
            if tries_left and lost - named_files(engine):
                continue  # they were removed since the database was copied: the next copy does not name them
            files = _name_snapshots(into / SNAPSHOTS, named - lost)
            files |= _choose_associations(copy, kept.associations, into)
            files |= write_notes(into, find_head(copy, engine, kept.audit_head, before.head), before.mark)
            files[DATABASE] = into / DATABASE
            return HomeCopy(schema_revision(copy) or "", files.items(), count(copy), sorted(lost))
    raise AssertionError("the last try takes what is there")


def copy_to_file(engine: Engine, target: Path) -> None:
    """Copy the database as it is at this moment into a SQLite file, whichever kind it is of. Raises StorageError."""
    _empty(target)
    if engine.dialect.name == "sqlite":
        copy_database(engine, target)
        return
    row_copy.copy_to_file(engine, target)


@dataclass(frozen=True)
class Before:
    """What was noted beside the database before it was copied: never more than the copy knows."""

    head: tuple[int, str] | None
    mark: str | None


def _look(kept: KeptAt, into: Path) -> Before:
    """Keep hold of all files that are there."""
    _link_all(kept.snapshots, into / SNAPSHOTS)
    shutil.rmtree(into / "before", ignore_errors=True)
    for folder in _folders(kept.associations):
        _link_association(folder, into / "before" / folder.name)
    return look_beside(kept)


def look_beside(kept: KeptAt) -> Before:
    """Read what is noted beside the database."""
    try:
        mark = read_note(kept.delivery_mark)
    except OSError:
        mark = None
    return Before(read_anchor(kept.audit_head), mark)


def _empty(path: Path) -> Path:
    """Make an empty file that nobody else may read."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


# --- files of members ----------------------------------------------------------------------------------------------


def _link_all(folder: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".parquet") and entry.is_file(follow_symlinks=False):
                _link(Path(entry.path), into / entry.name)


def _link(file: Path, target: Path) -> None:
    """Give a file a second name, or copy it where it cannot have one; what has gone stays as it is there.

    A run that begins again writes its files again, until a row names them: the newest is the one that is named.
    """
    with suppress(FileNotFoundError):
        if target.exists():
            if _stamp(file) == _stamp(target):
                return
            target.unlink()
        try:
            os.link(file, target, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one without such names
            shutil.copy2(file, target, follow_symlinks=False)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _is_kept(into: Path, name: str) -> bool:
    return is_name(name) and (into / name).exists()


def _name_snapshots(folder: Path, names: set[str]) -> dict[str, Path]:
    return {f"{SNAPSHOTS}/{name}.parquet": folder / f"{name}.parquet" for name in sorted(names)}


# --- associations --------------------------------------------------------------------------------------------------


def _folders(associations: Path) -> Iterator[Path]:
    if associations.is_dir():
        yield from (path for path in sorted(associations.iterdir()) if path.name.isdigit() and path.is_dir())


def _link_association(folder: Path, into: Path) -> None:
    """Keep hold of the files of an association: the upload first, which is removed once all its rows were read."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "raw").mkdir(exist_ok=True)
    for name in (_UPLOAD, "plan.parquet", "outcomes.csv"):
        _link(folder / name, into / name)
    with suppress(FileNotFoundError):
        for path in (folder / "raw").iterdir():
            _link(path, into / "raw" / path.name)


def _choose_associations(copy: Engine, associations: Path, into: Path) -> dict[str, Path]:
    """Name the files of the associations that are in the copy, as they were when it was made.

    Rows that wait for a check are as they were before; a plan does not change any more once it is being written, and
    then it is as it is now.
    """
    with read_session(copy) as session:
        stages = session.exec(select(Association.id, Association.stage).order_by(col(Association.id))).all()
    chosen = dict[str, Path]()
    for number, stage in stages:
        name, is_checked_again = f"{number:08d}", stage in CHECKED_AGAIN
        before, after = into / "before" / name, into / "after" / name
        if (associations / name).is_dir():
            _link_association(associations / name, after)
        folders = [folder for folder in ((before, after) if is_checked_again else (after, before)) if folder.is_dir()]
        for below, path in choose(folders[0], stage) if folders else ():
            chosen[f"{ASSOCIATIONS}/{name}/{below}"] = path
    return chosen


def choose(folder: Path, stage: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of an association that it needs in its stage, by their names below its folder."""
    form = _AS_READ if stage in CHECKED_AGAIN else _AS_WRITTEN
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder).as_posix()
        if path.is_file() and form.fullmatch(below):
            yield below, path


# --- beside the database -------------------------------------------------------------------------------------------


def write_notes(into: Path, head: tuple[int, str] | None, mark: str | None) -> dict[str, Path]:
    """Write what is noted beside the database, and name it."""
    texts = {AUDIT_HEAD: format_anchor(*head) if head else None, DELIVERY_MARK: mark}
    for name, text in texts.items():
        if text is not None:
            (into / name).write_text(text, encoding="ascii")
    return {name: into / name for name, text in texts.items() if text is not None}


def count(copy: Engine) -> dict[str, int]:
    """Count what a copy of the database holds."""
    with read_session(copy) as session:
        return {what: session.exec(select(func.count()).select_from(table)).one() for what, table in _COUNTED.items()}
