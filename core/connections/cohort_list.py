"""The project's cohorts, read once per interval and shared by every run, page and command."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from datetime import datetime, timedelta

from core.bridge import Bridge
from core.errors import CohortNotExportable, CohortUnknown
from core.leases.lock import in_turn
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from data import cohort_list
from data.models import LeaseKind

SHARED_FOR = timedelta(minutes=15)


async def refresh(bridge: Bridge, client: Mixpanel, project: str) -> list[Cohort]:
    """Ask Mixpanel, at the cost of one counted query, and share the answer."""
    cohorts = await client.list_cohorts()
    await asyncio.to_thread(_share, bridge, project, cohorts)
    return cohorts


async def _read_once(
    bridge: Bridge, client: Mixpanel, project: str, *, since: datetime, lease_owner: str | None
) -> list[Cohort]:
    """Return a list that was read after `since`: another's, if one is read at this moment, else our own."""
    async with in_turn(bridge, LeaseKind.COHORT_LIST, project, lease_owner=lease_owner or secrets.token_hex(8)):
        shared = await asyncio.to_thread(_shared_since, bridge, project, since)
        return shared if shared is not None else await refresh(bridge, client, project)


def get_shared(bridge: Bridge, project: str) -> list[Cohort] | None:
    """Return the shared list if it was read within the last interval."""
    return _shared_since(bridge, project, bridge.clock.now() - SHARED_FOR)


def _shared_since(bridge: Bridge, project: str, since: datetime) -> list[Cohort] | None:
    shared = cohort_list.get(bridge.engine, project)
    # One from the future is from before the clock was set back: how old it is cannot be known.
    if shared is None or not since <= shared.read_at <= bridge.clock.now():
        return None
    return [Cohort(**cohort) for cohort in shared.cohorts]


def read_at(bridge: Bridge, project: str) -> datetime | None:
    """Return when the shared list was read."""
    shared = cohort_list.get(bridge.engine, project)
    return shared.read_at if shared else None


def _share(bridge: Bridge, project: str, cohorts: list[Cohort]) -> None:
    rows = [dataclasses.asdict(cohort) for cohort in cohorts]
    cohort_list.share(bridge.engine, project, rows, now=bridge.clock.now())


async def find(
    bridge: Bridge, client: Mixpanel, project: str, cohort_id: int, *, lease_owner: str | None = None
) -> Cohort:
    """Find an exportable cohort; when the shared list lacks it, the list is read again before it is called unknown.

    `lease_owner` names who asks, so that the lease on the list can be freed when their process dies.

    Raises: CohortUnknown, CohortNotExportable, VendorError, NoQuerySlot.
    """
    began = bridge.clock.now()
    shared = await asyncio.to_thread(get_shared, bridge, project)
    if shared is None:
        shared = await _read_once(bridge, client, project, since=began - SHARED_FOR, lease_owner=lease_owner)
    cohort = _pick(shared, cohort_id)
    if cohort is None:
        return await find_afresh(bridge, client, project, cohort_id, since=began, lease_owner=lease_owner)
    return _exportable(cohort)


async def find_afresh(
    bridge: Bridge,
    client: Mixpanel,
    project: str,
    cohort_id: int,
    *,
    since: datetime,
    lease_owner: str | None = None,
) -> Cohort:
    """Find an exportable cohort in a list that was read after `since`. Raises as `find` does."""
    cohort = _pick(await _read_once(bridge, client, project, since=since, lease_owner=lease_owner), cohort_id)
    if cohort is None:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")
    return _exportable(cohort)


def _exportable(cohort: Cohort) -> Cohort:
    if cohort.of_groups:
        raise CohortNotExportable(f"Cohort {cohort.id} is a group-analytics cohort: its members are not users.")
    return cohort


def _pick(cohorts: list[Cohort], cohort_id: int) -> Cohort | None:
    return next((cohort for cohort in cohorts if cohort.id == cohort_id), None)
