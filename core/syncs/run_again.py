"""Run again what did not succeed: what a run was to do, or the export of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import choose_mixpanel
from core.errors import CohortBridgeError, NotConnected, NotFound
from core.export.job import find_connections
from core.syncs.cohorts import known_cohort
from core.syncs.one_time import queue_export
from core.syncs.recurring import run_now
from core.syncs.runs import unknown_run
from core.syncs.undo import undo_to
from data import connections, groups, run_stats, runs
from data.models import Run, SyncKind, SyncState
from data.run_queue import RunRequest
from data.runs import RunRows
from data.syncs import SyncPlace


@dataclass(frozen=True)
class RunsAgain:
    """What came of several that were to run again: what is queued, and what is refused, by the run that it repeats."""

    queued: dict[int, Run]
    refused: dict[int, CohortBridgeError]


@action(Role.ANALYST)
def run_each_again(bridge: Bridge, actor: Actor, run_ids: Sequence[int]) -> RunsAgain:
    """Queue again what each of these runs was to do, as `run_again`: one that is refused stops no other.

    Raises what `run_again` does where each of them is refused.
    """
    done = RunsAgain({}, {})
    for run_id in dict.fromkeys(run_ids):
        try:
            done.queued[run_id] = run_again(bridge, actor, run_id)
        except CohortBridgeError as exc:
            done.refused[run_id] = exc
    if done.refused and not done.queued:
        raise next(iter(done.refused.values()))
    return done


@action(Role.ANALYST)
def run_again(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Queue again what a run was to do: a preview stays one, and a rollback goes to the same members.

    A run of a recurring sync belongs to that again, with its shrink limit. Any other export is between the same
    connections, even if they were renamed. Returns the run that is already queued for it, if there is one.

    Raises: NotFound, NotConnected, SettingsError, GroupTaken, ReceiverShared, CohortUnknown, CohortNotExportable.
    """
    rows = runs.get_with_its_rows(bridge.engine, run_id)
    if rows is None:
        raise unknown_run(run_id)
    run, sync = rows.run, rows.sync
    if run.restore_snapshot:
        return undo_to(bridge, actor, _find_earlier(bridge, run, run.restore_snapshot))
    if not run.dry_run and sync.kind == SyncKind.RECURRING and sync.state != SyncState.REMOVED:
        return run_now(bridge, actor, run.sync_id)
    place = _find_place(rows)
    request = RunRequest("manual", actor.name, dry_run=run.dry_run, force_full=run.force_full)
    known = known_cohort(bridge, place.mixpanel, place.cohort_id)
    return queue_export(bridge, place, request, known=known, group=_find_previewed_name(rows))


@action(Role.ANALYST)
def export_again(bridge: Bridge, actor: Actor, group_id: int) -> Run:
    """Queue an export to a group, or return the one that is already queued.

    Raises: NotFound, NotConnected, GroupTaken, ReceiverShared, CohortUnknown, CohortNotExportable.
    """
    group = groups.get_group(bridge.engine, group_id)
    if group is None:
        raise NotFound(f"There is no group {group_id}.", advice="See Groups.")
    present = connections.list_connections(bridge.engine)
    mixpanel = choose_mixpanel([each for each in present if each.project_id == group.project_id])
    destination = next((each for each in present if each.id == group.destination_id), None)
    if mixpanel is None or destination is None:
        raise NotConnected("Its Mixpanel project, or its destination, is not connected any more.")
    place = SyncPlace(mixpanel, destination, group.cohort_id)
    known = known_cohort(bridge, mixpanel, group.cohort_id)
    return queue_export(bridge, place, RunRequest("manual", actor.name), known=known)


def _find_previewed_name(rows: RunRows) -> str | None:
    """Return the name that a preview was made under, None where that is the group's: the run alone knows another."""
    run, group = rows.run, rows.group
    if not run.dry_run or group.may_exist or run.group_name == (group.own_name or run.cohort_name):
        return None
    return run.group_name


def _find_earlier(bridge: Bridge, run: Run, snapshot: str) -> int:
    """Return the run whose members a rollback was to write."""
    kept = run_stats.kept_runs(bridge.engine, run.group_id)
    earlier = next((each.id for each in kept if each.snapshot == snapshot), None)
    if earlier is None:
        raise NotFound(
            f"The members that run {run.id} was to write are not kept any more.",
            advice="Roll back to a later run, or resume its sync: the group equals the cohort again then.",
        )
    return earlier


def _find_place(rows: RunRows) -> SyncPlace:
    """Return where a run read and wrote. Raises NotConnected."""
    try:
        mixpanel, destination = find_connections(rows)
    except NotConnected as exc:
        raise NotConnected(exc.message, advice="Export the cohort from Cohorts, to what is connected now.") from None
    return SyncPlace(mixpanel, destination, rows.run.cohort_id)
