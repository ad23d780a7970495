"""What a run compares with: the snapshot that its group was given last, as far as it proves to be that."""

from __future__ import annotations

from dataclasses import dataclass

from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from core.export.job import Job
from core.rules.matching import MatchRule, id_kind
from data import proofs, run_stats
from data.members.proof import Damage, Proof, stands
from data.members.snapshots import Snapshots
from data.members.store import SET_ASIDE
from data.models import Group

_DAMAGES = {
    Damage.GONE: "is no longer there",
    Damage.UNREADABLE: "is damaged or cannot be read",
    Damage.OTHER_MEMBERS: "holds other members than it was made with",
}


@dataclass(frozen=True)
class Base:
    """The base of a group. `snapshot` None: there is none that can be believed, and `damage` says why, if ever was."""

    snapshot: str | None = None
    damage: str | None = None  # the end of a sentence on the kept members
    proof: Proof | None = None  # of the snapshot

    @property
    def notice(self) -> str | None:
        """What people are told of it."""
        if self.damage is None:
            return None
        return (
            f"The file of the members that the group was given last {self.damage}. The whole group is written, not "
            "only what changed."
        )


def find_base(bridge: Bridge, group: Group, *, key: str | None = None) -> Base:
    """Find the base of a group and have it prove itself; a file that fails is set aside. Raises StorageError.

    `key` is what it gets a fingerprint by, if it has none that can be compared.
    """
    name = group.base_snapshot
    if name is None:
        return Base()
    damage, proof = proofs.check(bridge.engine, bridge.snapshots, name, members=group.members, key=key)
    return Base(name, proof=proof) if damage is None else Base(damage=set_aside(bridge, name, damage))


def find_standing_proof(snapshots: Snapshots, job: Job) -> Proof | None:
    """Return the proof of the base of a run's group, where its file is there as it proved itself last."""
    name, proof = job.group.base_snapshot, job.base_proof
    return proof if name and proof and stands(snapshots, name, proof) else None


def expect_base(bridge: Bridge, job: Job) -> Base:
    """Find the base of a run's group without reading it, where its file is there as it proved itself last.

    Otherwise it proves itself, as by `find_base`. Raises StorageError.
    """
    if proof := find_standing_proof(bridge.snapshots, job):
        return Base(job.group.base_snapshot, proof=proof)
    return find_base(bridge, job.group, key=job.key)


def prove_restored(bridge: Bridge, name: str) -> Proof:
    """Have a snapshot prove itself that a group is rolled back to; one that fails is set aside. Raises NotFound."""
    members = run_stats.members_of_snapshot(bridge.engine, name)
    damage, proof = proofs.check(bridge.engine, bridge.snapshots, name, members=members)
    if damage is not None:
        raise NotFound(
            f"The file of the members of that run {set_aside(bridge, name, damage)}. Nothing was written.",
            advice="Roll back to another run, or export the cohort again.",
            code="members_damaged",
        )
    return proof


def require_ids_of(bridge: Bridge, rule: MatchRule, name: str) -> str:
    """Refuse a snapshot whose members are known by another id than the destination takes now.

    Returns the match setting that it was read with, empty where none is noted. Raises SettingsError.
    """
    rules = run_stats.rules_of_snapshot(bridge.engine, name)
    same = next((text for text in rules or [""] if id_kind(text) == id_kind(str(rule))), None)
    if same is None:
        raise SettingsError(
            "The members of that run are known by another id than the destination takes now. Nothing was written.",
            advice="Roll back to a run since it was connected with the new id, or export the cohort again.",
            code="members_by_other_id",
        )
    return same


def set_aside(bridge: Bridge, name: str, damage: Damage) -> str:
    """Set a damaged file aside for people to look at, and return what is told of it."""
    snapshots = bridge.snapshots
    if damage is Damage.GONE:
        if snapshots.was_set_aside(name):
            return f"{_DAMAGES[Damage.UNREADABLE]}; it is kept as {name}{SET_ASIDE} in the snapshots folder"
        return _DAMAGES[damage]
    if snapshots.set_aside(name, now_s=bridge.clock.host_now().timestamp()) is None:
        return _DAMAGES[damage]
    return f"{_DAMAGES[damage]}; it was set aside as {name}{SET_ASIDE} in the snapshots folder"
