"""Very many members within the least memory that may be set: sorted, compared, and added up, whatever changes."""

from __future__ import annotations

from pathlib import Path

from data.members.fingerprint import Sums
from data.members.overlap import count_shared
from data.members.snapshots import Snapshots
from tests.faults.conftest import Tally
from tests.stage.seeds import SEEDS

MEMBERS, STEP = (1_000_000, 10_000) if SEEDS else (3_000, 500)
# As many groups as are compared at a time, with ids as long as can be.
GROUPS, EACH, ID = (50, 20_000, 250) if SEEDS else (3, 200, 250)


def keep(snapshots: Snapshots, name: str, *, shift: int) -> Sums:
    """Keep members of whom one in fifty comes a second time, and half are others when shifted by half of them."""
    with snapshots.collector(key="key") as collector:
        for start in range(shift, MEMBERS + shift, STEP):
            numbers = range(start, start + STEP)
            distinct_ids = [f"{number * 7919 % 100_000_007:09}-0123-4567-89ab-cdef01234567" for number in numbers]
            apptimize_ids = [f"i_{number - 1 if number % 50 == 1 else number:09}{'~' * 20}" for number in numbers]
            collector.add(distinct_ids=distinct_ids, apptimize_ids=apptimize_ids)
        collector.write(snapshots.path(name))
        return collector.tally().sums


def test_members_of_whom_half_are_others_are_sorted_and_compared_in_little_memory(tmp_path: Path, ran: Tally):
    snapshots = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=40)
    before, after = keep(snapshots, "old", shift=0), keep(snapshots, "new", shift=MEMBERS // 2)

    difference = snapshots.keep_difference("difference", "new", "old", key="key")

    half = MEMBERS // 2 - MEMBERS // 100
    assert (difference.added, difference.removed, difference.unchanged, difference.renamed) == (half, half, half, 0)
    assert difference.sums
    assert before.plus(difference.sums) == after
    ran("large sets of members")


def test_as_many_groups_as_are_compared_at_a_time_are_counted_in_little_memory(tmp_path: Path, ran: Tally):
    """Each shares half of its members with the next one."""
    snapshots = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=40)
    names = [f"group-{number}" for number in range(GROUPS)]
    for number, name in enumerate(names):
        members = range(number * EACH // 2, number * EACH // 2 + EACH)
        with snapshots.collector() as collector:
            ids = [f"i_{member:0{ID}}" for member in members]
            collector.add(distinct_ids=[f"user-{member}" for member in members], apptimize_ids=ids)
            collector.write(snapshots.path(name))

    counts = count_shared(snapshots, names)

    shared = {0: EACH, 1: EACH // 2}
    assert counts == [[shared.get(abs(one - other), 0) for other in range(GROUPS)] for one in range(GROUPS)]
    ran("groups that share members")
