"""Until when a sync is to be paused, as people write it. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from core.errors import SettingsError
from core.moments import moment_text
from core.rules.schedules import DAYS
from core.rules.zones import check_zone, find_zone, to_utc
from core.text import shown

FIELD = "Until"
_LONGEST = timedelta(days=366)
# At the edges of the calendar a time has no UTC.
_YEARS = range(1970, 9999)
_ZONE = r"(?: (?P<zone>[^\d\s].*))?"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})"
_DATE = re.compile(rf"(?P<date>\d{{4}}-\d{{2}}-\d{{2}})[ T]{_TIME}{_ZONE}")
_DAY = re.compile(rf"(?P<day>[a-z]+)(?: at)? {_TIME}{_ZONE}", re.IGNORECASE)
_EXAMPLE = (
    "Write a day and a time, as in “2026-11-30 08:00 Europe/Berlin”, “Monday 08:00”, “tomorrow 08:00 UTC” or "
    "“2026-11-30T08:00:00+01:00”."
)


def parse_end(text: str, *, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the time that words name, in UTC. `zone` is for those that name none; without it the machine's own is.

    Raises: SettingsError.
    """
    words = " ".join(text.split())
    if match := _DATE.fullmatch(words):
        at = _on(_date(match["date"]), match)
        return check_end(to_utc(at, _the_zone(match, zone)), now=now)
    if match := _DAY.fullmatch(words):
        own = _the_zone(match, zone)
        return check_end(_next(match["day"].casefold(), match, own, now), now=now)
    try:
        end = datetime.fromisoformat(words)
    except ValueError:
        raise SettingsError(f"{FIELD}: “{shown(words)}” is not understood.", advice=_EXAMPLE) from None
    if end.tzinfo is None:
        raise SettingsError(f"{FIELD}: “{shown(words)}” is not understood.", advice=_EXAMPLE)
    return check_end(end, now=now)


def check_end(end: datetime, *, now: datetime) -> datetime:
    """Return an end in UTC. Refuses one that has passed, or is too far away to be meant. Raises SettingsError."""
    _check_year(end)
    if end <= now:
        raise SettingsError(f"{FIELD}: {moment_text(end)} has passed.", advice="Choose a later time.")
    if end > now + _LONGEST:
        raise SettingsError(f"{FIELD}: {moment_text(end)} is more than a year away.", advice="Pause it without an end.")
    return end.astimezone(UTC)


def _check_year(day: date) -> None:
    if day.year not in _YEARS:
        raise SettingsError(f"{FIELD}: the year {day.year:04} cannot be meant.", advice=_EXAMPLE)


def _next(day: str, match: re.Match[str], zone: tzinfo | None, now: datetime) -> datetime:
    """Return the first time after now that a day of the week, today or tomorrow, has."""
    today = now.astimezone(zone).date()
    names = [name.casefold() for name in DAYS]
    if day == "today":
        return to_utc(_on(today, match), zone)
    if day == "tomorrow":
        return to_utc(_on(today + timedelta(days=1), match), zone)
    number = next((at for at, name in enumerate(names) if day in (name, name[:3])), None)
    if number is None:
        raise SettingsError(f"{FIELD}: “{shown(match[0])}” is not understood.", advice=_EXAMPLE)
    first = today + timedelta(days=(number - today.weekday()) % 7)
    end = to_utc(_on(first, match), zone)
    return end if end > now else to_utc(_on(first + timedelta(days=7), match), zone)


def _the_zone(match: re.Match[str], zone: tzinfo | None) -> tzinfo | None:
    return find_zone(check_zone(match["zone"])) if match["zone"] else zone


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{FIELD}: “{text}” is not a day of the calendar.", advice=_EXAMPLE) from None
    _check_year(day)
    return day


def _on(day: date, match: re.Match[str]) -> datetime:
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour > 23 or minute > 59:
        raise SettingsError(f"{FIELD}: “{shown(match[0])}” has no time of day.", advice="Times go from 00:00 to 23:59.")
    return datetime.combine(day, time(hour, minute))
