"""How a group is written: the shortest way that leaves no doubt about what it holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.rules.writing import WriteFacts, choose_write_mode
from data.models import Group

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def group(**changes: Any) -> Group:
    """A group that is known: written in full an hour ago under its name, with the match setting of now."""
    known: dict[str, Any] = {"full_at": NOW - timedelta(hours=1), "delivered_name": "payers", "base_match": "rule"}
    return Group(destination_id=1, project_id=1, cohort_id=1, cohort_name="payers", name="payers", **(known | changes))


def mode(known: Group, **changes: Any) -> str:
    facts: dict[str, Any] = {"matched_by": "rule", "has_base": True, "has_changes": True, "in_place": True}
    return choose_write_mode(WriteFacts(known, **(facts | changes)), now=NOW)


def test_a_group_that_is_known_takes_only_what_changed():
    assert mode(group()) == "delta"
    assert mode(group(), has_changes=False) == "none"


@pytest.mark.parametrize(
    "doubt",
    [
        {"in_doubt": True},
        {"full_at": None},
        {"full_at": NOW - timedelta(hours=24)},
        {"full_at": NOW + timedelta(seconds=1)},
        {"delivered_name": "others"},
        {"base_match": "another rule"},
    ],
    ids=str,
)
def test_any_doubt_about_a_group_writes_all_of_it(doubt: dict[str, Any]):
    assert mode(group(**doubt), has_changes=False) == "full"


@pytest.mark.parametrize("asked", [{"force_full": True}, {"is_restore": True}, {"has_base": False}], ids=str)
def test_a_group_is_written_in_full_when_that_is_asked_for_or_its_base_is_gone(asked: dict[str, Any]):
    assert mode(group(), has_changes=False, **asked) == "full"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"has_changes": False}, "none"),
        ({}, "full"),
        ({"has_changes": False, "in_place": False}, "full"),
        ({"has_changes": False, "has_base": False}, "full"),
        ({"has_changes": False, "force_full": True}, "full"),
    ],
)
def test_a_file_is_written_whole_or_left_as_it_is(changes: dict[str, Any], expected: str):
    assert mode(group(full_at=None), takes_differences=False, **changes) == expected
