"""One-time exports: a cohort to its group, once."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import find_destination, find_mixpanel
from core.syncs.cohorts import check_cohort_id, known_cohort
from core.syncs.placing import arrange_group, arrange_preview, placing_errors, require_same_matching
from core.vendors.mixpanel_answers import Cohort
from data import syncs
from data.models import Run, Sync
from data.run_queue import RunRequest
from data.syncs import SyncPlace


@action(Role.ANALYST)
def start_export(
    bridge: Bridge,
    actor: Actor,
    cohort_id: int,
    *,
    group: str | None = None,
    to: str | None = None,
    mixpanel: str | None = None,
    full: bool = False,
    dry_run: bool = False,
    trigger: str = "manual",
    lease_owner: str | None = None,
) -> Run:
    """Queue a one-time export for a worker, or return the one that is queued already.

    With a `lease_owner` the run is for that process alone, which does it itself. Without `group` the group follows the
    cohort's name, or keeps its own name. `mixpanel` names the connection that is read through, where there are several.

    Raises: NotConnected, SettingsError, GroupTaken, CohortUnknown, CohortNotExportable (from the shared list of
    cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    project = find_mixpanel(bridge, mixpanel)
    place = SyncPlace(project, find_destination(bridge, to), cohort_id)
    known = known_cohort(bridge, project, cohort_id)
    request = RunRequest(trigger, actor.name, dry_run=dry_run, force_full=full, lease_owner=lease_owner)
    return queue_export(bridge, place, request, known=known, group=group)


def queue_export(
    bridge: Bridge,
    place: SyncPlace,
    request: RunRequest,
    *,
    known: Cohort | None,
    group: str | None = None,
    as_of: datetime | None = None,
) -> Run:
    """Queue a one-time export of a cohort, `known` as Mixpanel lists it; see `data.syncs.start_one_time`.

    Raises: SettingsError, GroupTaken, ReceiverShared.
    """
    now = bridge.clock.now()
    arrange = arrange_preview if request.dry_run else arrange_group
    with placing_errors():
        return syncs.start_one_time(
            bridge.engine,
            place,
            request,
            arrange=arrange(place, known, group, now),
            check_matching=partial(require_same_matching, place.destination),
            as_of=as_of,
            now=now,
        )


def place_export(bridge: Bridge, place: SyncPlace, actor: Actor, *, known: Cohort | None) -> Sync:
    """Find or make what a one-time export of a cohort needs, without queueing it. Raises as `queue_export` does."""
    now = bridge.clock.now()
    with placing_errors():
        return syncs.place_one_time(
            bridge.engine,
            place,
            actor.name,
            arrange=arrange_group(place, known, None, now),
            check_matching=partial(require_same_matching, place.destination),
            now=now,
        )
