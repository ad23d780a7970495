"""When exports that wait for a project's queries would be done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.rules.query_forecast import Budget, Forecast, forecast

NOW = datetime(2026, 3, 2, 14, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BUDGET = Budget(limit=60, window=HOUR)


def test_exports_that_all_find_a_query_are_done_as_fast_as_the_places_allow():
    assert forecast([MINUTE] * 20, BUDGET, at_once=2, now=NOW) == Forecast(NOW + 10 * MINUTE)


def test_those_without_a_query_wait_until_spent_ones_return():
    returns = [NOW + (30 + spent % 6) * MINUTE for spent in range(46)]

    found = forecast([MINUTE] * 20, replace(BUDGET, returns=returns), at_once=20, now=NOW)

    assert found == Forecast(NOW + 31 * MINUTE, waiting=6, first_at=NOW + 30 * MINUTE)


def test_more_than_the_limit_takes_as_many_windows():
    found = forecast([MINUTE] * 50, replace(BUDGET, limit=20), at_once=50, now=NOW)

    assert found == Forecast(NOW + 2 * HOUR + MINUTE, waiting=30, first_at=NOW + HOUR)


def test_what_waits_already_and_what_recurs_is_asked_before():
    ahead = replace(BUDGET, limit=10, ahead=8)
    assert forecast([MINUTE] * 4, ahead, at_once=4, now=NOW).waiting == 2

    # 30 an hour: while exports work one after the other for two minutes each, as many others ask.
    recurring = replace(BUDGET, limit=8, planned=30)
    assert forecast([2 * MINUTE] * 6, recurring, at_once=1, now=NOW) == Forecast(NOW + 64 * MINUTE, 2, NOW + HOUR)
    assert forecast([2 * MINUTE] * 6, replace(recurring, planned=0), at_once=1, now=NOW).waiting == 0


def test_recurring_syncs_that_need_more_than_there_is_have_half_of_it():
    found = forecast([MINUTE] * 3, replace(BUDGET, limit=1, planned=5000), at_once=1, now=NOW)

    assert found == Forecast(NOW + 4 * HOUR + MINUTE, waiting=2, first_at=NOW + 2 * HOUR)


def test_a_project_that_is_blocked_is_not_asked_before():
    until = NOW + 12 * MINUTE
    found = forecast([MINUTE], replace(BUDGET, blocked_until=until), at_once=1, now=NOW)

    assert found == Forecast(until + MINUTE, waiting=1, first_at=until)
