"""What is checked before a recurring sync is added or changed."""

from __future__ import annotations

from collections.abc import Sequence

from core.bridge import Bridge
from core.connections.cohort_list import SHARED_FOR
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import BudgetTooSmall, NotConnected, SettingsError
from core.rules import due_times
from core.rules.due_times import INTERVALS, interval_text
from core.syncs.listing import sync_errors
from core.validation import clean_line
from data import syncs
from data.models import Connection

_TAG_LENGTH, _MOST_TAGS = 40, 10


def queries_an_hour(intervals: Sequence[int]) -> float:
    """Return how many counted queries recurring syncs at these intervals need of an hour."""
    return due_times.queries_an_hour(intervals, list_shared_for=SHARED_FOR)


def require_room(limit: int, present: Sequence[int], every_minutes: int) -> None:
    """Refuse one more interval beside those of a project's syncs when its queries an hour do not allow it.

    Raises: BudgetTooSmall with an interval that would fit.
    """
    if queries_an_hour([*present, every_minutes]) <= limit:
        return
    longer = [other for other in INTERVALS if other > every_minutes]
    fitting = [other for other in longer if queries_an_hour([*present, other]) <= limit]
    together = [
        other
        for other in longer
        if queries_an_hour([max(other, minutes) for minutes in [*present, every_minutes]]) <= limit
    ]
    if fitting:
        advice = f"It fits every {interval_text(fitting[0])}."
    elif together:
        advice = f"All {len(present) + 1} fit every {interval_text(together[0])}: give the others that interval first."
    else:
        advice = "No interval fits: pause or remove another sync."
    raise BudgetTooSmall(
        f"Mixpanel allows this project {limit} queries an hour, and {len(present)} recurring syncs use them: one more "
        f"every {interval_text(every_minutes)} does not fit.",
        advice=advice,
    )


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
    if len(kept) > _MOST_TAGS:
        raise SettingsError(f"Tags: a sync has at most {_MOST_TAGS}.")
    return kept


def check_schedule(every_minutes: int, max_shrink: int | None) -> None:
    """Refuse an interval or a shrink limit that cannot be used. Raises SettingsError."""
    check_interval(every_minutes)
    if max_shrink is not None:
        check_shrink_limit(max_shrink)


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
