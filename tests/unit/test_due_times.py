"""When a recurring sync is due, and until when its group counts as on time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.rules.due_times import count_slots, interval_of, is_late, longest_work, on_time_until
from data.models import Group, Schedule, Sync, SyncKind, SyncState

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


def test_with_a_schedule_a_group_is_late_once_two_of_its_times_have_passed_with_the_time_that_a_run_takes():
    friday = datetime(2026, 3, 27, 7, 1, tzinfo=UTC)  # 08:01 in Berlin, two days before the clocks change
    sync = _sync(every_minutes=None, cron="0 8 * * 1-5", zone="Europe/Berlin")

    until = on_time_until(sync, _group(verified_at=friday))

    # Monday and Tuesday at 08:00 of summer time, and a fifth of the day between them.
    assert until == datetime(2026, 3, 31, 6, 0, tzinfo=UTC) + timedelta(hours=4, minutes=48)
    assert on_time_until(_sync(every_minutes=None, cron="0 8 * * *", zone="Europe/Nowhere"), _group()) is None


def test_a_sync_that_was_resumed_or_given_other_times_has_its_time_again():
    old, resumed = _group(verified_at=_MADE - timedelta(days=9)), _MADE + timedelta(days=1)

    assert on_time_until(_sync(expected_since=resumed), old) == resumed + timedelta(minutes=33)
    assert on_time_until(_sync(), old, not_before=resumed) == resumed + timedelta(minutes=33)


def test_what_goes_by_intervals_goes_by_the_shortest_time_between_two_runs_of_a_schedule_and_at_most_by_a_day():
    assert interval_of(Schedule("0 8,9 * * *", "UTC")) == timedelta(hours=1)
    assert interval_of(Schedule("0 8 * * 1", "UTC")) == timedelta(days=1)
    assert longest_work(Schedule("0 8 * * 1", "UTC")) == timedelta(days=2)


def test_the_times_that_have_passed_of_a_schedule_are_counted():
    monday = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
    schedule = Schedule("0 8 * * 1-5; 30 17 * * 1-5", "Europe/Berlin")
    counted = [count_slots(1, schedule, since=monday, until=monday + timedelta(hours=hours)) for hours in (0, 9.5, 24, 168)]  # fmt: skip # noqa: E501

    assert counted == [0, 1, 2, 10]
    assert count_slots(1, 60, since=monday, until=monday + timedelta(hours=24)) == 24
