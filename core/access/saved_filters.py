"""Filters that people keep under a name, as the address of a page says them: each person has their own."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotAllowed, NotFound, SettingsError
from core.validation import clean_line
from data import saved_filters
from data.saved_filter_models import SavedFilter

LONGEST_NAME, LONGEST_QUERY, MOST_FILTERS = 60, 2000, 50
# The one person of an installation that nobody signs in to.
_LOCAL_PERSON = 0


@action(Role.VIEWER)
def list_saved_filters(bridge: Bridge, actor: Actor, page: str) -> list[SavedFilter]:
    """List what the person has kept of a page's filters, by name."""
    return saved_filters.list_own(bridge.engine, _owner(actor), page)


@action(Role.VIEWER)
def save_filter(bridge: Bridge, actor: Actor, page: str, name: str, query: str) -> SavedFilter:
    """Keep a filter under a name, in the place of one of that name. Raises SettingsError naming the field."""
    line = clean_line(name, "Name", most=LONGEST_NAME)
    if not query or not _is_query(query):
        raise SettingsError("Filters: there is nothing that could be kept.", advice="Filter the list first.")
    if len(query) > LONGEST_QUERY:
        raise SettingsError(
            f"Filters: at most {LONGEST_QUERY:,} characters of an address are kept, and these take {len(query):,}.",
            advice="Shorten the text that is searched for, or choose fewer values.",
        )
    return saved_filters.keep(
        bridge.engine, _owner(actor), page, line, query, check=_check_room, now=bridge.clock.now()
    )


@action(Role.VIEWER)
def remove_saved_filter(bridge: Bridge, actor: Actor, filter_id: int) -> SavedFilter:
    """Remove a filter that the person has kept. Raises NotFound, for another person's too."""
    removed = saved_filters.remove(bridge.engine, _owner(actor), filter_id)
    if removed is None:
        raise NotFound("This filter is not there any more.", advice="Nothing has to be done.")
    return removed


def read_query(query: str) -> list[tuple[str, str]]:
    """Return the parameters of the address that a filter stands for."""
    return parse_qsl(query)


def _is_query(query: str) -> bool:
    try:
        return bool(parse_qsl(query, strict_parsing=True))
    except ValueError:
        return False


def _owner(actor: Actor) -> int:
    if actor.token_id is not None:
        raise NotAllowed("A token has no filters of its own.")
    return _LOCAL_PERSON if actor.person_id is None else actor.person_id


def _check_room(own: Sequence[SavedFilter]) -> None:
    if len(own) >= MOST_FILTERS:
        raise SettingsError(f"Name: at most {MOST_FILTERS} filters can be kept.", advice="Remove one first.")
