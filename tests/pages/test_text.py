"""How names, numbers and times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.moments import moment_text, replace_moments
from core.text import shown
from data.models import Run, Sync, SyncKind
from pages.parts import causes, formatting, run_log, tables
from pages.parts.formatting import (
    age,
    clock,
    duration,
    escape_markdown,
    fine_percent,
    message_text,
    percent_number,
    span,
    timing_phrase,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("sign", list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
def test_every_sign_that_markdown_could_take_is_escaped(sign: str):
    assert escape_markdown(f"a{sign}b") in (f"a\\{sign}b", f"a\u2060\\{sign}b")


@pytest.mark.parametrize(
    "text", ["->", "<-", "--", ">=", ":streamlit:", "https://x.example", "www.x.example", "a@b.example"]
)
def test_what_streamlit_rewrites_in_plain_text_is_held_apart_without_a_visible_change(text: str):
    written = escape_markdown(text)

    assert "\u2060" in written
    assert written.replace("\u2060", "").replace("\\", "") == text


def test_a_text_that_begins_and_ends_with_a_blank_can_be_bold():
    assert escape_markdown(" a b ") == "\u2060 a b \u2060"


def test_a_command_in_an_advice_is_written_as_code_whatever_surrounds_it_is_not():
    assert message_text("No *such* `a`.", "Try `python -m core cohorts`, or `ls`.") == (
        "No \\*such\\* \\`a\\`\\. Try `python -m core cohorts`\\, or \\`ls\\`\\."
    )


def test_a_message_tells_times_in_the_readers_zone_and_leaves_those_of_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formatting, "zone", lambda: ZoneInfo("Asia/Tokyo"))
    message = f"The group “Until 2020-01-01 12:00 UTC” waits until {moment_text(NOW - timedelta(days=1))}."

    assert message_text(message, None).replace("\\", "") == (
        "The group “Until 2020-01-01 12:00 UTC” waits until 22 Nov, 21:00."
    )
    assert replace_moments("At 2020-99-01\u00a012:00\u00a0UTC", str) == "At 2020-99-01\u00a012:00\u00a0UTC"


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("America/New_York", "0001-01-01 00:00 UTC"),
        ("Asia/Kolkata", "9999-12-31 23:59 UTC"),
        ("Asia/Tokyo", "2026-11-26 14:05 UTC"),
    ],
)
def test_a_name_that_looks_like_a_moment_of_ours_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, zone: str, name: str
):
    monkeypatch.setattr(formatting, "zone", lambda: ZoneInfo(zone))
    likely = name.replace(" ", "\u00a0")

    assert message_text(f"The group {shown(likely)} is held.", None).replace("\\", "") == f"The group {name} is held."
    assert "is held" in message_text(f"The group {likely} is held.", None), "a day that no zone has ends no page"


@pytest.mark.parametrize("year", [2025, 2028])
def test_a_time_of_another_year_is_said_with_its_year(monkeypatch: pytest.MonkeyPatch, year: int):
    monkeypatch.setattr(formatting, "zone", lambda: ZoneInfo("UTC"))
    monkeypatch.setattr(formatting, "_now", lambda: NOW)

    said = message_text(f"{moment_text(NOW.replace(year=year))} has passed.", None).replace("\\", "")

    assert said == f"23 Nov {year}, 12:00 has passed."


def test_a_name_within_a_sentence_is_no_advice_to_the_reader(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formatting.st, "session_state", {"formatting_reader_is_admin": True})

    said = message_text("The group Ask an admin to stay is held.", "Ask an admin to look.").replace("\\", "")

    assert said == "The group Ask an admin to stay is held. Look."


def test_a_name_stays_on_its_line():
    assert escape_markdown("a\n# b\r\n\u2028c") == "a \\# b c"


@pytest.mark.parametrize("mark", list("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
def test_a_name_does_not_turn_the_words_after_it_around(mark: str):
    assert escape_markdown(f"a{mark}b") == "a\ufffdb"


def test_letters_of_any_script_stay_as_they_are():
    assert escape_markdown("Käufer 東京 שלום") == "Käufer 東京 שלום"


@pytest.mark.parametrize(
    ("passed", "written"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(seconds=59.7), "1 minute ago"),
        (timedelta(minutes=59, seconds=40), "1 hour ago"),
        (timedelta(hours=5, minutes=29), "5 hours ago"),
        (timedelta(hours=5, minutes=59), "6 hours ago"),
        (timedelta(hours=23, minutes=40), "1 day ago"),
        (timedelta(days=2, hours=14), "3 days ago"),
        (timedelta(days=40), "14 Oct 2026"),
    ],
)
def test_ages_are_written_in_one_unit_to_the_nearest(passed: timedelta, written: str):
    assert age(NOW - passed, now=NOW) == written


@pytest.mark.parametrize(
    ("left", "written"),
    [
        (timedelta(seconds=20), "20 seconds"),
        (timedelta(seconds=50), "1 minute"),
        (timedelta(minutes=59, seconds=50), "1 hour"),
        (timedelta(hours=3, minutes=20), "3 hours 20 minutes"),
        (timedelta(hours=23, minutes=59, seconds=50), "1 day"),
        (timedelta(days=2, hours=13, minutes=50), "2 days 14 hours"),
        (timedelta(days=9), "9 days"),
    ],
)
def test_what_is_waited_for_is_said_in_two_units(left: timedelta, written: str):
    assert span(left) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(-1, "0.0 s"), (0.84, "0.8 s"), (42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_lengths_of_time(seconds: float, written: str):
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("passes", "written"),
    [
        (timedelta(hours=-11), "01:00"),
        (timedelta(hours=-13), "22 Nov, 23:00"),
        (timedelta(hours=11, minutes=59), "23:59"),
        (timedelta(hours=13), "24 Nov, 01:00"),
    ],
)
def test_a_time_bears_its_day_when_it_is_another_one(passes: timedelta, written: str):
    assert clock(NOW + passes, now=NOW) == written


def test_a_time_that_comes_soon_needs_no_day():
    late = NOW.replace(hour=23, minute=50)

    assert clock(late + timedelta(minutes=20), now=late) == "00:10"
    assert clock(late - timedelta(minutes=20), now=late + timedelta(minutes=20)) == "23 Nov, 23:30"


@pytest.mark.parametrize(
    ("share", "written"), [(None, None), (0.0, 0.0), (0.57, 57.0), (0.9989, 99.8), (0.99999, 99.9), (1.0, 100.0)]
)
def test_a_share_is_all_of_it_only_when_it_is(share: float | None, written: float | None):
    assert percent_number(share) == written


@pytest.mark.parametrize(
    ("part", "all_of_them", "written"),
    [
        (2401, 2402, "over 99.9%"),
        (1, 5000, "under 0.1%"),
        (0, 5, "0.0%"),
        (5, 5, "100.0%"),
        (999, 1000, "99.9%"),
        (86_285, 100_000, "86.3%"),
    ],
)
def test_a_share_of_a_funnel_is_all_or_none_only_when_it_is(part: int, all_of_them: int, written: str):
    assert fine_percent(part / all_of_them) == written


def test_the_steps_of_a_run_tell_the_day_once_and_again_when_it_is_another_one():
    queued = NOW.replace(hour=23, minute=59, second=58)
    run = Run(
        sync_id=1, group_id=1, cohort_id=1, cohort_name="", group_name="", destination="", trigger="cli", actor="local",
        status="failed", queued_at=queued, started_at=queued, finished_at=queued + timedelta(seconds=5),
    )  # fmt: skip
    log = {"steps": [{"name": "reading", "at": (queued + timedelta(seconds=3)).isoformat()}]}

    when = [row["When"].replace("\u00a0", " ") for row in run_log.steps(run, log)]

    assert when == ["23 Nov, 23:59:58.0", "23:59:58.0", "24 Nov, 00:00:01.0", "00:00:03.0"]


def test_days_keep_their_capital_within_a_sentence():
    at_set_times = Sync(kind=SyncKind.RECURRING, cron="0 9 * * 1,4", zone="UTC")
    every_hour = Sync(kind=SyncKind.RECURRING, every_minutes=60)

    assert timing_phrase(at_set_times) == "Mondays and Thursdays at 09:00 UTC"
    assert timing_phrase(every_hour) == "every hour"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("mixpanel_odd_cohort", "Cohort cannot be used"),
        ("mixpanel_forbidden", "Mixpanel refused access"),
        ("apptimize_unreadable_answer", "Destination not understood"),
        ("not_connected", "Not connected any more"),
        ("of_a_later_version", "What happened"),
    ],
)
def test_the_cause_of_a_run_is_said_in_so_few_words_that_its_column_holds_them(code: str, words: str):
    said = causes.of_run(Run(status="failed", error_code=code, error_message="What happened. And more."))

    assert said == words
    assert tables.text_px(said) < 180
