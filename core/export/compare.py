"""The members that a group should have, beside those it was given last.

A base is believed by what adds up. The fingerprint of what was read must be that of the base, less who was removed,
plus who was added: a base, a snapshot or a comparison in which one id is another does not add up to that. Only then is
the base read whole, to tell which of them it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.bridge import Bridge
from core.errors import StorageFailed
from core.export.base import Base, expect_base, find_base, find_standing_proof
from core.export.job import Job
from data.engine import StorageError
from data.members.changes import Difference
from data.members.collector import Collector, Tally
from data.members.duck import MembersDamaged, MembersGone, MemoryTooSmall
from data.members.fingerprint import Sums
from data.members.proof import Proof, make_proof
from data.members.snapshots import Snapshots


@dataclass(frozen=True)
class Comparison:
    """The members that a group should have, kept as a snapshot, and how they differ from its base."""

    snapshot: str
    members: int
    base: str | None  # None: the group has none, or its snapshot is gone or damaged
    difference: Difference
    damage: str | None = None  # why the base cannot be believed: the end of a sentence
    notice: str | None = None  # what people are told of that
    proof: Proof | None = None  # of the snapshot
    changes: str | None = None  # the file that tells who is added and removed, if it is kept

    @property
    def has_changes(self) -> bool:
        """Whether members are added or removed."""
        return bool(self.difference.added or self.difference.removed)


def find_unchanged(snapshots: Snapshots, job: Job, tally: Tally) -> Comparison | None:
    """Return the comparison of a read that found exactly the base's members, None where it did not.

    The base is not read for that. Its file is there as it last proved itself, and proves itself again before a group is
    written from it.
    """
    name, proof = job.group.base_snapshot, find_standing_proof(snapshots, job)
    if name is None or proof is None or proof.sums != tally.sums:
        return None
    return Comparison(name, tally.members, name, Difference(0, 0, tally.members), proof=proof)


def compare_read(
    bridge: Bridge, job: Job, tally: Tally, collector: Collector, *, base: Base | None = None
) -> Comparison:
    """Compare what was read with the base; a run that will write keeps it as a snapshot first, with its proof.

    A dry run keeps only the difference, to be looked at, and on the command line, which counts, not even that. `base`
    is what was found of it already.
    """
    base = base or expect_base(bridge, job)
    failed: StorageError | None = None
    # A copy that turned out to be damaged is another one by then: what is kept elsewhere is compared once more.
    for _ in range(2 if bridge.snapshots.place.is_elsewhere and not job.run.only_counts else 1):
        if base.snapshot is None:
            break
        try:
            comparison = _compare(bridge.snapshots, job, tally, collector, base)
        except (MembersDamaged, MembersGone, MemoryTooSmall) as exc:
            comparison, failed = None, exc
        if comparison is not None:
            return comparison
        base = find_base(bridge, job.group, key=job.key)
    if base.snapshot is not None:
        raise failed or members_lost()
    return _begin(bridge.snapshots, job, tally, collector, base)


def compare_kept(snapshots: Snapshots, job: Job, snapshot: str, proof: Proof, base: Base) -> Comparison:
    """Compare an earlier snapshot, which the group is rolled back to, with the base."""
    before = base.proof
    if base.snapshot is None:
        difference, changes = Difference(proof.members, 0, 0), snapshot
    else:
        changes = job.files.difference
        difference = snapshots.keep_difference(changes, snapshot, base.snapshot, key=proof.key)
    for name in filter(None, (snapshot, base.snapshot)):
        require_proven(snapshots, name)
    if before and before.sums and proof.sums and before.key == proof.key and not _adds_up(difference, before, proof):
        raise members_lost()
    return Comparison(
        snapshot, proof.members, base.snapshot, difference, base.damage, base.notice, proof, changes=changes
    )


def require_whole(snapshots: Snapshots, comparison: Comparison) -> None:
    """Check the snapshot that a group is about to be overwritten from, unless it proved itself in this process.

    Raises: StorageError.
    """
    name, proof = comparison.snapshot, comparison.proof
    if proof is None or snapshots.proven.holds(name, snapshots.stamp(name)):
        return
    content, stamp = snapshots.digest(name), snapshots.stamp(name)
    if make_proof(snapshots, name, key=proof.key or "").sums != proof.sums:
        raise members_lost()
    snapshots.note_proven(name, stamp, content)


def _compare(snapshots: Snapshots, job: Job, tally: Tally, collector: Collector, base: Base) -> Comparison | None:
    """Compare what was read with a base; None where they do not add up."""
    assert base.snapshot is not None
    assert base.proof is not None
    files = job.files
    is_counted_only = job.run.only_counts
    proof = None
    try:
        if is_counted_only:
            with snapshots.place.reading():
                difference = collector.compare(snapshots.path(base.snapshot))
        else:
            proof = _keep(snapshots, job, tally, collector, is_kept=not job.run.dry_run)
            difference = snapshots.keep_difference(files.difference, files.snapshot, base.snapshot, key=job.key)
    finally:
        if job.run.dry_run:
            snapshots.discard(files.snapshot)
    if not _adds_up(difference, base.proof, tally):
        return None
    changes = None if is_counted_only else files.difference
    return Comparison(files.snapshot, tally.members, base.snapshot, difference, proof=proof, changes=changes)


def _begin(snapshots: Snapshots, job: Job, tally: Tally, collector: Collector, base: Base) -> Comparison:
    """Keep what was read where nothing is known to compare it with: all of it is added, and tells who is."""
    files = job.files
    difference = Difference(added=tally.members, removed=0, unchanged=0)
    proof, changes = None, None
    if not job.run.only_counts:
        proof, changes = _keep(snapshots, job, tally, collector), files.snapshot
        if make_proof(snapshots, files.snapshot, key=job.key).sums != tally.sums:
            raise members_lost()
        snapshots.proven.put(files.snapshot, snapshots.stamp(files.snapshot))
    return Comparison(files.snapshot, tally.members, None, difference, base.damage, base.notice, proof, changes=changes)


def _keep(snapshots: Snapshots, job: Job, tally: Tally, collector: Collector, *, is_kept: bool = True) -> Proof:
    """Keep what was read as a snapshot, and return the proof that it must have."""
    name = job.files.snapshot
    snapshots.make(name, collector.write, is_kept=is_kept)
    return Proof(tally.members, tally.sums.fingerprint, job.key).of(snapshots.stamp(name))


def _adds_up(difference: Difference, base: Proof, now: Tally | Proof) -> bool:
    """Return whether the base with what changed is what there is now."""
    before = difference.unchanged + difference.removed
    after = difference.unchanged + difference.added
    sums = (base.sums or Sums()).plus(difference.sums or Sums())
    return (before, after, sums) == (base.members, now.members, now.sums)


def members_lost() -> StorageFailed:
    """Build the error of a file of members that does not hold what was put into it."""
    return StorageFailed(
        "The members that were kept are not the members that were counted. Nothing was written.",
        advice="Start the export again. If that happens twice, check the disk of the snapshots folder.",
    )


def require_proven(snapshots: Snapshots, name: str) -> None:
    """Check that what was compared is still the file that had proved itself. Raises StorageFailed."""
    if not snapshots.proven.holds(name, snapshots.stamp(name)):
        raise StorageFailed(
            "A file of members was changed by something else while it was compared. Nothing was written.",
            advice="Start the export again, and let nothing but Cohort Bridge write to its snapshots folder.",
        )
