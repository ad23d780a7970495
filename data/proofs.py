"""The proofs of snapshots: kept with them, and checked when a snapshot is about to be believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlmodel import Session, col, delete, select

from data.engine import Engine, read_session, write_session
from data.locks import RELYING
from data.members.proof import Damage, Proof, check_proof, stands
from data.members.snapshots import Snapshots
from data.models import Group, Run
from data.proof_models import SnapshotProof, TriedDelivery
from data.tables import table_of
from data.upserts import put

_PROOF = table_of(SnapshotProof)
# So many names are asked for by themselves.
_FEW = 500
# Where a row names a file of members: of a run by these columns.
RUN_FILES = ("snapshot", "restore_snapshot", "difference", "excluded")
FILE_COLUMNS: tuple[Any, ...] = (
    *(getattr(Run, name) for name in RUN_FILES),
    Group.base_snapshot,
    TriedDelivery.snapshot,
)


def keep(session: Session, name: str, proof: Proof) -> None:
    """Keep the proof of a snapshot that a row names from now on; an older one of that name is not true any more."""
    put(session, _PROOF, {"name": name, **proof._asdict()})


def get(session: Session, name: str | None) -> Proof | None:
    """Return the proof that is kept of a snapshot."""
    kept = session.get(SnapshotProof, name) if name else None
    return _proof_of(kept) if kept else None


def _proof_of(row: SnapshotProof) -> Proof:
    return Proof(row.members, row.fingerprint, row.key, row.size, row.written_ns)


def check(
    engine: Engine, snapshots: Snapshots, name: str, *, members: int, key: str | None = None
) -> tuple[Damage | None, Proof]:
    """Check a snapshot against its proof; returns what is wrong with it, None where nothing is, and its proof.

    One without a fingerprint that can be compared is given one, by the key that it has, or else by `key`, if the number
    of members is right: that of its proof, or `members` where it has none yet. Raises StorageError.
    """
    with read_session(engine) as session:
        proof = get(session, name) or Proof(members)
    proof = proof if proof.key else proof._replace(key=key)
    damage, now = check_proof(snapshots, name, proof)
    if damage is None and now != proof:
        with write_session(engine, RELYING) as session:
            row = session.get(SnapshotProof, name)
            if row is None or (row.members, row.fingerprint) == (proof.members, proof.fingerprint):
                keep(session, name, now)
    return damage, now


def is_proven(engine: Engine, snapshots: Snapshots, name: str | None, *, members: int) -> bool:
    """Return whether a snapshot is what it says; one that proved it in this process, and is as it was, need not again.

    For what people look at. What a group is written by is checked each time. Raises StorageError.
    """
    if name is None or not snapshots.exists(name):
        return False
    if snapshots.proven.holds(name, snapshots.stamp(name)):
        return True
    damage, _ = check(engine, snapshots, name, members=members)
    return damage is None


def find_proven(engine: Engine, snapshots: Snapshots, expected: Mapping[str, int]) -> set[str]:
    """Return which of some snapshots, each with its members, are what they say. Raises StorageError.

    For numbers that people look at, and for nothing that leaves here: a file with the size and time of the one that
    proved itself last, to whichever process, need not again, as a run needs no other to find a group unchanged.
    """
    asked = [name for name in expected if not snapshots.proven.holds(name, snapshots.stamp(name))]
    recorded = set[str]()
    if asked:
        with read_session(engine) as session:
            rows = session.exec(select(SnapshotProof).where(col(SnapshotProof.name).in_(asked))).all()
        recorded = {row.name for row in rows if stands(snapshots, row.name, _proof_of(row))}
    return {
        name
        for name, members in expected.items()
        if name in recorded or is_proven(engine, snapshots, name, members=members)
    }


def members_of(engine: Engine, name: str) -> int | None:
    """Return how many rows a file must have by its own proof, None where it has none: its run's counts say so then."""
    with read_session(engine) as session:
        proof = get(session, name)
    return proof.members if proof else None


def find_miscounted(engine: Engine, snapshots: Snapshots, names: Iterable[str]) -> set[str]:
    """Return those of many snapshots that cannot be what they say by their number of members, which is quick to ask."""
    names = [name for name in dict.fromkeys(names) if snapshots.exists(name)]
    query = select(SnapshotProof.name, SnapshotProof.members)
    if len(names) <= _FEW:  # of more, all that there are take no longer
        query = query.where(col(SnapshotProof.name).in_(names))
    with read_session(engine) as session:
        rows = session.exec(query).all()
    expected, counts = dict(rows), snapshots.count_each(names)
    return {name for name in names if name not in counts or counts[name] != expected.get(name, counts[name])}


def forget(session: Session, names: Iterable[str]) -> None:
    """Forget the proofs of snapshots that no row names any more."""
    session.exec(delete(SnapshotProof).where(col(SnapshotProof.name).in_(list(names))))


def forget_unnamed(session: Session) -> None:
    """Forget the proofs of all files that no row names."""
    named = (select(column).where(col(column).is_not(None)) for column in FILE_COLUMNS)
    session.exec(delete(SnapshotProof).where(*(col(SnapshotProof.name).not_in(names) for names in named)))
