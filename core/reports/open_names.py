"""What a thing that a page has open is called: by its name, told apart from another one that has the same."""

from __future__ import annotations

from collections.abc import Callable

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.cohort_list import last_names
from core.connections.lookup import choose_mixpanel, choose_project
from core.connections.project import project_key
from data import alert_channels, associations, connections, groups, people, runs, search
from data.models import MIXPANEL_SIDE

Finder = Callable[[Bridge, int, int | None], str]


@action(Role.VIEWER)
def find_open_name(bridge: Bridge, actor: Actor, kind: str, number: int, *, project_id: int | None = None) -> str:
    """Return what is called by this number; "" where nothing is, or where the person may not open it.

    `kind` is the parameter of the address that names what is open, `project_id` the project that a cohort is of, None:
    the one in use. No vendor is asked.
    """
    role, find = _FINDERS.get(kind, (Role.VIEWER, _nothing))
    return find(bridge, number, project_id) if actor.role >= role else ""


def _nothing(bridge: Bridge, number: int, project_id: int | None) -> str:
    return ""


def _cohort(bridge: Bridge, number: int, project_id: int | None) -> str:
    present = connections.list_side(bridge.engine, MIXPANEL_SIDE)
    project = choose_mixpanel(present) if project_id is None else choose_project(present, project_id)
    if project is None:
        return ""
    names = last_names(bridge, project_key(project))
    if number in names:
        return _tell_apart(names[number], list(names.values()), f" (cohort {number})")
    # The list may not have been read yet: groups were made of cohorts that had a name then.
    made_of_it = groups.list_of_cohort(bridge.engine, project.project_id, number)
    return made_of_it[0].cohort_name if made_of_it else ""


def _group(bridge: Bridge, number: int, project_id: int | None) -> str:
    rows = search.list_groups(bridge.engine)
    named = {row.id: row.delivered_name or row.name for row in rows}
    places = {row.id: row.destination for row in rows}
    return _tell_apart(named.get(number, ""), list(named.values()), f", {places.get(number)}")


def _sync(bridge: Bridge, number: int, project_id: int | None) -> str:
    rows = search.list_syncs(bridge.engine, number)
    named = {row.id: row.delivered_name or row.name for row in rows}
    placed = {row.id: f"{named[row.id]}, {row.destination}" for row in rows}
    if list(named.values()).count(named.get(number, "")) < 2:
        return named.get(number, "")
    return _tell_apart(placed.get(number, ""), list(placed.values()), f" (sync {number})")


def _run(bridge: Bridge, number: int, project_id: int | None) -> str:
    run = runs.get(bridge.engine, number)
    return f"Run {number}: {run.group_name}" if run else ""


def _association(bridge: Bridge, number: int, project_id: int | None) -> str:
    association = associations.get(bridge.engine, number)
    return association.source if association else ""


def _person(bridge: Bridge, number: int, project_id: int | None) -> str:
    return next((person.email for person in people.list_people(bridge.engine) if person.id == number), "")


def _channel(bridge: Bridge, number: int, project_id: int | None) -> str:
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
