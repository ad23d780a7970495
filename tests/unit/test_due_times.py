"""When a recurring sync is due, and until when its group counts as on time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.rules.due_times import is_late, on_time_until
from data.models import Group, Sync, SyncKind, SyncState

_MADE = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _sync(**values: Any) -> Sync:
    usual = {"kind": SyncKind.RECURRING, "every_minutes": 15, "created_at": _MADE, "id": 1}
    return Sync(**{**usual, "mixpanel_id": 1, "group_id": 1, "project_id": 1, "cohort_id": 101, **values})


def _group(**values: Any) -> Group:
    return Group(destination_id=1, project_id=1, cohort_id=101, cohort_name="A", name="A", created_at=_MADE, **values)


def test_a_group_is_late_once_it_is_older_than_two_intervals_with_the_time_that_a_run_takes():
    group = _group(verified_at=_MADE)

    assert on_time_until(_sync(), group) == _MADE + timedelta(minutes=33)
    assert not is_late(_sync(), group, _MADE + timedelta(minutes=33))
    assert is_late(_sync(), group, _MADE + timedelta(minutes=33, seconds=1))


def test_a_group_that_was_never_written_is_late_as_if_it_had_been_when_its_sync_was_made():
    assert on_time_until(_sync(every_minutes=60), _group()) == _MADE + timedelta(minutes=132)


@pytest.mark.parametrize(
    "stopped", [{"state": SyncState.PAUSED}, {"state": SyncState.REMOVED}, {"kind": SyncKind.ONE_TIME}]
)
def test_no_group_is_late_of_which_no_run_is_expected(stopped: dict[str, str]):
    assert on_time_until(_sync(**stopped), _group()) is None
    assert not is_late(_sync(**stopped), _group(), _MADE + timedelta(days=300))
