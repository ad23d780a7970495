"""The cohorts that people choose from."""

from __future__ import annotations

import asyncio
from datetime import datetime

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections import cohort_list
from core.connections.lookup import find_mixpanel
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortNotExportable, SettingsError
from core.text import MOST_ID
from core.vendors.http import connect_http
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from core.vendors.mixpanel_lists import CohortListing
from core.vendors.mixpanel_project import Project
from core.vendors.retry import RetryPlan
from data.models import Connection
from data.query_budget import BudgetStatus

NOT_USERS = "A group-analytics cohort: its members are not users."


@action(Role.ANALYST)
def list_cohorts(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None, refresh: bool = True) -> list[Cohort]:
    """List the project's cohorts: refreshed at the cost of one query, or as last shared if that is recent.

    Raises: NotConnected, VendorError, NoQuerySlot.
    """
    connection = find_mixpanel(bridge, mixpanel)
    project = project_for(bridge, connection)
    if not refresh:
        shared = cohort_list.get_shared(bridge, project.key)
        if shared is not None:
            return shared.cohorts
    return ask_cohorts(bridge, project).cohorts


def ask_cohorts(bridge: Bridge, project: Project) -> CohortListing:
    """Ask Mixpanel for a project's cohorts, at the cost of one query, and share the answer.

    Raises: VendorError, NoQuerySlot.
    """

    async def ask() -> CohortListing:
        async with connect_http() as http:
            retry = RetryPlan(attempts=3, over_s=min(bridge.settings.retry_over_s, 20.0))
            client = Mixpanel(http, project, budget_for(bridge, project.key), retry=retry)
            return await cohort_list.refresh(bridge, client, project.key)

    return asyncio.run(ask())


@action(Role.VIEWER)
def cohorts_read_at(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None) -> datetime | None:
    """Return when the shared list of cohorts was read."""
    key = project_for(bridge, find_mixpanel(bridge, mixpanel)).key
    return cohort_list.read_at(bridge, key)


@action(Role.VIEWER)
def count_cohorts_left_out(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None) -> int:
    """Return how many entries of the shared list could not be read, and so are no cohorts of it."""
    return cohort_list.count_left_out(bridge, project_for(bridge, find_mixpanel(bridge, mixpanel)).key)


@action(Role.VIEWER)
def get_query_budget(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None) -> BudgetStatus:
    """Return how much of its hour the connected Mixpanel project has used. Raises NotConnected."""
    return budget_for(bridge, project_for(bridge, find_mixpanel(bridge, mixpanel)).key).status()


def check_cohort_id(cohort_id: int) -> None:
    """Refuse what can be no cohort's id. Raises SettingsError."""
    if not 0 < cohort_id <= MOST_ID:
        raise SettingsError("Cohort: the id is a whole number, as the list of cohorts shows it.")


def known_cohort(bridge: Bridge, mixpanel: Connection, cohort_id: int) -> Cohort | None:
    """Look the cohort up in the shared list. The run itself asks Mixpanel; this only saves people the wait."""
    shared = get_shared_list(bridge, mixpanel)
    cohort = cohort_list.pick(shared, cohort_id) if shared else None
    if cohort and cohort.of_groups:
        raise CohortNotExportable(f"Cohort {cohort_id} is a group-analytics cohort: its members are not users.")
    return None if cohort and cohort.odd_field else cohort


def get_shared_list(bridge: Bridge, mixpanel: Connection) -> CohortListing | None:
    """Return the shared list of a connection's project, if it is recent."""
    return cohort_list.get_shared(bridge, project_for(bridge, mixpanel).key)


def why_not_exportable(cohort: Cohort) -> str | None:
    """Return why a cohort cannot be exported, None when it can."""
    if cohort.of_groups:
        return NOT_USERS
    return f"Mixpanel lists it without a usable “{cohort.odd_field}”." if cohort.odd_field else None
