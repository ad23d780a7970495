"""Whom a receiver that only adds may hold: the rule of what is known, and the files that it is worked out from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.rules.leavers import Trace, find_gap
from data.members.snapshots import Snapshots
from data.proof_models import Untraced

KNOWN = Trace(untraced=None, base_damage=None, tried_damage=None)


def test_nothing_is_held_where_everybody_is_known():
    assert find_gap(KNOWN) is None


@pytest.mark.parametrize("untraced", Untraced)
def test_each_reason_is_a_sentence_of_its_own(untraced: Untraced):
    sentence = find_gap(replace(KNOWN, untraced=untraced)) or ""

    others = {find_gap(replace(KNOWN, untraced=other)) for other in Untraced if other != untraced}
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert sentence not in others


@pytest.mark.parametrize(
    ("trace", "begins"),
    [
        (replace(KNOWN, untraced="place"), "This connection led elsewhere"),
        (replace(KNOWN, base_damage="is gone"), "The file of the members that the group was given last is gone."),
        (replace(KNOWN, tried_damage="is gone"), "A file of members that a delivery began with is gone."),
        (Trace("restored", "is gone", "is gone"), "The database may be older"),
    ],
)
def test_what_is_lost_is_named(trace: Trace, begins: str):
    assert (find_gap(trace) or "").startswith(begins)


def keep(snapshots: Snapshots, name: str, ids: list[str]) -> None:
    with snapshots.collector() as collector:
        collector.add(distinct_ids=[f"{name}-{id}" for id in ids], apptimize_ids=ids)
        collector.write(snapshots.path(name))


@pytest.mark.parametrize(
    ("known", "present", "others"),
    [
        ([["a", "b"]], ["b", "c"], ["a"]),
        ([["a", "b"], ["b", "c"], ["c", "a"]], ["b"], ["a", "c"]),
        ([["a"]], [], ["a"]),
        ([[], ["a"]], ["a"], []),
        ([["\u00e4", "B", "b", "'"]], ["b"], ["'", "B", "\u00e4"]),
    ],
)
def test_who_is_in_any_of_several_and_not_in_another_is_kept_once_and_in_order(
    tmp_path: Path, known: list[list[str]], present: list[str], others: list[str]
):
    snapshots = Snapshots(tmp_path, scratch=tmp_path / "scratch", memory_mb=64)
    names = [f"known-{number}" for number in range(len(known))]
    for name, ids in zip(names, known, strict=True):
        keep(snapshots, name, ids)
    keep(snapshots, "present", present)

    assert snapshots.keep_others("others", names, "present") == len(others)

    kept = [member.apptimize_id for chunk in snapshots.iterate_changes("others", "removed") for member in chunk]
    assert kept == others


def test_many_are_compared_range_by_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data.members.changes._AT_ONCE", 1)
    snapshots = Snapshots(tmp_path, scratch=tmp_path / "scratch", memory_mb=64)
    ids = [f"i_{number:06}" for number in range(60_000)]
    keep(snapshots, "one", ids[:40_000])
    keep(snapshots, "two", ids[20_000:])
    keep(snapshots, "present", ids[::2])

    assert snapshots.keep_others("others", ["one", "two"], "present") == 30_000

    kept = [member.apptimize_id for chunk in snapshots.iterate_changes("others", "removed") for member in chunk]
    assert kept == ids[1::2]
