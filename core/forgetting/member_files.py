"""The files of members in which a person is: found, and written again without them, before any takes its place."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.bridge import Bridge
from core.errors import StorageFailed
from data import proofs, run_retention
from data.forgetting import Rewritten
from data.members.duck import MembersDamaged, MembersGone
from data.members.files import flush_to_disk, is_older, is_part
from data.members.fingerprint import new_key
from data.members.forgetting import Search, add_up, write_without
from data.members.places import COMPARED
from data.members.proof import Proof, make_proof
from data.members.store import SET_ASIDE, SNAPSHOT, is_ours

_EXCLUDED = "excluded-"
# What the name of a file ends with that was written again without somebody.
_SUFFIX = re.compile(r"(-f[0-9a-f]{8})?$")
# A file that a page writes at this moment is younger; runs write none meanwhile.
_YOUNG_S = 3600


@dataclass
class MemberSearch:
    """Where a person is among the files of members, those that were set aside included."""

    bridge: Bridge
    search: Search = field(init=False)
    kinds: list[list[Path]] = field(init=False)
    set_aside: list[Path] = field(init=False)

    def __post_init__(self) -> None:
        snapshots = self.bridge.snapshots
        self.search = Search(snapshots, bring=snapshots.bring_paths, at_once=snapshots.at_once)
        self.set_aside = sorted(path for path in snapshots.folder.glob(f"*{SET_ASIDE}") if is_ours(path.stem))
        files = [Path(snapshots.place.file(name)) for name in self._list()]
        self.kinds = [
            [path for path in files if path.name.startswith(SNAPSHOT)],
            [path for path in files if path.name.startswith(_EXCLUDED)],
            [path for path in files if not path.name.startswith((SNAPSHOT, _EXCLUDED))],
        ]

    def _list(self) -> list[str]:
        """List our files that there are, and those that rows name: a listing may lag, a name may be an older one."""
        names = {name for name, _ in self.bridge.snapshots.place.list() if is_ours(name)}
        return sorted(names | run_retention.named_files(self.bridge.engine))

    def find_pairs(self, ids: Sequence[str], *, most: int) -> set[tuple[str | None, str | None]]:
        """Return the pairs of ids of all rows that have one of these. Raises StorageError."""
        return {pair for paths in self._by_columns() for pair in self.search.find_pairs(paths, ids, most=most)}

    def count(self, ids: Sequence[str]) -> dict[Path, int]:
        """Count the rows that have one of these ids, by file. Raises StorageError."""
        self.search.note_unreadable(self.set_aside)
        counts = dict[Path, int]()
        for paths in self._by_columns():
            counts |= self.search.count(paths, ids)
        return counts

    def _by_columns(self) -> list[list[Path]]:
        """Group files by their columns: those that were set aside stand by themselves, whatever they were."""
        return [paths for paths in (*self.kinds, *([path] for path in self.set_aside)) if paths]


@dataclass
class MemberFilesWithout:
    """The files that take the place of those with a person in them, and those that are only removed."""

    bridge: Bridge
    counts: dict[Path, int]
    unreadable: set[Path]
    rewritten: list[Rewritten] = field(default_factory=list[Rewritten])
    removed: list[Path] = field(default_factory=list[Path])  # that no row names
    members: int = 0
    changes: int = 0
    excluded: int = 0
    unproven: int = 0  # that are not what they say, and are removed as what cannot be read is

    def write(self, ids: Sequence[str]) -> None:
        """Write the new files beside the old ones. Raises StorageError."""
        named = run_retention.named_files(self.bridge.engine)
        for path in sorted({*self.counts, *self.unreadable}):
            if path.suffix == SET_ASIDE or path.stem not in named:
                self.removed.append(path)
            elif path in self.unreadable:
                self.rewritten.append(Rewritten(path.stem, None))
            else:
                self._take(path, ids)

    def _take(self, path: Path, ids: Sequence[str]) -> None:
        """Write a file again; one that turns out to be damaged is removed, and one that is gone is no matter."""
        known = len(self.rewritten)
        try:
            self._write(path, ids)
        except (MembersDamaged, MembersGone):
            for file in self.rewritten[known:]:
                self.bridge.snapshots.discard(file.new or "")
            is_there = self.bridge.snapshots.place.exists(path.stem)
            self.rewritten[known:] = [Rewritten(path.stem, None)] if is_there else []
            self.unproven += is_there

    def _write(self, path: Path, ids: Sequence[str]) -> None:
        old, new = path.stem, _SUFFIX.sub(f"-f{secrets.token_hex(4)}", path.stem, count=1)
        is_snapshot, is_excluded = old.startswith(SNAPSHOT), old.startswith(_EXCLUDED)
        proof = self._prove(old) if is_snapshot else None
        if is_snapshot and proof is None:
            self.rewritten.append(Rewritten(old, None))
            self.unproven += 1
            return
        self.rewritten.append(Rewritten(old, new))  # named before it is there, so that it is removed on failure
        snapshots = self.bridge.snapshots
        rows = snapshots.make(new, lambda target: write_without(snapshots, snapshots.path(old), target, ids))
        if is_excluded:
            kept = Proof(rows)
        else:
            kept = make_proof(self.bridge.snapshots, new, key=(proof and proof.key) or new_key())
        if proof is not None and kept.sums != self._sums_without(path, proof, ids):
            raise _members_lost()
        if kept.members != rows:
            raise _members_lost()
        self.rewritten[-1] = Rewritten(old, new, kept)
        self.members += self.counts[path] if is_snapshot else 0
        self.excluded += self.counts[path] if is_excluded else 0
        self.changes += 0 if is_snapshot or is_excluded else self.counts[path]

    def _prove(self, name: str) -> Proof | None:
        """Have a snapshot prove itself before another is made of it; None where it does not."""
        members = self.bridge.snapshots.count(name)
        damage, proof = proofs.check(self.bridge.engine, self.bridge.snapshots, name, members=members, key=new_key())
        return proof if damage is None else None

    def _sums_without(self, path: Path, proof: Proof, ids: Sequence[str]) -> object:
        """Work out what the members add up to without the person, from what they are known to add up to."""
        person = add_up(self.bridge.snapshots, self.bridge.snapshots.path(path.stem), ids, key=proof.key or "")
        return proof.sums.minus(person) if proof.sums else None

    def drop_new(self) -> None:
        """Remove the new files, since they do not take the place of any."""
        for file in self.rewritten:
            if file.new is not None:
                self.bridge.snapshots.discard(file.new)

    def drop_old(self) -> None:
        """Remove the old files, and what pages and dead processes have made of them. Raises OSError."""
        snapshots = self.bridge.snapshots
        old = [file.old for file in self.rewritten]
        for name in (*old, *(path.stem for path in self.removed if path.suffix != SET_ASIDE)):
            snapshots.remove(name)
        for path in self.removed:
            path.unlink(missing_ok=True)
        snapshots.place.drop_compared(old)
        young_s = self.bridge.clock.host_now().timestamp() - _YOUNG_S
        for path in snapshots.folder.glob("*.part"):
            if is_part(path) and (COMPARED not in path.name or is_older(path, young_s)):
                path.unlink(missing_ok=True)
        if snapshots.folder.is_dir():
            flush_to_disk(snapshots.folder)


def _members_lost() -> StorageFailed:
    return StorageFailed(
        "A file of members without the person does not add up to the one with them. Nothing was forgotten.",
        advice="Try again. If that happens twice, check the disk of the snapshots folder.",
    )
