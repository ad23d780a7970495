"""What a snapshot proves itself by: how many members it has, and a fingerprint of them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from data.members.duck import MembersDamaged, MembersGone, MemoryTooSmall
from data.members.snapshots import Snapshots

# How the fingerprint is worked out. One of another version says nothing: it is worked out again.
_VERSION = "1"
# The sum of the lower halves of the MD5 of each member: the same in any order, and in any version of DuckDB. The
# length tells where one id ends and the other begins.
_FINGERPRINT = (
    "count(*), coalesce(sum((md5_number(length(apptimize_id) || ':' || apptimize_id || distinct_id) "
    "& 18446744073709551615)::UBIGINT), 0), count(apptimize_id), count(distinct_id)"
)


class Proof(NamedTuple):
    """The members of a snapshot in two numbers. `fingerprint` None: it was made before there were any."""

    members: int
    fingerprint: str | None = None

    @property
    def has_fingerprint(self) -> bool:
        """Whether there is a fingerprint, of the version that is worked out here."""
        return self.fingerprint is not None and self.fingerprint.partition(":")[0] == _VERSION


class Damage(StrEnum):
    """Why a snapshot cannot be used: it counts as gone then."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    OTHER_MEMBERS = "other_members"  # it can be read, and is not what was kept under its name


def make_proof(snapshots: Snapshots, name: str) -> Proof:
    """Read a snapshot whole, and work out its proof. Raises StorageError."""
    with snapshots.open() as db:
        row = db.execute(f"SELECT {_FINGERPRINT} FROM {snapshots.table(name)}").fetchone()
    members, total, *present = row or (0, 0, 0, 0)
    if any(number != members for number in present):
        members = -1  # an id that is missing is in no snapshot
    return Proof(members, f"{_VERSION}:{total:x}")


def check_proof(snapshots: Snapshots, name: str, proof: Proof) -> tuple[Damage | None, Proof]:
    """Check a snapshot against its proof; returns what is wrong with it, and the proof that it has now.

    Without a fingerprint that can be compared the number of members decides. Raises StorageError for what is no fault
    of the file.
    """
    stamp = snapshots.stamp(name)
    if stamp is None:
        return Damage.GONE, proof
    try:
        now = make_proof(snapshots, name)
    except MembersGone:
        return Damage.GONE if snapshots.stamp(name) is None else Damage.UNREADABLE, proof
    except (MembersDamaged, MemoryTooSmall):  # to read a whole snapshot in order takes next to no memory
        snapshots.note_damage(name)
        return Damage.UNREADABLE, proof
    if now.members != proof.members or (proof.has_fingerprint and now.fingerprint != proof.fingerprint):
        snapshots.note_damage(name)
        return Damage.OTHER_MEMBERS, proof
    snapshots.proven[name] = stamp
    return None, now
