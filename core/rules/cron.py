"""Cron expressions: their normal form, the times that they name, how close those come. Pure.

Several expressions are one text, separated by semicolons: 08:00 and 17:30 are no one expression. What is right over
the changes of summer time is what Debian's cron does, which the cronsim library follows: a time that is left out runs
right after the change, one that comes twice runs once. Of a schedule for every hour (`*`) each real hour has its runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from heapq import merge
from itertools import pairwise

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from core.errors import SettingsError
from core.rules.zones import find_zone
from core.text import shown
from data.models import Schedule

FIELD = "Cron"
SEPARATOR = "; "
_LONGEST_TEXT, _MOST_EXPRESSIONS = 500, 24
_FIELDS = {
    Field.MINUTE: ("minute", "0 to 59"),
    Field.HOUR: ("hour", "0 to 23"),
    Field.DAY: ("day of the month", "1 to 31"),
    Field.MONTH: ("month", "1 to 12, or JAN to DEC"),
    Field.DOW: ("day of the week", "0 to 7, from Sunday to Sunday, or SUN to SAT"),
}
_EXAMPLE = "Five fields: minute, hour, day of the month, month, day of the week, as in `0 8 * * 1-5`."
_YEAR = timedelta(days=365)
_DAY_MINUTES = 24 * 60
# Days on which every date is every day of the week are not all among these, but every pair of neighbors in a week is.
_LOOKED_AT_DAYS, _FIRST_DAY = 5 * 366, date(2024, 1, 1)
# A clock that is set forward by more than this leaves out days, not hours: what they had is not made up for.
_LONGEST_CHANGE = timedelta(hours=3)


# --- the normal form -----------------------------------------------------------------------------------------------


def normalize(text: str) -> str:
    """Return cron expressions in their normal form. Raises SettingsError naming the field."""
    parts = [" ".join(part.split()) for part in text[: _LONGEST_TEXT + 1].split(";")]
    if len(text) > _LONGEST_TEXT or len(parts) > _MOST_EXPRESSIONS:
        raise SettingsError(f"{FIELD}: this is too long.", advice=f"At most {_MOST_EXPRESSIONS} expressions.")
    expressions = sorted({_normal(part) for part in parts if part}, key=_order)
    if not expressions:
        raise SettingsError(f"{FIELD}: it is missing.", advice=_EXAMPLE)
    normal = SEPARATOR.join(expressions)
    if len(normal) > _LONGEST_TEXT:
        raise SettingsError(f"{FIELD}: this is too long.", advice="Write it with fewer lists.")
    return normal


def _normal(expression: str) -> str:
    fields = expression.upper().split()
    if len(fields) != len(_FIELDS):
        raise SettingsError(f"{FIELD}: “{shown(expression)}” is not five fields.", advice=_EXAMPLE)
    for kind, field in zip(_FIELDS, fields, strict=True):
        _check_field(kind, field)
    sim = _parse(expression)
    day, weekday = _normal_days(sim, fields[2], fields[4])
    minute, hour = _steps(sim.minutes, 60), _steps(sim.hours, 24)
    month = "*" if len(sim.months) == 12 else _ranges(sim.months)
    return f"{minute} {hour} {day} {month} {weekday}"


def _check_field(kind: Field, text: str) -> None:
    name, span = _FIELDS[kind]
    try:
        kind.parse(text)
    except CronSimError:
        raise SettingsError(f"{FIELD}: “{shown(text)}” is no {name}.", advice=f"From {span}.") from None


def _sim(expression: str) -> CronSim:
    return CronSim(expression, datetime(2024, 1, 1))  # noqa: DTZ001 - times of day, in no zone


def _parse(expression: str) -> CronSim:
    try:
        sim = _sim(expression)
        is_never = next(sim, None) is None
    except CronSimError:
        is_never, sim = True, None
    if is_never or sim is None:
        raise SettingsError(
            f"{FIELD}: “{shown(expression)}” names a day that never comes.", advice="Choose a day that the month has."
        )
    return sim


def _normal_days(sim: CronSim, day: str, weekday: str) -> tuple[str, str]:
    """Write both fields for days: where neither begins with a star, either of them is enough."""
    days, weekdays = _whole(sim.days), {number % 7 for number in _whole(sim.weekdays)}
    every_date, every_weekday = days >= set(range(1, 32)), len(weekdays) == 7
    if not sim.day_and and (every_date or every_weekday):
        return "*", "*"
    last = [name for item, name in ((CronSim.LAST, "L"), (CronSim.LAST_WEEKDAY, "LW")) if item in sim.days]
    special = sorted(_special(item) for item in sim.weekdays if isinstance(item, tuple))
    return (
        "*" if every_date else _days(day, days, last),
        "*" if every_weekday else _days(weekday, weekdays, special),
    )


def _days(field: str, values: set[int], special: list[str]) -> str:
    """Write a field for days; one that begins with a star is left as it is, since that star means more."""
    return field if field.startswith("*") else ",".join(filter(None, [_ranges(values), *special]))


def _whole(items: Iterable[object]) -> set[int]:
    return {item for item in items if isinstance(item, int) and item >= 0}


def _special(item: tuple[int, int]) -> str:
    weekday, which = item
    return f"{weekday % 7}L" if which == CronSim.LAST else f"{weekday % 7}#{which}"


def _steps(values: set[int], count: int) -> str:
    """Write minutes or hours: all of them, evenly spaced ones by their step, others one by one or in ranges."""
    if len(values) == count:
        return "*"
    step = count // len(values)
    return f"*/{step}" if len(values) > 2 and values == set(range(0, count, step)) else _ranges(values)


def _ranges(values: Iterable[int]) -> str:
    runs = list[list[int]]()
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _order(expression: str) -> tuple[list[int], str]:
    """Put expressions in the order of their first time of day."""
    sim = _sim(expression)
    return [min(sim.hours), min(sim.minutes)], expression


# --- times ---------------------------------------------------------------------------------------------------------


def list_slots(schedule: Schedule, *, after: datetime) -> Iterator[datetime]:
    """Yield the times after `after`, in UTC, each once. Raises SettingsError where the zone is not known."""
    zone = find_zone(schedule.zone)
    local, last = after.astimezone(zone), after
    # Where the clocks were set back, what comes first may have been already.
    for slot in merge(*(_slots(expression, local) for expression in _explicit(schedule.cron))):
        if slot > last:
            yield slot
            last = slot


def _slots(expression: str, local: datetime) -> Iterator[datetime]:
    for at in CronSim(expression, local):
        slot = at.astimezone(UTC)
        if not _follows_left_out_days(slot, at) or _is_named(expression, at):
            yield slot


def _follows_left_out_days(slot: datetime, at: datetime) -> bool:
    before = (slot - timedelta(seconds=1)).astimezone(at.tzinfo)
    left_out = at.replace(tzinfo=None) - before.replace(tzinfo=None)
    return left_out > _LONGEST_CHANGE


def _is_named(expression: str, at: datetime) -> bool:
    local = at.replace(tzinfo=None)
    return next(CronSim(expression, local - timedelta(seconds=1)), None) == local


@lru_cache(maxsize=1024)
def _explicit(cron: str) -> tuple[str, ...]:
    """Return the expressions as the library takes them: a star only where every hour has its runs.

    It takes any expression with a star in front for one, `*/15 8-17` too, and asks such hours of the clock one by one,
    which leaves some out where the clocks change by half an hour.
    """
    try:
        return tuple(_without_steps(each) if each.split()[1] != "*" else each for each in cron.split(SEPARATOR))
    except (CronSimError, IndexError):
        raise SettingsError(f"{FIELD}: “{shown(cron)}” cannot be read.", advice="Enter the times again.") from None


def _without_steps(expression: str) -> str:
    sim = _sim(expression)
    minutes, hours = (",".join(map(str, sorted(values))) for values in (sim.minutes, sim.hours))
    return " ".join([minutes, hours, *expression.split()[2:]])


def read_times(expressions: str) -> tuple[set[int], list[time]]:
    """Return the days of the week, Sunday is 0, and the times of day, of expressions that are alike in their days."""
    sims = [_sim(expression) for expression in expressions.split(SEPARATOR)]
    times = {time(hour, minute) for sim in sims for hour in sim.hours for minute in sim.minutes}
    return {number % 7 for number in _whole(sims[0].weekdays)}, sorted(times)


# --- how close they come -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def smallest_gap(cron: str) -> timedelta:
    """Return the shortest time between two times of day that expressions name, as if no clock was ever changed."""
    sims = [_sim(expression) for expression in cron.split(SEPARATOR)]
    minutes = [{60 * hour + minute for hour in sim.hours for minute in sim.minutes} for sim in sims]
    of_days = dict[tuple[bool, ...], list[int]]()
    smallest, last = _YEAR // timedelta(minutes=1), None
    for number in range(_LOOKED_AT_DAYS):
        day = _FIRST_DAY + timedelta(days=number)
        named = tuple(day.month in sim.months and sim.match_day(day) for sim in sims)
        if named not in of_days:
            of_days[named] = sorted(
                set[int]().union(*(own for own, is_named in zip(minutes, named, strict=True) if is_named))
            )
            smallest = min([smallest, *(after - before for before, after in pairwise(of_days[named]))])
        if of_days[named]:
            if last is not None:
                smallest = min(smallest, number * _DAY_MINUTES + of_days[named][0] - last)
            last = number * _DAY_MINUTES + of_days[named][-1]
    return timedelta(minutes=smallest)
