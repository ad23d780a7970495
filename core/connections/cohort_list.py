"""The project's cohorts, read once per interval and shared by every run, page and command."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Engine

from core.bridge import Bridge
from core.errors import CohortNotExportable, CohortUnknown
from core.leases.lock import in_turn
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from data.engine import read_session, write_session
from data.models import CohortList, LeaseKind, utc_now

SHARED_FOR = timedelta(minutes=15)


async def read_afresh(engine: Engine, client: Mixpanel, project: str) -> list[Cohort]:
    """Ask Mixpanel, at the cost of one counted query, and share the answer."""
    found = await client.list_cohorts()
    await asyncio.to_thread(_keep, engine, project, found)
    return found


async def read_once(
    bridge: Bridge, client: Mixpanel, project: str, *, since: datetime, lease_owner: str | None = None
) -> list[Cohort]:
    """Return a list that was read after `since`: another's, if somebody reads it at this moment, else our own."""
    async with in_turn(bridge, LeaseKind.COHORT_LIST, project, lease_owner=lease_owner or secrets.token_hex(8)):
        shared = await asyncio.to_thread(kept, bridge.engine, project, since=since)
        return shared if shared is not None else await read_afresh(bridge.engine, client, project)


def kept(engine: Engine, project: str, *, since: datetime | None = None) -> list[Cohort] | None:
    """Return the shared list if it was read after `since`, by default within the last interval."""
    now = utc_now()
    with read_session(engine) as session:
        held = session.get(CohortList, project)
    # One from the future is from before the clock was set back: nobody knows how old it is.
    if held is None or not (since or now - SHARED_FOR) <= held.read_at <= now:
        return None
    return [Cohort(**one) for one in held.cohorts]


def read_at(engine: Engine, project: str) -> datetime | None:
    """Tell when the shared list was read."""
    with read_session(engine) as session:
        held = session.get(CohortList, project)
    return held.read_at if held else None


def _keep(engine: Engine, project: str, found: list[Cohort]) -> None:
    cohorts = [dataclasses.asdict(one) for one in found]
    with write_session(engine) as session:
        held = session.get(CohortList, project) or CohortList(project=project, read_at=utc_now(), cohorts=[])
        held.read_at, held.cohorts = utc_now(), cohorts
        session.add(held)


async def find(
    bridge: Bridge, client: Mixpanel, project: str, cohort_id: int, *, lease_owner: str | None = None
) -> Cohort:
    """Find an exportable cohort; one that the shared list lacks is looked for afresh before it is called unknown.

    `lease_owner` names who asks, so that the lease on the list can be freed when their process dies.

    Raises: CohortUnknown, CohortNotExportable, VendorError, NoQuerySlot.
    """
    began = utc_now()
    shared = await asyncio.to_thread(kept, bridge.engine, project)
    if shared is None:
        shared = await read_once(bridge, client, project, since=began - SHARED_FOR, lease_owner=lease_owner)
    found = _pick(shared, cohort_id)
    if found is None:
        found = _pick(await read_once(bridge, client, project, since=began, lease_owner=lease_owner), cohort_id)
    if found is None:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")
    if found.of_groups:
        raise CohortNotExportable(f"Cohort {cohort_id} is a group-analytics cohort: its members are not users.")
    return found


def _pick(cohorts: list[Cohort], cohort_id: int) -> Cohort | None:
    return next((one for one in cohorts if one.id == cohort_id), None)
