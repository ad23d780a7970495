"""What is checked before a recurring sync is added or changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.bridge import Bridge
from core.connections.cohort_list import SHARED_FOR
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import BudgetTooSmall, NotConnected, SettingsError
from core.rules import due_times, schedules
from core.rules.due_times import INTERVALS, interval_text
from core.syncs.listing import sync_errors
from core.validation import clean_line
from data import syncs
from data.models import Connection, Schedule, Sync, Timing

_TAG_LENGTH, MOST_TAGS = 40, 10


def queries_an_hour(timings: Sequence[Timing], *, now: datetime) -> float:
    """Return how many counted queries recurring syncs that run so often need in their busiest hour."""
    return due_times.queries_an_hour(timings, list_shared_for=SHARED_FOR, now=now)


def require_room(limit: int, present: Sequence[Timing], timing: Timing, *, now: datetime) -> None:
    """Refuse one more sync beside those of a project, which run so often, when its queries an hour do not allow it.

    Raises: BudgetTooSmall with an interval that would fit.
    """
    if queries_an_hour([*present, timing], now=now) <= limit:
        return
    if isinstance(timing, Schedule):
        often = "at these times"
        advice = "All that run within one hour count: choose other times, or pause or remove another sync."
    else:
        often, advice = f"every {interval_text(timing)}", _fitting(limit, present, timing, now)
    raise BudgetTooSmall(
        f"Mixpanel allows this project {limit} queries an hour, and {len(present)} recurring syncs use them: one more "
        f"{often} does not fit.",
        advice=advice,
    )


def require_room_for(sync: Sync, limit: int, present: Sequence[Timing], *, now: datetime) -> None:
    """Refuse a recurring sync of which there is no room beside the others. Raises BudgetTooSmall."""
    timing = sync.timing
    assert timing is not None
    require_room(limit, present, timing, now=now)


def _fitting(limit: int, present: Sequence[Timing], every_minutes: int, now: datetime) -> str:
    """Format which longer interval fits, for one more sync or for all of them."""
    for other in (longer := [other for other in INTERVALS if other > every_minutes]):
        if queries_an_hour([*present, other], now=now) <= limit:
            return f"It fits every {interval_text(other)}."
    for other in longer:
        all_longer = [max(other, each) if isinstance(each, int) else each for each in [*present, every_minutes]]
        if queries_an_hour(all_longer, now=now) <= limit:
            return f"All {len(present) + 1} fit every {interval_text(other)}: give the others that interval first."
    return "No interval fits: pause or remove another sync."


def get_query_limit(bridge: Bridge, mixpanel: Connection) -> int:
    """Return how many queries an hour the connection's project allows."""
    return budget_for(bridge, project_for(bridge, mixpanel).key).status().limit


def get_limit_for(bridge: Bridge, sync_id: int) -> int:
    """Return how many queries an hour a recurring sync's own connection allows: another's limit does not apply to it.

    Raises: NotFound, NotConnected.
    """
    with sync_errors():
        sync = syncs.get_recurring(bridge.engine, sync_id)
    connection = syncs.get_mixpanel(bridge.engine, sync)
    if connection.removed:
        raise NotConnected("The Mixpanel connection of this sync was removed.")
    return get_query_limit(bridge, connection)


def checked_tags(tags: Sequence[str]) -> list[str]:
    """Return tags as they are kept: trimmed, each once, in order. Raises SettingsError."""
    kept = sorted({clean_line(tag, "Tag", most=_TAG_LENGTH) for tag in tags if tag.strip()}, key=str.casefold)
    if len(kept) > MOST_TAGS:
        raise SettingsError(f"Tags: a sync has at most {MOST_TAGS}.")
    return kept


def check_settings(every_minutes: int | None, schedule: Schedule | None, max_shrink: int | None) -> Timing:
    """Return how often a sync is to run: at set times if there are any, else at an interval.

    Refuses a shrink limit that cannot be used, too. Raises SettingsError.
    """
    if max_shrink is not None:
        check_shrink_limit(max_shrink)
    if schedule is not None:
        return schedules.from_cron(schedule.cron, schedule.zone)
    return check_interval(every_minutes or 0)


def check_interval(every_minutes: int) -> int:
    """Return an interval that can be used. Raises SettingsError."""
    if every_minutes not in INTERVALS:
        raise SettingsError("Interval: choose 15, 30, 60 or 1440 minutes.")
    return every_minutes


def check_shrink_limit(max_shrink: int) -> int:
    """Return a shrink limit that can be used. Raises SettingsError."""
    if not 0 <= max_shrink <= 100:
        raise SettingsError("Shrink limit: this is a share from 0 to 100 percent.")
    return max_shrink
