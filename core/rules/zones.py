"""Time zones by name, and what a time of day in one of them is in UTC. Pure.

The names and rules are the machine's own, else those of the `tzdata` package.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from core.errors import SettingsError
from core.text import shown

FIELD = "Time zone"
_EXAMPLE = "Use a name such as Europe/Berlin, America/New_York or UTC."
# Names of the files that some systems keep beside the zones.
_NO_ZONES = ("posix/", "right/", "SystemV/", "posixrules", "localtime", "Factory")
_NEAR = 3


@lru_cache(maxsize=1)
def list_zones() -> tuple[str, ...]:
    """List the names of time zones."""
    return tuple(sorted(name for name in available_timezones() if not name.startswith(_NO_ZONES)))


def check_zone(name: str) -> str:
    """Return the name of a time zone as it is spelled; large and small letters are one. Raises SettingsError."""
    entered = " ".join(name.split())
    if not entered:
        raise SettingsError(f"{FIELD}: it is missing.", advice=_EXAMPLE)
    if entered in list_zones():
        return entered
    spelled = {zone.casefold(): zone for zone in list_zones()}
    found = spelled.get(entered.casefold()) or spelled.get(entered.casefold().replace(" ", "_"))
    if found is None:
        raise SettingsError(f"{FIELD}: “{shown(entered)}” is not known.", advice=_near(entered, spelled))
    return found


def _near(entered: str, spelled: dict[str, str]) -> str:
    from difflib import get_close_matches  # only for who mistyped

    wanted = entered.casefold().replace(" ", "_")
    places = {zone.rpartition("/")[2]: zone for zone in sorted(spelled, key=len, reverse=True)}
    names = [places[near] for near in get_close_matches(wanted, places, n=_NEAR, cutoff=0.75)]
    names += get_close_matches(wanted, spelled, n=_NEAR, cutoff=0.75)
    near = list(dict.fromkeys(spelled[name] for name in names))[:_NEAR]
    return f"Did you mean {' or '.join(near)}?" if near else _EXAMPLE


def find_zone(name: str) -> ZoneInfo:
    """Return the rules of a time zone that was checked before. Raises SettingsError where they are gone since."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"{FIELD}: “{shown(name)}” is not known on this machine.",
            advice="Install the system's time zones, or choose another zone.",
        ) from None


def to_utc(local: datetime, zone: tzinfo | None) -> datetime:
    """Return when it is that time of day in a zone, None for the machine's own.

    A time that a change of the clocks leaves out is the first one after it; one that comes twice is the first of both.
    """
    at = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    while at.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        local += timedelta(minutes=1)
        at = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return at
