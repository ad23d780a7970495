"""Members as of a run: what was collected is what is written, compared, paged and found."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.engine import StorageError
from data.members import changes
from data.members.bounded_cache import BoundedCache
from data.members.collector import Tally
from data.members.lookup import list_members_with, list_membership_changes
from data.members.search import PageRequest, find_members, find_others
from data.members.snapshots import Snapshots
from data.models import Member

ids = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    home = tmp_path_factory.mktemp("snapshots")
    return Snapshots(home / "kept", scratch=home / "scratch", memory_mb=60)


def write(snapshots: Snapshots, name: str, pairs: list[tuple[str, str]]) -> Tally:
    """Write a snapshot of (distinct id, Apptimize id)."""
    with snapshots.collector(prefixes=("i_", "a_")) as collector:
        collector.add(distinct_ids=[distinct_id for distinct_id, _ in pairs], apptimize_ids=[id for _, id in pairs])
        collector.write(snapshots.path(name))
        return collector.tally()


def all_members(snapshots: Snapshots, name: str, *, chunk: int = 1000) -> list[Member]:
    return [member for rows in snapshots.iterate(name, chunk=chunk) for member in rows]


@given(st.lists(st.tuples(ids, ids), max_size=30))
def test_a_snapshot_holds_each_apptimize_id_once_with_its_smallest_distinct_id_in_byte_order(
    snapshots: Snapshots, pairs: list[tuple[str, str]]
):
    tally = write(snapshots, "any", pairs)

    expected: dict[str, str] = {}
    for distinct_id, apptimize_id in pairs:
        smallest = min(expected.get(apptimize_id, distinct_id), distinct_id, key=lambda text: text.encode())
        expected[apptimize_id] = smallest
    assert all_members(snapshots, "any") == sorted(expected.items(), key=lambda pair: pair[0].encode())
    assert tally.members == len(expected)
    assert tally.duplicates == len(pairs) - len(expected)
    assert tally.profiles == len({distinct_id for distinct_id, _ in pairs})
    assert tally.unprefixed == sum(not apptimize_id.startswith(("i_", "a_")) for apptimize_id in expected)


@given(st.dictionaries(ids, ids, max_size=15), st.dictionaries(ids, ids, max_size=15))
def test_a_difference_counts_who_joined_who_left_and_who_is_unchanged(
    snapshots: Snapshots, old: dict[str, str], new: dict[str, str]
):
    write(snapshots, "old", [(distinct_id, apptimize_id) for apptimize_id, distinct_id in old.items()])
    write(snapshots, "new", [(distinct_id, apptimize_id) for apptimize_id, distinct_id in new.items()])

    difference = snapshots.compare("new", "old")

    assert difference.added == len(new.keys() - old.keys())
    assert difference.removed == len(old.keys() - new.keys())
    assert difference.unchanged == len(new.keys() & old.keys())
    assert difference.renamed == sum(new[apptimize_id] != old[apptimize_id] for apptimize_id in new.keys() & old.keys())


def test_large_sets_are_compared_range_by_range_with_the_same_result(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
):
    """Every second member leaves, one in three is renamed, others come before, between and after them."""
    odd = ["\x1f", "'", "\0", "é", "\U0001f98a"]
    old = {f"i_{number:05}{odd[number % 5]}": f"user-{number}" for number in range(0, 60_000, 2)}
    new = {id: name + "~" * (number % 3 == 0) for number, (id, name) in enumerate(old.items()) if number % 2}
    new |= {f"{start}{number:05}": "new" for start in ("a", "i_", "z") for number in range(1, 4_000, 2)}
    write(snapshots, "large-old", [(name, id) for id, name in old.items()])
    write(snapshots, "large-new", [(name, id) for id, name in new.items()])
    whole = snapshots.compare("large-new", "large-old")
    monkeypatch.setattr(changes, "_AT_ONCE", 100_000)  # less than a row group: as many ranges as there can be

    in_ranges = snapshots.keep_difference("large", "large-new", "large-old")

    assert in_ranges == whole
    assert whole.renamed == sum(old[id] != new[id] for id in old.keys() & new.keys())
    for kind, expected in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys())):
        rows = [member for chunk in snapshots.iterate_changes("large", kind) for member in chunk]
        assert [id for id, _ in rows] == sorted(expected, key=str.encode)


def test_a_dry_run_finds_the_same_difference_as_the_snapshots_do(snapshots: Snapshots):
    write(snapshots, "before", [("u1", "i_1"), ("u2", "i_2")])

    with snapshots.collector() as collector:
        collector.add(distinct_ids=["u2", "u3", "u4"], apptimize_ids=["i_2", "i_3", "i_3"])
        dry = collector.compare(snapshots.path("before"))
        collector.write(snapshots.path("after"))

    assert dry == snapshots.compare("after", "before")
    assert (dry.added, dry.removed, dry.unchanged) == (1, 1, 1)


def test_without_a_base_everything_is_added(snapshots: Snapshots):
    write(snapshots, "first", [("u1", "i_1"), ("u2", "i_2")])

    assert snapshots.compare("first", None).added == 2


def test_reasons_are_counted_and_the_profiles_behind_them_too(snapshots: Snapshots):
    with snapshots.collector() as collector:
        collector.add(
            distinct_ids=["u1"],
            apptimize_ids=["i_1"],
            unusable_ids=["u2", "u3", "u4"],
            reasons=["unmatched", "blank", "unmatched"],
        )
        tally = collector.tally()

    assert tally.reasons == {"unmatched": 2, "blank": 1}
    assert tally.profiles == tally.seen == 4


def test_a_profile_that_is_read_twice_shows_in_the_tally_wherever_it_was(snapshots: Snapshots):
    with snapshots.collector() as collector:
        collector.add(distinct_ids=["u1", "u2"], apptimize_ids=["i_1", "i_2"], unusable_ids=["u3"], reasons=["blank"])
        collector.add(distinct_ids=["u2"], apptimize_ids=["i_2"], unusable_ids=["u1"], reasons=["unmatched"])
        tally = collector.tally()

    assert tally.seen == 5
    assert tally.profiles == 3


def test_ids_with_separators_quotes_and_nothing_but_spaces_survive(snapshots: Snapshots):
    odd = ["\x1f", "a\x1fb", "'", '"', "\\", "\x00", " ", "a\tb\nc", "NULL", "🦊"]

    write(snapshots, "odd", [(distinct_id, f"i_{number}") for number, distinct_id in enumerate(odd)])

    assert [distinct_id for _, distinct_id in all_members(snapshots, "odd")] == odd


def test_members_are_paged_in_order_and_found_by_either_id_whatever_the_case(snapshots: Snapshots):
    write(snapshots, "paged", [(f"User-{number:03}", f"i_{number:03}") for number in range(120)])

    page = find_members(snapshots, "paged", PageRequest(offset=50, limit=2))
    assert ([apptimize_id for apptimize_id, _ in page.rows], page.total) == (["i_050", "i_051"], 120)
    assert find_members(snapshots, "paged", PageRequest(text="uSER-07", limit=3)).rows[0] == ("i_070", "User-070")
    assert find_members(snapshots, "paged", PageRequest(text="i_11")).total == 10
    assert find_members(snapshots, "paged", PageRequest(text="07")).total == 12  # 007, 070 to 079, 107
    assert find_members(snapshots, "paged", PageRequest(text="%")).total == 0


def test_a_search_counts_to_a_limit_and_says_so(snapshots: Snapshots):
    write(snapshots, "many", [(f"user-{number:03}", f"i_{number:03}") for number in range(30)])

    page = find_members(snapshots, "many", PageRequest(text="i_", offset=10, limit=5, most=20))

    assert ([apptimize_id for apptimize_id, _ in page.rows], page.total, page.is_more) == (
        [f"i_0{n}" for n in range(10, 15)],
        20,
        True,
    )


def test_unchanged_members_are_told_from_those_who_joined_or_left(snapshots: Snapshots):
    write(snapshots, "before", [(f"user-{number:05}", f"i_{number:05}") for number in range(60_000)])
    write(snapshots, "after", [(f"user-{number:05}", f"i_{number:05}") for number in range(30_000, 90_000)])
    difference = snapshots.keep_difference("difference", "after", "before")
    unchanged = [(f"i_{number:05}", f"user-{number:05}") for number in range(30_000, 60_000)]

    for name, change in (("after", "added"), ("before", "removed")):
        page = find_others(
            snapshots, name, "difference", change, PageRequest(offset=19_990, limit=20), total=difference.unchanged
        )
        assert (page.rows, page.total) == (unchanged[19_990:20_010], 30_000)
        assert [pair for rows in snapshots.iterate_others(name, "difference", change) for pair in rows] == unchanged
        assert find_others(snapshots, name, "difference", change, PageRequest("I_45678"), total=30_000).rows == [
            unchanged[15_678]
        ]
        assert find_others(snapshots, name, "difference", change, PageRequest("i_12345"), total=30_000).total == 0
    assert find_others(snapshots, "after", None, "added", PageRequest(limit=1), total=60_000).rows == [unchanged[0]]


def test_files_that_are_gone_are_passed_over(snapshots: Snapshots):
    write(snapshots, "nobody", [])
    write(snapshots, "here", [("user-1", "i_1")])
    snapshots.keep_difference("joined", "here", "nobody")

    member = Member("i_1", "user-1")
    assert list_members_with(snapshots, ["gone", "here"], ["i_1"]) == {"here": [member]}
    assert list_membership_changes(snapshots, ["gone", "joined"], "i_1", "i_9") == {
        "i_1": {"joined": "added"},
        "i_9": {},
    }
    assert list_members_with(snapshots, ["gone"], ["i_1"]) == {}
    assert list_members_with(snapshots, ["gone", "here"], ["user-1"]) == {"here": [member]}


def test_members_come_in_chunks_of_the_size_asked_for(snapshots: Snapshots):
    write(snapshots, "chunks", [(f"u{number:05}", f"i_{number:05}") for number in range(45_001)])

    sizes = [len(rows) for rows in snapshots.iterate("chunks", chunk=1000)]

    assert set(sizes[:-1]) == {1000}
    assert sum(sizes) == 45_001


def test_nothing_is_left_behind_but_the_snapshot(snapshots: Snapshots):
    write(snapshots, "tidy", [("u1", "i_1")])

    assert [path.name for path in snapshots.folder.iterdir() if "tidy" in path.name] == ["tidy.parquet"]
    assert not list(snapshots.scratch.glob("read-*"))


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(snapshots: Snapshots, tmp_path: Path):
    write(snapshots, "kept", [("u1", "i_1")])
    with snapshots.collector() as collector:
        collector.add(distinct_ids=["u2"], apptimize_ids=["i_2"])
        with pytest.raises(StorageError):
            collector.write(Path("/proc/no-such-place/kept.parquet"))

    assert all_members(snapshots, "kept") == [("i_1", "u1")]


def test_a_snapshot_that_is_gone_is_said_in_a_sentence(snapshots: Snapshots):
    with pytest.raises(StorageError, match="no longer kept"):
        snapshots.count("never-written")


def test_threads_that_note_what_they_found_of_files_at_once_lose_none_of_it(snapshots: Snapshots):
    def note(thread: int) -> bool:
        known = list[bool]()
        for number in range(3000):  # together more than are remembered
            name, stamp = f"run-{thread}-{number}", (0, 0, number)
            snapshots.note_proven(name, stamp, "a digest")
            known.append(snapshots.proven.holds(name, stamp))
        return all(known)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(note, range(8)))
    finally:
        sys.setswitchinterval(before)


def test_a_full_cache_drops_what_was_put_into_it_first():
    known = BoundedCache[str, int](2)
    known.put("first", 1)
    known.put("second", 2)
    known.put("first", 3)

    known.put("third", 4)

    assert [known.get(name) for name in ("first", "second", "third")] == [3, None, 4]
    known.forget("third")
    assert known.get("third") is None
    assert not known.holds("third", None)
