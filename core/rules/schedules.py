"""Schedules as people write them: words such as `weekdays at 08:00 Europe/Berlin`, or cron for who wants it. Pure.

`parse` and `text_of` are each other's inverse.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import time, timedelta

from core.errors import SettingsError
from core.rules import cron
from core.rules.due_times import INTERVALS
from core.rules.zones import check_zone
from core.text import shown
from data.models import Schedule

FIELD = "Schedule"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVERY_DAY, WEEKDAYS, WEEKENDS = frozenset(range(7)), frozenset(range(5)), frozenset((5, 6))
# More times of day than so many are no sentence: they are shown as cron.
MOST_TIMES = 6
_SETS = {"daily": EVERY_DAY, "every day": EVERY_DAY, "weekdays": WEEKDAYS, "weekends": WEEKENDS}
_SHORTEST = timedelta(minutes=INTERVALS[0])

_AND = r"(?:,? and |, ?)"
_TIME = r"\d{1,2}:\d{2}"
_WORDS = re.compile(rf"(?P<days>.+?) at (?P<times>{_TIME}(?:{_AND}{_TIME})*)(?: (?P<zone>.+))?", re.IGNORECASE)
_HOURLY = re.compile(r"hourly(?: at :(?P<minute>\d{2}))?(?: (?P<zone>.+))?", re.IGNORECASE)
_CRON = re.compile(r"cron (?P<cron>.+) (?P<zone>\S+)", re.IGNORECASE)
_EXAMPLE = (
    "Write the days and the times, as in “weekdays at 08:00 Europe/Berlin”, “daily at 08:00 and 17:30 UTC”, "
    "“Mondays, Thursdays at 9:00 America/New_York” or “hourly UTC”."
)


def parse(text: str, *, zone: str | None = None) -> Schedule:
    """Return the schedule that words, or `cron`, expressions and a zone, name; `zone` is for words without one.

    Raises: SettingsError naming the field.
    """
    words = " ".join(text.split())
    if zone and words.casefold().startswith("cron "):
        return from_cron(words[len("cron ") :], zone)
    if match := _CRON.fullmatch(words):
        return from_cron(match["cron"], match["zone"])
    if match := _HOURLY.fullmatch(words):
        return from_cron(f"{int(match['minute'] or 0)} * * * *", _the_zone(match["zone"], zone))
    if match := _WORDS.fullmatch(words):
        times = [_time(part) for part in re.split(_AND, match["times"])]
        return from_days(_days(match["days"]), times, _the_zone(match["zone"], zone))
    raise SettingsError(f"{FIELD}: “{shown(words)}” is not understood.", advice=_EXAMPLE)


def from_cron(expressions: str, zone: str) -> Schedule:
    """Return the schedule of cron expressions, several separated by semicolons. Raises SettingsError."""
    return _checked(cron.normalize(expressions), zone, cron.FIELD)


def from_days(days: Collection[int], times: Iterable[time], zone: str) -> Schedule:
    """Return the schedule that runs on days of the week, Monday is 0, at times of day. Raises SettingsError."""
    of_day = sorted({at.replace(second=0, microsecond=0) for at in times})
    if not days:
        raise SettingsError("Days: choose at least one day of the week.")
    if not of_day:
        raise SettingsError("Times: enter at least one time of day.")
    return _checked(_write(frozenset(days), of_day), zone, FIELD)


def _checked(expressions: str, zone: str, field: str) -> Schedule:
    known = check_zone(zone)
    plain = read_days(expressions)
    if plain is not None:  # however it was written: the same days and times are the same schedule
        expressions = _write(*plain)
    gap = cron.smallest_gap(expressions)
    if gap < _SHORTEST:
        raise SettingsError(
            f"{field}: two of its times lie {gap // timedelta(minutes=1)} min apart.",
            advice=f"Leave at least {INTERVALS[0]} minutes between them.",
        )
    return Schedule(expressions, known)


def _write(days: frozenset[int], times: Iterable[time]) -> str:
    hours = dict[int, set[int]]()
    for at in times:
        hours.setdefault(at.minute, set()).add(at.hour)
    alike = dict[frozenset[int], list[int]]()
    for minute, own in hours.items():
        alike.setdefault(frozenset(own), []).append(minute)
    on = ",".join(str((day + 1) % 7) for day in sorted(days)) if days != EVERY_DAY else "*"
    return cron.normalize(
        cron.SEPARATOR.join(
            f"{','.join(map(str, minutes))} {','.join(map(str, own))} * * {on}" for own, minutes in alike.items()
        )
    )


# --- the way back --------------------------------------------------------------------------------------------------


def read_days(expressions: str) -> tuple[frozenset[int], list[time]] | None:
    """Return the days of the week, Monday is 0, and the times of day of cron expressions that say nothing else."""
    fields = [expression.split() for expression in expressions.split(cron.SEPARATOR)]
    plain = [field[1] != "*" and field[2:4] == ["*", "*"] and field[4] == fields[0][4] for field in fields]
    on = fields[0][4]
    if not all(plain) or not re.fullmatch(r"\*|[0-7,-]+", on):
        return None
    days, times = cron.read_times(expressions)
    return frozenset((day + 6) % 7 for day in days), times


def text_of(schedule: Schedule) -> str:
    """Format a schedule in words where it has some, else as cron."""
    hourly = re.fullmatch(r"(\d+) \* \* \* \*", schedule.cron)
    if hourly:
        at = "" if hourly[1] == "0" else f" at :{int(hourly[1]):02}"
        return f"hourly{at} {schedule.zone}"
    plain = read_days(schedule.cron)
    if plain is None or len(plain[1]) > MOST_TIMES:
        return f"cron {schedule.cron} {schedule.zone}"
    days, times = plain
    return f"{_days_text(days)} at {listed([f'{at:%H:%M}' for at in times])} {schedule.zone}"


def _days_text(days: frozenset[int]) -> str:
    for name, those in _SETS.items():
        if days == those:
            return name
    return listed([f"{DAYS[day]}s" for day in sorted(days)])


def listed(words: list[str]) -> str:
    """Format words in a row: one, two and three."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


# --- words ---------------------------------------------------------------------------------------------------------


def _the_zone(written: str | None, beside: str | None) -> str:
    if written and beside:
        raise SettingsError("Time zone: it is given twice.", advice="Write it in the schedule, or beside it.")
    return written or beside or ""


def _time(text: str) -> time:
    hour, _, minute = text.partition(":")
    if int(hour) > 23 or int(minute) > 59:
        raise SettingsError(f"{FIELD}: “{text}” is not a time of day.", advice="Times go from 00:00 to 23:59.")
    return time(int(hour), int(minute))


def _days(text: str) -> set[int]:
    if text.casefold() in _SETS:
        return set(_SETS[text.casefold()])
    return {_day(part) for part in re.split(_AND, text)}


def _day(text: str) -> int:
    word = text.casefold()
    for number, name in enumerate(DAYS):
        if word in {name.casefold(), f"{name}s".casefold(), name[:3].casefold()}:
            return number
    raise SettingsError(f"{FIELD}: “{shown(text)}” is not a day of the week.", advice=_EXAMPLE)
