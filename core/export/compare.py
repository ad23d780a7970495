"""The members that a group should have, beside those it was given last."""

from __future__ import annotations

from dataclasses import dataclass

from core.export.job import Job
from data.members.changes import Difference
from data.members.collector import Collector, Tally
from data.members.snapshots import Snapshots


@dataclass(frozen=True)
class Comparison:
    """The members that a group should have, kept as a snapshot, and how they differ from its base."""

    snapshot: str
    members: int
    base: str | None  # None: the group has none, or its snapshot is gone or damaged
    difference: Difference

    @property
    def has_changes(self) -> bool:
        """Whether members are added or removed."""
        return bool(self.difference.added or self.difference.removed)


def compare_read(snapshots: Snapshots, job: Job, tally: Tally, collector: Collector) -> Comparison:
    """Compare what was read with the base; a run that will write keeps it as a snapshot first.

    A dry run keeps only the difference, to be looked at, and on the command line, which counts, not even that.
    """
    files, base = job.files, _whole_base(snapshots, job)
    if job.run.dry_run and job.run.trigger == "cli":
        difference = collector.compare(snapshots.path(base) if base else None)
        return Comparison(files.snapshot, tally.members, base, difference)
    collector.write(snapshots.path(files.snapshot))
    try:
        difference = snapshots.keep_difference(files.difference, files.snapshot, base)
    finally:
        if job.run.dry_run:
            snapshots.remove(files.snapshot)
    return Comparison(files.snapshot, tally.members, base, difference)


def compare_kept(snapshots: Snapshots, job: Job, snapshot: str) -> Comparison:
    """Compare an earlier snapshot, which the group is rolled back to, with the base."""
    members, base = snapshots.count(snapshot), _whole_base(snapshots, job)
    return Comparison(snapshot, members, base, snapshots.keep_difference(job.files.difference, snapshot, base))


def _whole_base(snapshots: Snapshots, job: Job) -> str | None:
    base = job.group.base_snapshot
    return base if snapshots.is_whole(base) else None
