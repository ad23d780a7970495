"""The rows of a person in what is kept of associations, and what takes its place."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.associate import bundles
from core.associate.files import import_rows
from core.associate.rows import read_rows
from core.bridge import Bridge
from core.errors import SettingsError
from core.rules.matching import PREFIXES
from data import associations
from data.association_retention import list_bundles
from data.members.association_rows import ImportRows, ImportSummary
from data.members.duck import MembersDamaged, MembersGone
from data.members.files import flush_to_disk, is_older
from data.members.forgetting import Search, list_rows, write_without
from data.models import Association, ImportStage

_NEW = ".forgotten"
_CHUNK = 2**20
# An upload that is arriving at this moment is younger.
_YOUNG_S = 3600
# Its counts are told again: nothing of it was written, or refused.
_UNWRITTEN = (ImportStage.CHECKED, ImportStage.TO_WRITE)


def find_written_pairs(bridge: Bridge, ids: Sequence[str], *, most: int) -> set[tuple[str | None, str | None]]:
    """Return the pairs of ids that were set on profiles by hand, of rows that have one of these. Raises StorageError.

    What was only entered says nothing of who belongs together.
    """
    plans = {import_rows(bridge, number).plan: number for number in _list_kept(bridge)}
    one_of = f"IN ({', '.join('?' * len(ids))})"
    query = (
        "filename, row, apptimize_id, distinct_id FROM {0} WHERE problem IS NULL AND "
        f"(distinct_id {one_of} OR apptimize_id {one_of}) LIMIT {most + 1:d}"
    )
    pairs = set[tuple[str | None, str | None]]()
    for plan, number in plans.items():
        for rows in Search(bridge.snapshots).ask([plan], query, [*ids, *ids]):
            for _, row, apptimize_id, distinct_id in rows:
                if associations.is_written(bridge.engine, number, row):
                    pairs.add((apptimize_id, distinct_id))
    return pairs


def _list_kept(bridge: Bridge) -> list[int]:
    if bundles.are_used(bridge):
        return sorted(list_bundles(bridge.engine))
    folder = bridge.settings.associations
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())


@dataclass
class AssociationFilesWithout:
    """What takes the place of associations' files in which a person is, and what is only removed."""

    bridge: Bridge
    rows: dict[int, set[int]] = field(default_factory=dict[int, "set[int]"])  # by association
    checked: dict[int, ImportSummary] = field(default_factory=dict[int, ImportSummary])
    unusable: list[int] = field(default_factory=list[int])
    unreadable: int = 0
    new_bundles: dict[int, str] = field(default_factory=dict[int, str])  # that take the place of others
    _folders: dict[int, Path] = field(default_factory=dict[int, Path])
    _replaced: list[Path] = field(default_factory=list[Path])
    _removed: list[Path] = field(default_factory=list[Path])

    @property
    def count(self) -> int:
        """How many rows the person has."""
        return sum(map(len, self.rows.values())) + len(self.unusable)

    def find(self, ids: Sequence[str]) -> None:
        """Find the rows, and write nothing. Raises StorageError."""
        for number in _list_kept(self.bridge):
            kept = import_rows(self.bridge, number)
            if kept.upload.is_file() and _holds_any(kept.upload, ids):
                self.rows.setdefault(number, set()).add(0)
            self._find_in(number, _files_of(kept), ids)

    def _find_in(self, number: int, files: Sequence[Path], ids: Sequence[str]) -> list[Path]:
        found = list[Path]()
        for path in files:
            try:
                rows = list_rows(self.bridge.snapshots, path, ids, prefixes=_prefixes(path))
            except MembersGone:
                continue
            except MembersDamaged:
                self._removed.append(path)  # nobody can be found in it
                self.unreadable += 1
                continue
            if rows:
                self.rows.setdefault(number, set()).update(rows)
                found.append(path)
        return found

    def write(self, ids: Sequence[str]) -> None:
        """Write the new files beside the old ones. Raises StorageError."""
        for number in _list_kept(self.bridge):
            kept, association = import_rows(self.bridge, number), associations.get(self.bridge.engine, number)
            for left in kept.folder.rglob(f"*{_NEW}"):
                left.unlink(missing_ok=True)
            if association is None:
                self._removed.append(kept.folder)  # its row went first, and its process died then
                continue
            self._folders[number] = kept.folder
            self._take_upload(association, kept, ids)
            for path in self._find_in(number, _files_of(kept), ids):
                new = path.with_name(f"{path.name}{_NEW}")
                self._replaced.append(path)
                write_without(self.bridge.snapshots, path, new, ids, prefixes=_prefixes(path))
                if path == kept.plan and association.stage in _UNWRITTEN and not association.begun:
                    self.checked[number] = kept.summarize(new)
            if kept.outcomes.is_file() and (number in self.rows or _holds_any(kept.outcomes, ids)):
                self._removed.append(kept.outcomes)  # it is made again from the rows when it is asked for

        if bundles.are_used(self.bridge):
            self._keep_bundles()

    def _keep_bundles(self) -> None:
        """Put what the folders will hold into bundles, before any row names them. Raises StorageError."""
        changed = {*self._replaced, *self._removed}
        for number, folder in self._folders.items():
            if any(path.is_relative_to(folder) for path in changed):
                self.new_bundles[number] = bundles.keep_folder(self.bridge, folder, instead=self._instead)

    def _instead(self, path: Path) -> Path | None:
        if path in self._removed:
            return None
        return path.with_name(f"{path.name}{_NEW}") if path in self._replaced else path

    def _take_upload(self, association: Association, kept: ImportRows, ids: Sequence[str]) -> None:
        """Read the rows of a file that waits to be checked, as the check does first: those can be written again."""
        if not kept.upload.is_file() or not _holds_any(kept.upload, ids):
            return
        assert association.id is not None
        if association.stage != ImportStage.TO_CHECK:
            self._removed.append(kept.upload)  # it could not be read, or was cancelled before that: nothing reads it
            self.rows.setdefault(association.id, set()).add(0)
            return
        try:
            with kept.upload.open("rb") as file:
                kept.keep(read_rows(file, expects_prefix=association.expects_prefix))
        except SettingsError:
            self.unusable.append(association.id)
        self._removed.append(kept.upload)

    def drop_new(self) -> None:
        """Remove the new files, since they do not take the place of any."""
        for path in self._replaced:
            path.with_name(f"{path.name}{_NEW}").unlink(missing_ok=True)
        for name in self.new_bundles.values():
            bundles.remove(self.bridge, name)

    def put_in_place(self) -> None:
        """Put the new files in the place of the old ones, and remove what dead processes left. Raises OSError."""
        for path in self._removed:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
                flush_to_disk(path.parent)
        for path in self._replaced:
            os.replace(path.with_name(f"{path.name}{_NEW}"), path)
            flush_to_disk(path.parent)
        self._take_bundles()
        folder = self.bridge.settings.associations
        young_s = self.bridge.clock.host_now().timestamp() - _YOUNG_S
        left = [path for path in folder.glob(".*.part") if is_older(path, young_s)]
        for path in (*left, *folder.glob("*/*.part")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _take_bundles(self) -> None:
        if not bundles.are_used(self.bridge):
            return
        for number, name in self.new_bundles.items():
            bundles.take_name(self.bridge, number, self._folders[number], name)
        bundles.drop_stale(self.bridge, list_bundles(self.bridge.engine))


def _files_of(kept: ImportRows) -> list[Path]:
    """List the files of rows that an association keeps."""
    return [*sorted(kept.raw.glob("*.parquet")), *([kept.plan] if kept.has_plan else [])]


def _prefixes(path: Path) -> Sequence[str]:
    """Return what ids of a file may lack: only checked ones have the prefix that they are given."""
    return () if path.name == "plan.parquet" else PREFIXES


def _holds_any(path: Path, ids: Sequence[str]) -> bool:
    """Return whether a text has any of these ids, with or without a prefix, as bytes or with quotes doubled."""
    forms = {*ids, *(user_id.removeprefix(prefix) for user_id in ids for prefix in PREFIXES)}
    forms |= {form.replace('"', '""') for form in forms}
    found = re.compile(b"|".join(re.escape(form.encode()) for form in sorted(forms) if form))
    longest = max(len(form.encode()) for form in forms)
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if found.search(rest + chunk):
                return True
            rest = (rest + chunk)[-longest:]
    return False
