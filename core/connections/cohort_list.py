"""The project's cohorts, read once per interval and shared by every run, page and command."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from datetime import datetime, timedelta

from core.bridge import Bridge
from core.errors import CohortNotExportable, CohortUnknown, VendorSurprise
from core.leases.lock import in_turn
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from core.vendors.mixpanel_lists import CohortListing
from data import cohort_list
from data.models import LeaseKind

SHARED_FOR = timedelta(minutes=15)


async def refresh(bridge: Bridge, client: Mixpanel, project: str) -> CohortListing:
    """Ask Mixpanel, at the cost of one counted query, and share the answer.

    It counts as read when it was asked for: a cohort that was made before the answer came may not be in it.
    """
    asked_at = bridge.clock.now()
    listing = await client.list_cohorts()
    await asyncio.to_thread(_share, bridge, project, listing, asked_at)
    return listing


async def _read_once(
    bridge: Bridge, client: Mixpanel, project: str, *, since: datetime, lease_owner: str | None
) -> CohortListing:
    """Return a list that was read after `since`: another's, if one is read at this moment, else our own."""
    async with in_turn(bridge, LeaseKind.COHORT_LIST, project, lease_owner=lease_owner or secrets.token_hex(8)):
        shared = await asyncio.to_thread(_shared_since, bridge, project, since)
        return shared if shared is not None else await refresh(bridge, client, project)


def get_shared(bridge: Bridge, project: str) -> CohortListing | None:
    """Return the shared list if it was read within the last interval."""
    return _shared_since(bridge, project, bridge.clock.now() - SHARED_FOR)


def _shared_since(bridge: Bridge, project: str, since: datetime) -> CohortListing | None:
    shared = cohort_list.get(bridge.engine, project)
    # One from the future is from before the clock was set back: how old it is cannot be known.
    if shared is None or not since <= shared.read_at <= bridge.clock.now():
        return None
    return CohortListing([Cohort(**cohort) for cohort in shared.cohorts], shared.left_out)


def last_names(bridge: Bridge, project: str) -> dict[int, str]:
    """Return what a project's cohorts were called when they were read last, however long ago, by id."""
    shared = cohort_list.get(bridge.engine, project)
    return {int(cohort["id"]): str(cohort["name"]) for cohort in shared.cohorts} if shared else {}


def read_at(bridge: Bridge, project: str) -> datetime | None:
    """Return when the shared list was read."""
    shared = cohort_list.get(bridge.engine, project)
    return shared.read_at if shared else None


def count_left_out(bridge: Bridge, project: str) -> int:
    """Return how many entries of the shared list could not be read."""
    shared = cohort_list.get(bridge.engine, project)
    return shared.left_out if shared else 0


def _share(bridge: Bridge, project: str, listing: CohortListing, read_at: datetime) -> None:
    rows = [dataclasses.asdict(cohort) for cohort in listing.cohorts]
    cohort_list.share(bridge.engine, project, rows, left_out=listing.left_out, read_at=read_at)


async def find(
    bridge: Bridge, client: Mixpanel, project: str, cohort_id: int, *, lease_owner: str | None = None
) -> Cohort:
    """Find an exportable cohort; when the shared list lacks it, the list is read again before it is called unknown.

    `lease_owner` names who asks, so that the lease on the list can be freed when their process dies.

    Raises: CohortUnknown, CohortNotExportable, VendorError, NoQuerySlot.
    """
    began = bridge.clock.now()
    listing = await asyncio.to_thread(get_shared, bridge, project)
    if listing is None:
        listing = await _read_once(bridge, client, project, since=began - SHARED_FOR, lease_owner=lease_owner)
    cohort = pick(listing, cohort_id)
    if cohort is None:
        return await find_again(bridge, client, project, cohort_id, since=began, lease_owner=lease_owner)
    return _exportable(cohort)


async def find_again(
    bridge: Bridge,
    client: Mixpanel,
    project: str,
    cohort_id: int,
    *,
    since: datetime,
    lease_owner: str | None = None,
) -> Cohort:
    """Find an exportable cohort in a list that was read after `since`. Raises as `find` does."""
    listing = await _read_once(bridge, client, project, since=since, lease_owner=lease_owner)
    cohort = pick(listing, cohort_id)
    if cohort is None and listing.left_out:  # it may be one of those: that is no reason to call it unknown
        raise _odd_entry(f"Mixpanel lists no cohort {cohort_id}, but {listing.left_out:,} without a usable “id”.")
    if cohort is None:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")
    return _exportable(cohort)


def pick(listing: CohortListing, cohort_id: int) -> Cohort | None:
    """Find a cohort in a list."""
    return next((cohort for cohort in listing.cohorts if cohort.id == cohort_id), None)


def _exportable(cohort: Cohort) -> Cohort:
    if cohort.of_groups:
        raise CohortNotExportable(f"Cohort {cohort.id} is a group-analytics cohort: its members are not users.")
    if cohort.odd_field:
        raise _odd_entry(f"Mixpanel lists cohort {cohort.id} without a usable “{cohort.odd_field}”.")
    return cohort


def _odd_entry(sentence: str) -> VendorSurprise:
    return VendorSurprise(
        sentence,
        advice="Look at the cohort in Mixpanel and save it again under a name; the next run tries again.",
        code="mixpanel_odd_cohort",
    )
