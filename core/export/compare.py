"""The members that a group should have, beside those it was given last."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import StorageFailed
from core.export.base import Base
from core.export.job import Job
from data.members.changes import Difference
from data.members.collector import Collector, Tally
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
    fingerprint: str | None = None

    @property
    def has_changes(self) -> bool:
        """Whether members are added or removed."""
        return bool(self.difference.added or self.difference.removed)


def compare_read(snapshots: Snapshots, job: Job, tally: Tally, collector: Collector, base: Base) -> Comparison:
    """Compare what was read with the base; a run that will write keeps it as a snapshot first, with its proof.

    A dry run keeps only the difference, to be looked at, and on the command line, which counts, not even that.
    """
    files, old = job.files, base.snapshot
    if job.run.dry_run and job.run.trigger == "cli":
        difference = collector.compare(snapshots.path(old) if old else None)
        return Comparison(files.snapshot, tally.members, old, difference, base.damage)
    collector.write(snapshots.path(files.snapshot))
    try:
        proof = make_proof(snapshots, files.snapshot)
        if proof.members != tally.members:
            raise StorageFailed("The members that were kept are not the members that were counted.")
        difference = snapshots.keep_difference(files.difference, files.snapshot, old)
        _require_proven(snapshots, old)
    finally:
        if job.run.dry_run:
            snapshots.remove(files.snapshot)
    return Comparison(files.snapshot, tally.members, old, difference, base.damage, proof.fingerprint)


def compare_kept(snapshots: Snapshots, job: Job, snapshot: str, proof: Proof, base: Base) -> Comparison:
    """Compare an earlier snapshot, which the group is rolled back to, with the base."""
    difference = snapshots.keep_difference(job.files.difference, snapshot, base.snapshot)
    _require_proven(snapshots, snapshot)
    _require_proven(snapshots, base.snapshot)
    return Comparison(snapshot, proof.members, base.snapshot, difference, base.damage, proof.fingerprint)


def _require_proven(snapshots: Snapshots, name: str | None) -> None:
    """Check that what was compared is still the file that had proved itself. Raises StorageFailed."""
    if name is not None and snapshots.proven.get(name) != snapshots.stamp(name):
        raise StorageFailed(
            "A file of members was changed by something else while it was compared. Nothing was written.",
            advice="Start the export again, and let nothing but Cohort Bridge write to its snapshots folder.",
        )
