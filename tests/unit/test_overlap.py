"""What groups share: as sets say it, whatever the ids; and nothing of groups of which it is not known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli.as_json import overlap_as_json
from core.errors import CohortBridgeError, NotFound, SettingsError, StorageFailed
from core.forgetting.person import forget_person
from core.reports import overlap
from core.reports.overlap import MOST_GROUPS, NotCompared
from data import proofs
from data.engine import write_session
from data.members import overlap as counting
from data.members.copies import CopiedPlace
from data.members.fingerprint import Sums
from data.members.overlap import count_shared
from data.members.snapshots import Snapshots
from data.models import Connection, ConnectionKind, Group, Member
from data.proof_models import SnapshotProof
from data.storage.folder import FolderStorage

ids = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    home = tmp_path_factory.mktemp("snapshots")
    return Snapshots(home / "kept", scratch=home / "scratch", memory_mb=60)


def write(snapshots: Snapshots, name: str, members: Sequence[str]) -> None:
    with snapshots.collector() as collector:
        collector.add(distinct_ids=[f"user of {id} in {name}" for id in members], apptimize_ids=list(members))
        snapshots.make(name, lambda path: collector.write(path))


@given(st.lists(st.sets(ids, max_size=8), min_size=1, max_size=5))
def test_what_sets_share_is_counted_whatever_the_ids(snapshots: Snapshots, sets: list[set[str]]):
    names = [f"set-{number}" for number in range(len(sets))]
    for name, members in zip(names, sets, strict=True):
        write(snapshots, name, sorted(members))

    assert count_shared(snapshots, names) == [[len(one & other) for other in sets] for one in sets]
    assert snapshots.keep_shared("both", names[0], names[-1]) == len(sets[0] & sets[-1])
    shared = [member for chunk in snapshots.iterate("both") for member in chunk]
    assert shared == [Member(id, f"user of {id} in {names[0]}") for id in sorted(sets[0] & sets[-1], key=str.encode)]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_sets_that_are_counted_range_by_range_come_to_the_same(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
):
    sets = [{f"i_{number:05}" for number in range(0, 45_000, step)} for step in (1, 2, 3)]
    for number, members in enumerate(sets):
        write(snapshots, f"large-{number}", sorted(members))
    monkeypatch.setattr(counting, "_AT_ONCE", 100_000)  # less than a row group: as many ranges as there can be

    counts = count_shared(snapshots, [f"large-{number}" for number in range(3)], one_by_one=one_by_one)

    assert counts == [[len(one & other) for other in sets] for one in sets]


def test_files_that_lie_elsewhere_are_counted_by_their_copies(tmp_path: Path):
    home = Snapshots(tmp_path / "home", scratch=tmp_path / "scratch", memory_mb=60)
    home.place = CopiedPlace(FolderStorage(tmp_path / "storage"), tmp_path / "cache", most_bytes=2**20)
    for name, members in (("run-00000001", ["i_1", "i_2"]), ("run-00000002", ["i_2", "i_3"])):
        write(home, name, members)
    for copy in (tmp_path / "cache").glob("*.parquet"):
        copy.unlink()

    assert count_shared(home, ["run-00000001", "run-00000002"]) == [[2, 1], [1, 2]]
    assert home.keep_shared("compare-run-00000001-run-00000002", "run-00000001", "run-00000002") == 1
    assert not list((tmp_path / "storage").glob("compare-*")), "what pages compare is theirs alone"


def test_as_many_as_are_compared_have_a_bit_each(snapshots: Snapshots):
    names = [f"many-{number}" for number in range(MOST_GROUPS)]
    for number, name in enumerate(names):
        write(snapshots, name, ["all", f"own {number}", *(["last"] if number == MOST_GROUPS - 1 else [])])

    counts = count_shared(snapshots, names)

    assert {counts[one][other] for one in range(MOST_GROUPS) for other in range(MOST_GROUPS) if one != other} == {1}
    assert [counts[number][number] for number in range(MOST_GROUPS)] == [2] * (MOST_GROUPS - 1) + [3]


# --- groups --------------------------------------------------------------------------------------------------------


@pytest.fixture
def destination(bridge: Bridge) -> int:
    with write_session(bridge.engine) as session:
        folder = Connection(
            created_at=bridge.clock.now(), side="destination", kind=ConnectionKind.CSV, name="csv", folder="unused"
        )
        session.add(folder)
    return folder.id or 0


def deliver(bridge: Bridge, destination: int, cohort_id: int, members: Sequence[str], **values: object) -> Group:
    """Keep a group as it is after a delivery."""
    name, now = f"run-{cohort_id:08}-{len(members)}", bridge.clock.now()
    write(bridge.snapshots, name, members)
    facts = {"base_snapshot": name, "members": len(members), "delivered_at": now, "created_at": now, **values}
    group = Group(destination_id=destination, project_id=1, cohort_id=cohort_id, cohort_name=f"Cohort {cohort_id}",
                  name=f"Cohort {cohort_id}", **facts)  # type: ignore[arg-type]  # fmt: skip
    with write_session(bridge.engine) as session:
        session.add(group)
    return group


def compared(bridge: Bridge, *groups: Group) -> overlap.Overlap:
    return overlap.compare_groups(bridge, LOCAL, [group.id or 0 for group in groups])


def pair_of(one: Group, other: Group) -> tuple[int, int]:
    return one.id or 0, other.id or 0


def test_what_two_groups_share_is_told_both_ways_and_listed(bridge: Bridge, destination: int):
    small = deliver(bridge, destination, 1, ["i_1", "i_2"])
    large = deliver(bridge, destination, 2, ["i_0", "i_2", "i_3", "i_4"])
    apart = deliver(bridge, destination, 3, ["=7"])
    found = compared(bridge, large, small, apart)

    shared = found.between(large, small)

    assert shared
    assert (shared.members, shared.share_of(small), shared.share_of(large)) == (1, 0.5, 0.25)
    assert [(pair.first.id, pair.second.id) for pair in found.sharing] == [(small.id, large.id)]
    for pair in (pair_of(small, large), pair_of(large, small)):  # as the first has them, whichever is named first
        page = overlap.find_shared(bridge, LOCAL, *pair)
        assert (page.rows, page.total) == ([Member("i_2", "user of i_2 in run-00000001-2")], 1)
        assert not overlap.find_shared(bridge, LOCAL, *pair, search="i_0").total
    lines = list(overlap.shared_csv(bridge, LOCAL, *pair_of(small, large)))
    assert lines == ["\ufeffapptimize_id,distinct_id\r\n", "i_2,user of i_2 in run-00000001-2\r\n"]
    assert not overlap.find_shared(bridge, LOCAL, *pair_of(small, apart)).total


def test_groups_of_which_it_is_not_known_are_named_and_not_counted(bridge: Bridge, destination: int):
    known = [deliver(bridge, destination, number, ["i_1", f"i_{number}"]) for number in (2, 3)]
    doubted = deliver(bridge, destination, 4, ["i_1"], in_doubt=True)
    gone, torn, other = (deliver(bridge, destination, number, ["i_1", "i_2"]) for number in (5, 6, 7))
    bridge.snapshots.remove(gone.base_snapshot or "")
    bridge.snapshots.path(torn.base_snapshot or "").write_bytes(b"PAR1 and no more")
    # Another one's members under its name, as many and readable: only the proof tells.
    compared(bridge, other)
    write(bridge.snapshots, "else", ["i_8", "i_9"])
    bridge.snapshots.path("else").replace(bridge.snapshots.path(other.base_snapshot or ""))

    found = compared(bridge, *known, doubted, gone, torn, other)

    assert found.groups == known
    assert {group.id: why for group, why in found.not_compared} == {
        doubted.id: NotCompared.IN_DOUBT,
        **{group.id: NotCompared.LOST for group in (gone, torn, other)},
    }
    shared = found.between(*known)
    assert shared
    assert shared.members == 1
    assert {one for pair in found.pairs for one in pair} == {group.id for group in known}
    for group in (doubted, gone, torn, other):
        with pytest.raises(StorageFailed):
            overlap.find_shared(bridge, LOCAL, *pair_of(known[0], group))


def test_groups_that_know_people_by_other_ids_are_not_compared_with_each_other(bridge: Bridge, destination: int):
    by_crm = "property:crm id"
    ours = [deliver(bridge, destination, number, ["1", "2"]) for number in (1, 2)]
    theirs = [deliver(bridge, destination, number, ["1", "2"], base_match=by_crm) for number in (3, 4)]

    found = compared(bridge, *ours, *theirs)

    assert [len(same) for same in found.kinds.values()] == [2, 2]
    assert found.between(ours[0], theirs[0]) is None
    assert [pair.members for pair in found.sharing] == [2, 2]
    with pytest.raises(SettingsError, match="different ids"):
        overlap.find_shared(bridge, LOCAL, *pair_of(ours[0], theirs[1]))
    assert "member_id,distinct_id" in next(overlap.shared_csv(bridge, LOCAL, *pair_of(*theirs)))


def test_what_was_compared_once_is_not_read_again_until_a_group_changes(bridge: Bridge, destination: int):
    groups = [deliver(bridge, destination, number, ["i_1", f"i_{number}"]) for number in (2, 3, 4)]
    before = compared(bridge, *groups)
    for group in groups:  # nothing can be read of them from now on, and they look as they did
        path = bridge.snapshots.path(group.base_snapshot or "")
        status = path.stat()
        path.write_bytes(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    again = compared(bridge, *groups[1:])

    assert again.pairs == {pair: shared for pair, shared in before.pairs.items() if groups[0].id not in pair}
    write(bridge.snapshots, "run-00000099", ["i_1", "i_4"])
    with write_session(bridge.engine) as session:
        session.get_one(Group, groups[1].id).base_snapshot = "run-00000099"
    assert [group.id for group, _ in compared(bridge, *groups[1:]).not_compared] == [groups[2].id]


def test_a_file_that_proved_itself_to_another_process_is_not_read_for_that_until_it_changes(
    bridge: Bridge, destination: int
):
    group = deliver(bridge, destination, 1, ["i_1", "i_2"])
    name = group.base_snapshot or ""
    compared(bridge, group)

    def proves_itself() -> bool:
        known = bridge.snapshots
        later = Snapshots(known.folder, scratch=known.scratch, memory_mb=known.memory_mb)
        return name in proofs.find_proven(bridge.engine, later, {name: 2})

    with write_session(bridge.engine) as session:
        session.get_one(SnapshotProof, name).fingerprint = Sums(2, 1, 1).fingerprint  # to read it would tell
    assert proves_itself()
    os.utime(bridge.snapshots.path(name))
    assert not proves_itself()


def test_who_is_shared_is_worked_out_again_once_a_group_changed(bridge: Bridge, destination: int):
    one, other = (deliver(bridge, destination, number, ["i_1", "i_2"]) for number in (1, 2))
    assert overlap.find_shared(bridge, LOCAL, *pair_of(one, other)).total == 2

    write(bridge.snapshots, "run-00000099", ["i_2", "i_3"])
    with write_session(bridge.engine) as session:
        session.get_one(Group, other.id).base_snapshot = "run-00000099"

    assert [row.apptimize_id for row in overlap.find_shared(bridge, LOCAL, *pair_of(one, other)).rows] == ["i_2"]


def test_nobody_who_was_forgotten_is_left_in_a_list_of_who_is_shared(bridge: Bridge, destination: int):
    pair = pair_of(*(deliver(bridge, destination, number, ["i_someone-in-both", f"i_{number}"]) for number in (1, 2)))
    assert overlap.find_shared(bridge, LOCAL, *pair).total == 1
    assert list(bridge.snapshots.folder.glob("compare-*"))

    forget_person(bridge, LOCAL, "i_someone-in-both", patience_s=0.0)

    assert not list(bridge.snapshots.folder.glob("compare-*"))
    with pytest.raises(StorageFailed, match="in doubt"):  # the destination may hold them still
        overlap.find_shared(bridge, LOCAL, *pair)


def test_scripts_are_told_each_pair_and_why_a_group_has_none(bridge: Bridge, destination: int):
    one, other = (deliver(bridge, destination, number, ["i_1", f"i_{number}"]) for number in (2, 3))
    doubted = deliver(bridge, destination, 4, ["i_1"], in_doubt=True)

    document = overlap_as_json(compared(bridge, one, other, doubted))

    ids = {"first": one.id, "second": other.id}
    assert document["pairs"] == [ids | {"shared": 1, "of_first": 0.5, "of_second": 0.5}]
    assert [group["cohort_id"] for group in document["groups"]] == [2, 3]
    assert [(group["id"], group["reason"]) for group in document["not_compared"]] == [(doubted.id, "in_doubt")]


def test_what_cannot_be_asked_is_refused_in_a_sentence(bridge: Bridge, destination: int):
    group = deliver(bridge, destination, 1, ["i_1"])

    with pytest.raises(SettingsError, match="at most 50"):
        overlap.compare_groups(bridge, LOCAL, range(1, MOST_GROUPS + 2))
    with pytest.raises(NotFound, match="no delivered group 77"):
        overlap.compare_groups(bridge, LOCAL, [group.id or 0, 77])
    for pair in ((group.id or 0, 77), (group.id or 0, group.id or 0)):
        with pytest.raises(CohortBridgeError, match="not two delivered groups"):
            overlap.find_shared(bridge, LOCAL, *pair)


def test_more_groups_ask_the_database_no_more_questions_once_they_proved_themselves(bridge: Bridge, destination: int):
    groups = [deliver(bridge, destination, number, ["i_1"]) for number in range(1, 9)]
    compared(bridge, *groups)

    asked = list[str]()
    event.listen(bridge.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))

    compared(bridge, *groups[:2])
    few = len(asked)
    compared(bridge, *groups)

    assert len(asked) == 2 * few > 0
