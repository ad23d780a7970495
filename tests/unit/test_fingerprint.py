"""The fingerprint of members: the same for the same members, told a second way, and another one for any others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.members.collector import Tally
from data.members.fingerprint import Sums, new_key, read_sums
from data.members.proof import make_proof
from data.members.snapshots import Snapshots
from tests.stage.seeds import SEEDS

KEY = "0123456789abcdef"
EXAMPLES = 300 if SEEDS else 15
ids = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=4)
few = st.sampled_from(["a", "b", "é", "\x1f", "1", "1a"])
pairs = st.lists(st.tuples(few | ids, few | ids), max_size=12)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    home: Path = tmp_path_factory.mktemp("snapshots")
    return Snapshots(home / "kept", scratch=home / "scratch", memory_mb=60)


def collect(snapshots: Snapshots, profiles: list[tuple[str, str]], *, key: str = KEY, at_once: int = 5) -> Tally:
    """Collect (distinct id, Apptimize id), some at a time, and keep them as `kept`."""
    with snapshots.collector(key=key) as collector:
        for start in range(0, len(profiles), at_once):
            some = profiles[start : start + at_once]
            collector.add(distinct_ids=[pair[0] for pair in some], apptimize_ids=[pair[1] for pair in some])
        collector.write(snapshots.path("kept"))
        return collector.tally()


def members_of(profiles: list[tuple[str, str]]) -> dict[str, str]:
    members: dict[str, str] = {}
    for distinct_id, apptimize_id in profiles:
        members[apptimize_id] = min(members.get(apptimize_id, distinct_id), distinct_id, key=str.encode)
    return members


def expected(members: dict[str, str]) -> Sums:
    sums = [0, 0]
    for apptimize_id, distinct_id in members.items():
        message = f"{KEY}{len(apptimize_id.encode())}:{apptimize_id}{distinct_id}"
        number = int.from_bytes(hashlib.md5(message.encode()).digest(), "little")
        sums = [sums[0] + number % 2**64, sums[1] + number // 2**64]
    return Sums(len(members), *sums)


@settings(max_examples=EXAMPLES)
@given(pairs)
def test_it_is_that_of_the_final_members_however_they_come_and_of_the_snapshot_that_is_made_of_them(
    snapshots: Snapshots, profiles: list[tuple[str, str]]
):
    told = expected(members_of(profiles))

    assert collect(snapshots, profiles).sums == told
    assert make_proof(snapshots, "kept", key=KEY).sums == told
    assert collect(snapshots, profiles[::-1], at_once=3).sums == told
    assert read_sums(told.members, told.fingerprint) == told


@settings(max_examples=EXAMPLES)
@given(pairs, pairs)
def test_other_members_have_another_one_and_what_changed_leads_from_one_to_the_other(
    snapshots: Snapshots, old: list[tuple[str, str]], new: list[tuple[str, str]]
):
    before, after = collect(snapshots, old), collect(snapshots, new)
    snapshots.path("kept").replace(snapshots.path("new"))
    collect(snapshots, old)

    difference = snapshots.keep_difference("difference", "new", "kept", key=KEY)

    assert (before.sums == after.sums) == (members_of(old) == members_of(new))
    assert difference.sums is not None
    assert before.sums.plus(difference.sums) == after.sums
    with snapshots.collector(key=KEY) as collector:
        collector.add(distinct_ids=[pair[0] for pair in new], apptimize_ids=[pair[1] for pair in new])
        counted = collector.compare(snapshots.path("kept"))
    assert (counted, counted.sums) == (difference, difference.sums)


def test_no_two_keys_make_the_same_of_the_same_members(snapshots: Snapshots):
    profiles = [("u1", "i_1"), ("u2", "i_2")]
    sums = {collect(snapshots, profiles, key=key).sums for key in ("", KEY, new_key(), new_key())}

    assert len(sums) == 4


def test_one_of_another_version_says_nothing():
    assert read_sums(1, "1:feed") is read_sums(1, "99:1:2") is read_sums(1, None) is None
