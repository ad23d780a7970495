"""What a thing that a page has open is called: by its name, told apart from another one that has the same."""

from __future__ import annotations

from collections.abc import Callable

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.cohort_list import last_names
from core.connections.lookup import choose_mixpanel
from core.connections.project import project_key
from data import alert_channels, associations, connections, people, runs, search
from data.models import MIXPANEL_SIDE

Finder = Callable[[Bridge, int], str]


@action(Role.VIEWER)
def find_open_name(bridge: Bridge, actor: Actor, kind: str, number: int) -> str:
    """Return what is called by this number; "" where nothing is, or where the person may not open it.

    `kind` is the parameter of the address that names what is open. No vendor is asked.
    """
    role, find = _FINDERS.get(kind, (Role.VIEWER, _nothing))
    return find(bridge, number) if actor.role >= role else ""


def _nothing(bridge: Bridge, number: int) -> str:
    return ""


def _cohort(bridge: Bridge, number: int) -> str:
    project = choose_mixpanel(connections.list_side(bridge.engine, MIXPANEL_SIDE))
    # The list may not have been read yet: groups were made of cohorts that had a name then.
    names = {row.cohort_id: row.cohort_name for row in search.list_groups(bridge.engine)}
    names |= last_names(bridge, project_key(project)) if project else {}
    return _tell_apart(names.get(number, ""), list(names.values()), f" (cohort {number})")


def _group(bridge: Bridge, number: int) -> str:
    rows = search.list_groups(bridge.engine)
    named = {row.id: row.delivered_name or row.name for row in rows}
    places = {row.id: row.destination for row in rows}
    return _tell_apart(named.get(number, ""), list(named.values()), f", {places.get(number)}")


def _sync(bridge: Bridge, number: int) -> str:
    named = {row.id: row.delivered_name or row.name for row in search.list_syncs(bridge.engine, number)}
    return _tell_apart(named.get(number, ""), list(named.values()), f" (sync {number})")


def _run(bridge: Bridge, number: int) -> str:
    run = runs.get(bridge.engine, number)
    return f"Run {number}: {run.group_name}" if run else ""


def _association(bridge: Bridge, number: int) -> str:
    association = associations.get(bridge.engine, number)
    return association.source if association else ""


def _person(bridge: Bridge, number: int) -> str:
    return next((person.email for person in people.list_people(bridge.engine) if person.id == number), "")


def _channel(bridge: Bridge, number: int) -> str:
    channel = alert_channels.get(bridge.engine, number)
    return channel.name if channel and not channel.removed else ""


def _tell_apart(name: str, names: list[str], detail: str) -> str:
    return f"{name}{detail}" if name and names.count(name) > 1 else name


_FINDERS: dict[str, tuple[Role, Finder]] = {
    "cohort": (Role.ANALYST, _cohort),
    "sync": (Role.ANALYST, _sync),
    "group": (Role.VIEWER, _group),
    "run": (Role.VIEWER, _run),
    "association": (Role.VIEWER, _association),
    "person": (Role.ADMIN, _person),
    "channel": (Role.ADMIN, _channel),
}
