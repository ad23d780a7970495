"""A person among very many members: files are written again without them in the least memory that may be set."""

from __future__ import annotations

from pathlib import Path

from data.members.forgetting import Search, add_up, write_without
from data.members.proof import make_proof
from data.members.snapshots import Snapshots
from tests.faults.conftest import Tally
from tests.faults.test_large_members import MEMBERS, keep


def test_a_person_is_removed_from_very_many_members_in_little_memory(tmp_path: Path, ran: Tally):
    snapshots = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=40)
    before = keep(snapshots, "run-00000001", shift=0)
    path, new = snapshots.path("run-00000001"), snapshots.path("run-00000001-f0a0b0c0d")
    ids = [next(iter(snapshots.iterate("run-00000001", chunk=1)))[0].distinct_id, "nobody"]
    assert Search(snapshots).count([path], ids) == {path: 1}

    rows = write_without(snapshots, path, new, ids)

    assert rows == before.members - 1 == MEMBERS - MEMBERS // 50 - 1
    assert make_proof(snapshots, new.stem, key="key").sums == before.minus(add_up(snapshots, path, ids, key="key"))
    assert Search(snapshots).count([new], ids) == {}
    kept = [member.apptimize_id for chunk in snapshots.iterate(new.stem) for member in chunk]
    assert kept == sorted(kept)
    ran("large sets of members")
