"""Whom a receiver that only adds is told to remove by name, after all members were sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.bridge import Bridge
from core.errors import RollbackUnsafe
from core.export.base import set_aside
from core.export.compare import Comparison, members_lost, require_proven, require_whole
from core.export.job import Job
from core.rules.leavers import Trace, find_gap
from data import proofs
from data.members.proof import make_proof
from data.members.snapshots import Snapshots
from data.tried import Tried

# A receiver that fails for days would have one more kept for each run: so many are joined into one.
_MOST_TRIED = 4


@dataclass(frozen=True)
class Leavers:
    """Who may be at a receiver and is not in the cohort: how many, and the difference that has them as removed.

    `gap` says why not everybody is known who may be there. `earlier` counts those whom the difference with the base
    lacks: they were to be added by deliveries that were not confirmed. `tries` is what the delivery is to be noted as
    beginning with, if that is more than its own snapshot.
    """

    file: str | None = None
    members: int = 0
    earlier: int = 0
    gap: str | None = None
    tries: Tried | None = None

    def notice(self, *, is_dry: bool) -> str | None:
        """What people are told of those that only earlier deliveries can have added."""
        if not self.earlier:
            return None
        verb = "would be removed" if is_dry else "are removed"
        people = "person" if self.earlier == 1 else "people"
        return (
            "Earlier deliveries were not confirmed to their end, and this receiver only adds: "
            f"{self.earlier:,} {people} whom they may have added, and who are not in the cohort, {verb} as well."
        )


def find_leavers(
    bridge: Bridge, job: Job, comparison: Comparison, *, write_snapshot: Callable[[Path], object] | None = None
) -> Leavers:
    """Find who may be there and is not in the cohort; a file that does not prove itself is set aside.

    A dry run keeps no snapshot: `write_snapshot` writes it for the while. Raises StorageError.
    """
    removed, known = comparison.difference.removed, list[str]()
    damages = dict[str, str]()
    for name in _list_known(job, comparison):
        damage, _ = proofs.check(bridge.engine, bridge.snapshots, name, members=_members_of(job, name))
        if damage is None:
            known.append(name)
        else:
            damages[name] = set_aside(bridge, name, damage)
    base_damage = _base_damage(job, comparison) or damages.pop(comparison.base or "", None)
    tried_damage = next(iter(damages.values()), None)
    gap = find_gap(Trace(job.untraced, base_damage, tried_damage))
    if not job.tried:
        return Leavers(comparison.changes if removed else None, removed, gap=gap)
    file, members = _keep(bridge, job, comparison, known, write_snapshot) if known else (None, 0)
    return Leavers(file, members, max(0, members - removed), gap, _join(bridge.snapshots, job, comparison, known))


def require_known(leavers: Leavers | None) -> None:
    """Check that a rollback makes the group what it is to be. Raises RollbackUnsafe."""
    if leavers and leavers.gap:
        raise RollbackUnsafe(
            f"{leavers.gap} The receiver only adds, so rolling back would leave anyone else it holds. Nothing was "
            "written."
        )


def _join(snapshots: Snapshots, job: Job, comparison: Comparison, known: list[str]) -> Tried | None:
    """Keep everybody who was tried as one file, with whom is tried now, where those files have become many."""
    tried = [name for name in known if name in job.tried]
    name = job.files.tried
    if job.run.dry_run or len(tried) < _MOST_TRIED or name in job.tried:
        return None
    members = snapshots.keep_union(name, list(dict.fromkeys((*tried, comparison.snapshot))))
    proof = make_proof(snapshots, name, key=job.key)
    if proof.members != members:
        raise members_lost()
    for each in (*tried, comparison.snapshot):
        require_proven(snapshots, each)
    return Tried(name, proof, tried)


def _list_known(job: Job, comparison: Comparison) -> list[str]:
    """List what holds everybody who may be there; nothing where the difference with the base says it all."""
    return list(dict.fromkeys(filter(None, (comparison.base, *job.tried)))) if job.tried else []


def _members_of(job: Job, name: str) -> int:
    """Return how many members a snapshot must have where no proof of it is kept: those of what was tried all are."""
    return job.group.members if name == job.group.base_snapshot else -1


def _base_damage(job: Job, comparison: Comparison) -> str | None:
    if job.group.base_snapshot is None or comparison.base is not None:
        return None
    return comparison.damage or "is no longer there"


def _keep(
    bridge: Bridge,
    job: Job,
    comparison: Comparison,
    known: list[str],
    write_snapshot: Callable[[Path], object] | None,
) -> tuple[str | None, int]:
    """Keep who is in any of what is known, and not in the snapshot."""
    snapshots, snapshot, file = bridge.snapshots, comparison.snapshot, job.files.leavers
    if job.run.dry_run:
        return None, _count(snapshots, snapshot, file, known, write_snapshot)
    require_whole(snapshots, comparison)
    members = snapshots.keep_others(file, known, snapshot)
    for name in (*known, snapshot):
        require_proven(snapshots, name)
    return file, members


def _count(
    snapshots: Snapshots,
    snapshot: str,
    file: str,
    known: list[str],
    write_snapshot: Callable[[Path], object] | None,
) -> int:
    """Count them for a dry run, which keeps neither its snapshot nor who they are."""
    is_lent = write_snapshot is not None and not snapshots.exists(snapshot)
    try:
        if write_snapshot is not None and is_lent:
            snapshots.make(snapshot, write_snapshot, is_kept=False)
        return snapshots.keep_others(file, known, snapshot)
    finally:
        snapshots.discard(file)
        if is_lent:
            snapshots.discard(snapshot)
