"""Schedules: what people write, what is refused, and when it runs over the changes of summer time, in any zone."""

from __future__ import annotations

import zoneinfo
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from core.rules import cron, schedules
from core.rules.due_times import is_due, is_misplanned, is_plannable, next_slot, queries_an_hour
from core.rules.pause_ends import parse_end
from core.rules.schedules import from_cron, from_days, parse, text_of
from core.rules.zones import check_zone, list_zones
from data.models import Schedule

# Half an hour of summer time, two hours of it, none, a day that was left out, changes at midnight, and the other half
# of the earth.
_ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Africa/Cairo",
    "America/Havana",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "UTC",
)
_BERLIN = ZoneInfo("Europe/Berlin")
_FOUR = "08:00, 08:30, 17:00 and 17:30"


def local_times(text: str, since: datetime, until: datetime) -> list[str]:
    """List when a schedule runs, as its zone's clocks show it."""
    schedule = parse(text)
    slots = takewhile(lambda slot: slot < until, cron.list_slots(schedule, after=since))
    return [f"{slot.astimezone(ZoneInfo(schedule.zone)):%m-%d %H:%M %z}" for slot in slots]


def on(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expressions", "again"),
    [
        ("weekdays at 08:00 Europe/Berlin", "0 8 * * 1-5", None),
        ("Daily at 8:00 and 17:30 europe/berlin", "0 8 * * *; 30 17 * * *", "daily at 08:00 and 17:30 Europe/Berlin"),
        (
            "Mondays, Thursdays at 9:00 Europe/Berlin",
            "0 9 * * 1,4",
            "Mondays and Thursdays at 09:00 Europe/Berlin",
        ),
        (
            "sat, and sun at 07:15, 08:15 and 09:00 Europe/Berlin",
            "15 7,8 * * 0,6; 0 9 * * 0,6",
            "weekends at 07:15, 08:15 and 09:00 Europe/Berlin",
        ),
        ("every day at 0:05 Europe/Berlin", "5 0 * * *", "daily at 00:05 Europe/Berlin"),
        ("hourly at :05 Europe/Berlin", "5 * * * *", None),
        ("hourly Europe/Berlin", "0 * * * *", None),
        ("cron 0,30 8,17 * * MON-FRI Europe/Berlin", "0,30 8,17 * * 1-5", f"weekdays at {_FOUR} Europe/Berlin"),
        ("cron */15 8-17 * * 1-5 Europe/Berlin", "*/15 8-17 * * 1-5", None),
        ("cron 0 8 1,15 jan-jun 7 Europe/Berlin", "0 8 1,15 1-6 0", "cron 0 8 1,15 1-6 0 Europe/Berlin"),
        ("cron 0 8 L * 5L,1#2 Europe/Berlin", "0 8 L * 1#2,5L", "cron 0 8 L * 1#2,5L Europe/Berlin"),
        ("cron 00 08 */2 * mon Europe/Berlin", "0 8 */2 * 1", "cron 0 8 */2 * 1 Europe/Berlin"),
    ],
)  # fmt: skip
def test_a_schedule_is_read_and_written_in_one_form(text: str, expressions: str, again: str | None):
    schedule = parse(text)

    assert schedule == Schedule(expressions, "Europe/Berlin")
    assert text_of(schedule) == (again or text)
    assert parse(text_of(schedule)) == schedule


@given(
    st.sets(st.integers(0, 6), min_size=1),
    st.sets(st.integers(0, 95), min_size=1, max_size=8),
    st.integers(0, 14),
    st.sampled_from(_ZONES),
)
@settings(max_examples=20, deadline=None)
def test_whatever_days_and_times_are_chosen_they_are_read_back_from_words_or_cron(
    days: set[int], quarters: set[int], offset: int, zone: str
):
    times = [time(each // 4, each % 4 * 15 + offset) for each in quarters]

    schedule = from_days(days, times, zone)

    assert schedules.read_days(schedule.cron) == (frozenset(days), sorted(times))
    assert parse(text_of(schedule)) == schedule
    assert from_cron(schedule.cron, schedule.zone) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weekdays at 08:00", "Time zone: it is missing."),
        ("weekdays at 08:00 Berlin", "Time zone: “Berlin” is not known."),
        ("weekdays 08:00 UTC", "Schedule: “weekdays 08:00 UTC” is not understood."),
        ("weekdays at 8am UTC", "Schedule: “weekdays at 8am UTC” is not understood."),
        ("Mondey at 08:00 UTC", "Schedule: “Mondey” is not a day of the week."),
        ("daily at 24:00 UTC", "Schedule: “24:00” is not a time of day."),
        ("daily at 08:00 and 08:10 UTC", "Schedule: two of its times lie 10 min apart."),
        ("daily at 00:00 and 23:50 UTC", "Schedule: two of its times lie 10 min apart."),
        ("hourly at :61 UTC", "Cron: “61” is no minute."),
        ("cron * 8 * * * UTC", "Cron: two of its times lie 1 min apart."),
        ("cron 50 23 31 * *; 0 0 1 * * UTC", "Cron: two of its times lie 10 min apart."),
        ("cron 0 0 8 * * 1 UTC", "Cron: “0 0 8 * * 1” is not five fields."),
        ("cron @daily UTC", "Cron: “@daily” is not five fields."),
        ("cron 0 24 * * * UTC", "Cron: “24” is no hour."),
        ("cron 0 8 0 * * UTC", "Cron: “0” is no day of the month."),
        ("cron 0 8 * 13 * UTC", "Cron: “13” is no month."),
        ("cron 0 8 * * 8 UTC", "Cron: “8” is no day of the week."),
        ("cron 0 0 30 2 * UTC", "Cron: “0 0 30 2 *” names a day that never comes."),
        ("cron 0 0 31 4,6 * UTC", "Cron: “0 0 31 4,6 *” names a day that never comes."),
        ("cron 0 ² * * * UTC", "Cron: “²” is no hour."),
        ("cron " + "0 8 * * *; " * 60 + " UTC", "Cron: this is too long."),
        ("cron ; UTC", "Cron: it is missing."),
        ("", "Schedule: “” is not understood."),
    ],
)
def test_what_cannot_run_is_refused_with_its_field(text: str, message: str):
    with pytest.raises(SettingsError) as refused:
        parse(text)

    assert refused.value.message == message
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "near"),
    [("Berlin", "Europe/Berlin"), ("New York", "America/New_York"), ("Europe/Berln", "Europe/Berlin")],
)
def test_an_unknown_zone_is_refused_with_one_that_is_spelled_alike(name: str, near: str):
    with pytest.raises(SettingsError) as refused:
        check_zone(name)

    assert near in refused.value.advice


def test_a_zone_is_known_however_its_letters_are_written_and_no_file_is():
    assert check_zone(" america/new_york ") == "America/New_York"
    for file in ("../../etc/passwd", "posixrules", "localtime", "tzdata.zi", "Factory"):
        with pytest.raises(SettingsError):
            check_zone(file)


# --- summer time ---------------------------------------------------------------------------------------------------


def test_a_time_that_a_change_of_the_clocks_leaves_out_runs_once_right_after_it():
    assert local_times("daily at 02:30 Europe/Berlin", on("2026-03-28"), on("2026-03-31")) == [
        "03-28 02:30 +0100",
        "03-29 03:00 +0200",
        "03-30 02:30 +0200",
    ]
    assert local_times("daily at 02:00, 02:30 and 03:00 Europe/Berlin", on("2026-03-29"), on("2026-03-30")) == [
        "03-29 03:00 +0200"
    ]


def test_a_time_that_comes_twice_runs_once():
    assert local_times("daily at 02:30 Europe/Berlin", on("2026-10-24"), on("2026-10-27")) == [
        "10-24 02:30 +0200",
        "10-25 02:30 +0200",
        "10-26 02:30 +0100",
    ]
    # Asked in between, while it is 02:10 for the second time, its run was already.
    between = datetime(2026, 10, 25, 2, 10, tzinfo=_BERLIN, fold=1).astimezone(UTC)
    assert local_times("daily at 02:30 Europe/Berlin", between, on("2026-10-27"))[0] == "10-26 02:30 +0100"


def test_every_real_hour_has_its_run_of_a_schedule_for_every_hour():
    twice = local_times("hourly Europe/Berlin", on("2026-10-24T22:30"), on("2026-10-25T03:30"))
    assert twice == ["10-25 01:00 +0200", "10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100", "10-25 04:00 +0100"]  # fmt: skip # noqa: E501


@pytest.mark.parametrize("hours", ["2", "*/2", "1-3"])
def test_half_an_hour_of_summer_time_leaves_no_set_time_out(hours: str):
    # In April 02:00 becomes 01:30 on Lord Howe, in October 02:00 becomes 02:30.
    for day, change in (("04-05", "2026-04-04"), ("10-04", "2026-10-03")):
        times = local_times(f"cron */30 {hours} * * * Australia/Lord_Howe", on(change), on(change) + timedelta(days=1))
        of_two = [each for each in times if each.startswith(f"{day} 02")]
        assert [each[6:11] for each in of_two] == (["02:00", "02:30"] if day == "04-05" else ["02:30"])


def test_days_that_a_zone_left_out_are_not_made_up_for():
    # Samoa had no 30 December 2011.
    assert local_times("daily at 08:00 Pacific/Apia", on("2011-12-28T20:00"), on("2011-12-31")) == [
        "12-29 08:00 -1000",
        "12-31 08:00 +1400",
    ]
    assert local_times("daily at 00:00 Pacific/Apia", on("2011-12-29T00:00"), on("2011-12-31T00:00")) == [
        "12-29 00:00 -1000",
        "12-31 00:00 +1400",
    ]


@given(st.sampled_from(_ZONES), st.integers(0, 1439), st.integers(2009, 2035))
@example("Europe/Berlin", 150, 2026)
@example("Australia/Lord_Howe", 105, 2026)
@example("Antarctica/Troll", 90, 2026)
@example("America/Havana", 0, 2026)
@example("Pacific/Apia", 480, 2011)
@settings(max_examples=3, deadline=None)
def test_a_daily_schedule_runs_once_on_each_day_that_there_is(zone: str, minute: int, year: int):
    schedule = from_days(range(7), [time(*divmod(minute, 60))], zone)
    first, last = datetime(year, 1, 1, tzinfo=ZoneInfo(zone)), datetime(year + 2, 1, 1, tzinfo=ZoneInfo(zone))

    slots = list(takewhile(lambda slot: slot < last, cron.list_slots(schedule, after=first - timedelta(seconds=1))))

    days = Counter(slot.astimezone(ZoneInfo(zone)).date() for slot in slots)
    assert set(days.values()) == {1}
    assert set(days) == set(_days_that_are_there(ZoneInfo(zone), year))


def _days_that_are_there(zone: ZoneInfo, year: int) -> list[date]:
    at, days = datetime(year, 1, 1, 12, tzinfo=UTC), list[date]()
    for hour in range(-48, 24 * 733, 6):
        day = (at + timedelta(hours=hour)).astimezone(zone).date()
        if year <= day.year < year + 2:
            days.append(day)
    return days


# --- due times -----------------------------------------------------------------------------------------------------

_AT_EIGHT = Schedule("0 8 * * 1-5", "Europe/Berlin")


def test_the_next_slot_of_a_schedule_is_its_next_time_whatever_sync_it_is_of():
    friday = datetime(2026, 3, 27, 7, 0, tzinfo=UTC)
    assert {next_slot(number, _AT_EIGHT, after=friday) for number in range(20)} == {
        datetime(2026, 3, 30, 6, 0, tzinfo=UTC)
    }
    assert next_slot(1, _AT_EIGHT, after=friday - timedelta(seconds=1)) == friday


def test_a_schedule_is_due_at_its_time_and_planned_again_when_the_clock_was_set_back():
    wednesday, thursday = datetime(2026, 11, 25, 7, tzinfo=UTC), datetime(2026, 11, 26, 7, tzinfo=UTC)

    assert is_due(wednesday, _AT_EIGHT, wednesday)
    assert is_due(None, _AT_EIGHT, wednesday)
    for now in (wednesday, wednesday + timedelta(hours=20), thursday - timedelta(seconds=1)):
        assert not is_due(thursday, _AT_EIGHT, now)
        assert not is_misplanned(thursday, _AT_EIGHT, now)
    before = wednesday - timedelta(hours=1)
    assert not is_due(thursday, _AT_EIGHT, before)
    assert is_misplanned(thursday, _AT_EIGHT, before)
    assert is_due(thursday, 15, before)
    assert not is_misplanned(thursday, 15, before)


def test_a_schedule_whose_zone_or_cron_cannot_be_read_any_more_has_no_next_time():
    for lost in (Schedule("0 8 * * *", "Europe/Nowhere"), Schedule("0 8", "UTC"), Schedule("x y * * *", "UTC")):
        assert not is_plannable(lost, on("2026-11-26"))
        with pytest.raises(SettingsError):
            next_slot(1, lost, after=on("2026-11-26"))


def test_the_busiest_hour_counts_of_syncs_with_set_times():
    def needed(*texts: str) -> float:
        shared = timedelta(minutes=15)
        return queries_an_hour([parse(text) for text in texts], list_shared_for=shared, now=on("2026-11-26"))

    assert needed("daily at 08:00 UTC") == 1 + 1
    assert needed("daily at 08:00 UTC", "daily at 20:00 UTC") == 1 + 1
    assert needed("daily at 08:00 UTC", "daily at 08:59 UTC", "Mondays at 08:30 UTC") == 3 + 3
    assert needed("daily at 08:00 UTC", "daily at 09:00 UTC") == 1 + 1
    assert needed("daily at 08:00 UTC", "weekdays at 09:00 Europe/Berlin") == 2 + 2
    assert needed(*["daily at 08:00 UTC"] * 50) == 50 + 4
    assert needed("daily at 08:00, 08:15, 08:30 and 08:45 UTC") == 4 + 4
    assert queries_an_hour([60, parse("daily at 08:00 UTC")], list_shared_for=timedelta(minutes=15), now=on("2026-11-26")) == 2 + 2  # fmt: skip # noqa: E501


# --- pauses with an end --------------------------------------------------------------------------------------------

_NOW = datetime(2026, 11, 26, 17, 0, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-11-30 08:00 Europe/Berlin", "2026-11-30T07:00"),
        ("2026-11-30T08:00:00+01:00", "2026-11-30T07:00"),
        ("2026-11-30T08:00Z", "2026-11-30T08:00"),
        ("2026-11-30 08:00", "2026-11-30T07:00"),
        ("Monday 08:00", "2026-11-30T07:00"),
        ("mon at 8:00 America/New_York", "2026-11-30T13:00"),
        ("Thursday 18:30", "2026-11-26T17:30"),
        ("Thursday 18:00", "2026-12-03T17:00"),
        ("tomorrow 08:00 UTC", "2026-11-27T08:00"),
        ("today 23:00", "2026-11-26T22:00"),
        ("2027-03-28 02:30 Europe/Berlin", "2027-03-28T01:00"),
        ("2027-10-31 02:30 Europe/Berlin", "2027-10-31T00:30"),
    ],
)
def test_the_end_of_a_pause_is_read(text: str, end: str):
    assert parse_end(text, now=_NOW, zone=_BERLIN) == on(end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-11-26 17:59", "Until: 2026-11-26\u00a016:59\u00a0UTC has passed."),
        ("2026-11-26 18:00", "Until: 2026-11-26\u00a017:00\u00a0UTC has passed."),
        ("today 08:00", "Until: 2026-11-26\u00a007:00\u00a0UTC has passed."),
        ("2062-11-30 08:00 UTC", "Until: 2062-11-30\u00a008:00\u00a0UTC is more than a year away."),
        ("2026-11-31 08:00", "Until: “2026-11-31” is not a day of the calendar."),
        ("2026-11-30 25:00", "Until: “2026-11-30 25:00” has no time of day."),
        ("2026-11-30 08:00 Berlin", "Time zone: “Berlin” is not known."),
        ("Mondey 08:00", "Until: “Mondey 08:00” is not understood."),
        ("2026-11-30", "Until: “2026-11-30” is not understood."),
        ("soon", "Until: “soon” is not understood."),
        ("0001-01-01T00:00:00+01:00", "Until: the year 0001 cannot be meant."),
        ("9999-12-31T23:59:59-01:00", "Until: the year 9999 cannot be meant."),
        ("0001-01-01 00:00", "Until: the year 0001 cannot be meant."),
        ("9999-12-31 23:59 America/New_York", "Until: the year 9999 cannot be meant."),
    ],
)
def test_an_end_that_is_none_is_refused(text: str, message: str):
    with pytest.raises(SettingsError) as refused:
        parse_end(text, now=_NOW, zone=_BERLIN)

    assert refused.value.message == message


def test_every_listed_zone_can_be_chosen():
    assert {"Europe/Berlin", "UTC", "Australia/Lord_Howe"} <= set(list_zones())
    assert all(check_zone(name) == name for name in list_zones())


def test_zones_are_there_on_a_machine_without_any():
    zoneinfo.reset_tzpath([])
    list_zones.cache_clear()
    try:
        assert check_zone("Europe/Berlin") in list_zones()
        assert ZoneInfo.no_cache("Europe/Berlin").utcoffset(datetime(2026, 7, 1)) == timedelta(hours=2)  # noqa: DTZ001
    finally:
        zoneinfo.reset_tzpath()
        list_zones.cache_clear()
