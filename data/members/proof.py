"""What a snapshot proves itself by: how many members it has, and a fingerprint of them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from data.members.duck import MembersDamaged, MembersGone, MemoryTooSmall
from data.members.fingerprint import SUMS, Sums, hash_of, new_key, read_sums
from data.members.snapshots import Snapshots
from data.members.store import Stamp

# How version 1 was worked out, of the lower halves alone and without a key: what it proves is still believed.
_VERSION_1 = (
    "coalesce(sum((md5_number(length(apptimize_id) || ':' || apptimize_id || distinct_id) "
    "& 18446744073709551615)::UBIGINT), 0)"
)


class Proof(NamedTuple):
    """What the members of a snapshot add up to, and the file that proved to hold them.

    `fingerprint` None: it was made before there were any. `size` and `written_ns` are those of the file as it proved
    itself last; None: it has not since there are any.
    """

    members: int
    fingerprint: str | None = None
    key: str | None = None
    size: int | None = None
    written_ns: int | None = None

    @property
    def sums(self) -> Sums | None:
        """What the fingerprint was made of; None where it is of another version than is worked out here."""
        return read_sums(self.members, self.fingerprint) if self.key else None

    def is_of(self, stamp: Stamp | None) -> bool:
        """Return whether a file is, as far as its size and time tell, the one that proved itself."""
        return stamp is not None and (self.size, self.written_ns) == stamp[1:]

    def of(self, stamp: Stamp | None) -> Proof:
        """Return the proof with a file that proved itself by it."""
        _, size, written_ns = stamp or (None, None, None)
        return self._replace(size=size, written_ns=written_ns)


class Damage(StrEnum):
    """Why a snapshot cannot be used: it counts as gone then."""

    GONE = "gone"
    UNREADABLE = "unreadable"
    OTHER_MEMBERS = "other_members"  # it can be read, and is not what was kept under its name


def make_proof(snapshots: Snapshots, name: str, *, key: str) -> Proof:
    """Read a snapshot whole, and work out its proof. Raises StorageError."""
    return _work_out(snapshots, name, key, "0")[0]


def _work_out(snapshots: Snapshots, name: str, key: str, also: str) -> tuple[Proof, int]:
    """Work out the proof of a snapshot, and what another expression makes of it in the same pass."""
    stamp = snapshots.stamp(name)
    with snapshots.open() as db:
        row = db.execute(
            f"SELECT count(*), {also}, {SUMS} FROM (SELECT *, {hash_of(key)} AS hash FROM {snapshots.table(name)})"
        ).fetchone()
    members, other, *added_up = row or (0, 0, 0, 0, 0)
    sums = Sums(*added_up)
    # An id that is missing is in no snapshot.
    return Proof(members if sums.members == members else -1, sums.fingerprint, key).of(stamp), other


def stands(snapshots: Snapshots, name: str, proof: Proof) -> bool:
    """Return whether a snapshot's file is there as it proved itself last, by its size and time: it is not read."""
    return proof.sums is not None and snapshots.exists(name) and proof.is_of(snapshots.stamp(name))


def check_proof(snapshots: Snapshots, name: str, proof: Proof) -> tuple[Damage | None, Proof]:
    """Check a snapshot against its proof; returns what is wrong with it, and the proof that it has now.

    Without a fingerprint that can be compared the number of members decides. Raises StorageError for what is no fault
    of the file.
    """
    damage, now = _check(snapshots, name, proof)
    if damage not in (None, Damage.GONE) and snapshots.renew(name):
        damage, now = _check(snapshots, name, proof)
    if damage not in (None, Damage.GONE):
        snapshots.note_damage(name)
    return damage, now


def _check(snapshots: Snapshots, name: str, proof: Proof) -> tuple[Damage | None, Proof]:
    if snapshots.stamp(name) is None:
        return Damage.GONE, proof
    is_first = (proof.fingerprint or "").startswith("1:")
    try:
        content = snapshots.digest(name)
        stamp = snapshots.stamp(name)  # after that: a copy may have been fetched again
        now, first = _work_out(snapshots, name, proof.key or new_key(), _VERSION_1 if is_first else "0")
    except MembersGone:
        return Damage.GONE if snapshots.stamp(name) is None else Damage.UNREADABLE, proof
    except (MembersDamaged, MemoryTooSmall):  # to read a whole snapshot in order takes next to no memory
        return Damage.UNREADABLE, proof
    is_other = f"1:{first:x}" != proof.fingerprint if is_first else proof.sums is not None and now.sums != proof.sums
    if now.members != proof.members or is_other:
        return Damage.OTHER_MEMBERS, proof
    snapshots.note_proven(name, stamp, content)
    return None, now
