"""How names, numbers and times are written on the screens."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from core.errors import CohortBridgeError
from core.moments import replace_moments
from core.rules import due_times
from core.rules.schedules import listed, text_of
from data.models import Group, Schedule, Sync, Timing

# Everything that Markdown could take for a sign; Streamlit adds ":", "$" and "<" to the usual ones.
_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")
# Streamlit also rewrites plain text: arrows and dashes, ":streamlit:", and whatever looks like an address becomes a
# link. An invisible joiner between the characters keeps them what they are.
_REWRITTEN = re.compile(
    r"(?<=[<>=~-])(?=[<>=~-])|(?<=:)(?=streamlit:)|(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE
)
# A text that begins or ends with a blank is not bold between two asterisks; one that begins with a joiner is.
_BLANK_END = re.compile(r"\A(?=\s)|(?<=\s)\Z")
_JOINER = "\u2060"
# A command in a message of ours: the letters in it can be no sign.
_COMMAND = re.compile(r"`(python -m core[a-z0-9 -]*)`")
# At the beginning of a sentence: a name within one may say the same.
_ASKING = re.compile(r"(?:\A|(?<=[.!?] ))Ask an admin(?: of Cohort Bridge)? to (\w)")
_NEAR = timedelta(days=180)
_READER_IS_ADMIN = "formatting_reader_is_admin"
# How the intervals of a recurring sync, in minutes, are called.
EVERY = {15: "Every 15 minutes", 30: "Every 30 minutes", 60: "Every hour", 1440: "Every day"}


def timing_text(sync: Sync) -> str:
    """Format how often a sync runs: Every 15 minutes, Weekdays at 08:00 Europe/Berlin."""
    text = timing_phrase(sync)
    return text[0].upper() + text[1:]


def timing_phrase(sync: Sync) -> str:
    """Format how often a sync runs within a sentence: names of days keep their capital."""
    return interval_phrase(sync.timing)


def interval_phrase(timing: Timing | None) -> str:
    """Format an interval or a schedule within a sentence; None: once."""
    if isinstance(timing, Schedule):
        return text_of(timing)
    return EVERY.get(timing or 0, f"Every {timing} minutes" if timing else "Once").lower()


def own_times(sync: Sync) -> str:
    """Format when a sync with an interval is due, on the reader's clocks: at :02 and :32; "" with a schedule."""
    every = sync.every_minutes
    if not every or sync.id is None:
        return ""
    first = due_times.next_slot(sync.id, every, after=_now()).astimezone(zone())
    if every > 60:
        return f"at {first:%H:%M}"
    minutes = sorted((first.minute + every * number) % 60 for number in range(60 // every))
    return f"at {listed([f':{minute:02}' for minute in minutes])}"


def paused_text(sync: Sync, *, now: datetime | None = None) -> str:
    """Format that a sync is paused, and until when."""
    return f"Paused until {clock(sync.paused_until, now=now)}" if sync.paused_until else "Paused"


def pause_reason(sync: Sync) -> str:
    """Format why a sync is paused, and who ends that when."""
    resumes = f" A worker resumes it at {clock(sync.paused_until)}." if sync.paused_until else ""
    return to_reader(sync.paused_reason or "Paused.") + resumes


def escape_markdown(text: object) -> str:
    """Escape a text of unknown origin so that Markdown shows it as it is: no sign, link, color or formula in it works.

    For labels and messages; line breaks and other controls become spaces, since those are one line each, and what would
    turn the direction of the words of ours after it is replaced.
    """
    return _BLANK_END.sub(_JOINER, _escape(text))


def _escape(text: object) -> str:
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", str(text))
    line = re.sub("[\u202a-\u202e\u2066-\u2069]", "\ufffd", line)
    return _SIGNS.sub(r"\\\1", _REWRITTEN.sub(_JOINER, line))


def in_gray(option: str) -> str:
    """Color an option of a segmented control, which would be in the buttons' blue where chosen: too dark on dark."""
    return f":gray[{option}]"


def error_text(exc: CohortBridgeError) -> str:
    """Format an error as message and advice, for `st.error`."""
    return message_text(exc.message, exc.advice)


def message_text(message: str | None, advice: str | None) -> str:
    """Format what went wrong and what the reader can do about it; only a command of ours works in it, as code."""
    text = to_reader(f"{message or ''} {advice or ''}".strip())
    parts = _COMMAND.split(text)  # every second part is a command
    return "".join(f"`{part}`" if place % 2 else _escape(part) for place, part in enumerate(parts))


def know_reader(*, is_admin: bool) -> None:
    """Note who reads this session's pages: errors do not know whom they tell to ask an admin."""
    st.session_state[_READER_IS_ADMIN] = is_admin


def to_reader(text: str) -> str:
    """Return a message as it is to be said to the reader: with times in the reader's zone.

    An admin is told what to do, and not to ask one.
    """
    text = replace_moments(text, _dated)
    if not st.session_state.get(_READER_IS_ADMIN):
        return text
    return _ASKING.sub(lambda match: match[1].upper(), text)


def _dated(at: datetime) -> str:
    """Format a time that may be far away: with its year where that could be another one than is thought of."""
    return clock(at) if abs(at - _now()) < _NEAR else at.astimezone(zone()).strftime("%-d %b %Y, %H:%M")


def group_name(group: Group) -> str:
    """Return a group's name as it was last delivered; Apptimize shows it with “Mixpanel: ” before it."""
    return group.delivered_name or group.name


def number(value: int) -> str:
    """Format a count with thousands separators."""
    return f"{value:,}"


def pluralize(value: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun: 1 profile, 2,400 profiles."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Format a share: 0 % and 100 % only when it is none or all of it."""
    shown = round(share * 100)
    if 0 < share < 1 and shown in (0, 100):
        return "under 1%" if shown == 0 else "over 99%"
    return f"{shown}%"


def fine_percent(share: float) -> str:
    """Format a share with one decimal: 0.0 % and 100.0 % only when it is none or all of it."""
    shown = round(share * 100, 1)
    if 0 < share < 1 and shown in (0, 100):
        return "under 0.1%" if shown == 0 else "over 99.9%"
    return f"{shown:.1f}%"


def percent_number(share: float | None) -> float | None:
    """Return a share in percent for a column with one decimal: 100.0 only when it is all of it."""
    return None if share is None else int(round(share * 1000, 6)) / 10


def zone() -> ZoneInfo:
    """Return the visitor's time zone, UTC when the browser does not report it."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def moment(at: datetime | None) -> str:
    """Format a time in the reader's zone."""
    return at.astimezone(zone()).strftime("%-d %b %Y, %H:%M:%S") if at else "never"


def day(at: datetime) -> str:
    """Format the day in the reader's zone, without the year."""
    return at.astimezone(zone()).strftime("%-d %b")


def date(at: datetime) -> str:
    """Format the day in the reader's zone, with the year."""
    return at.astimezone(zone()).strftime("%-d %b %Y")


def precise(at: datetime) -> str:
    """Format the time of day in the reader's zone, to a tenth of a second."""
    local = at.astimezone(zone())
    return f"{local:%H:%M:%S}.{local.microsecond // 100_000}"


def clock(at: datetime, *, now: datetime | None = None) -> str:
    """Format the time of day in the reader's zone, with the day when it is another one and not soon."""
    local, here = at.astimezone(zone()), (now or _now()).astimezone(zone())
    is_plain = local.date() == here.date() or timedelta(0) < local - here < timedelta(hours=12)
    return local.strftime("%H:%M" if is_plain else "%-d %b, %H:%M")


def age(at: datetime | None, *, now: datetime | None = None) -> str:
    """Format how long ago something was: `just now`, `5 minutes ago`, a date after a month."""
    if at is None:
        return "never"
    passed = (now or _now()) - at
    if passed < timedelta(seconds=10):
        return "just now"
    if passed > timedelta(days=30):
        return date(at)
    return f"{about(passed)} ago"


def duration(seconds: float) -> str:
    """Format a length of time: 0.8 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _now() -> datetime:
    from pages.shell import resources  # not above: it formats the error of a storage that cannot be opened

    return resources.now()


def about(passed: timedelta) -> str:
    """Format a length of time in one unit, to the nearest: 2 days, and 3 days of 2 days and 14 hours."""
    seconds = passed.total_seconds()
    for unit, size_s, most in (("second", 1, 60), ("minute", 60, 60), ("hour", 3_600, 24)):
        count = _nearest(seconds / size_s)
        if count < most:
            return pluralize(count, unit)
    return pluralize(_nearest(seconds / 86_400), "day")


def span(left: timedelta) -> str:
    """Format how long something lasts that is waited for, in two units: 2 days 14 hours, 3 hours 20 minutes."""
    seconds = left.total_seconds()
    minutes, hours = _nearest(seconds / 60), _nearest(seconds / 3_600)
    if minutes < 60:
        return pluralize(minutes, "minute") if minutes else pluralize(_nearest(seconds), "second")
    if minutes < 24 * 60:
        return _two(divmod(minutes, 60), "hour", "minute")
    return _two(divmod(hours, 24), "day", "hour")


def _two(counts: tuple[int, int], large: str, small: str) -> str:
    first, second = counts
    return pluralize(first, large) + (f" {pluralize(second, small)}" if second else "")


def _nearest(number: float) -> int:
    """Round as people do: `round` would make 2 of 2.5."""
    return int(number + 0.5)
