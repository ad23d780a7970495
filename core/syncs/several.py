"""Several cohorts at once: all of them exported alike, or none where something speaks against one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.cohort_list import last_names, pick
from core.connections.lookup import find_destination, find_mixpanel
from core.connections.project import project_key
from core.errors import (
    BudgetTooSmall,
    CohortBridgeError,
    CohortNotExportable,
    CohortsRefused,
    CohortUnknown,
    GroupTaken,
    SettingsError,
)
from core.rules.due_times import INTERVALS
from core.syncs.checks import check_settings, get_query_limit, require_room
from core.syncs.cohorts import check_cohort_id, get_shared_list, why_not_exportable
from core.syncs.held_runs import was_applied
from core.syncs.one_time import place_export, queue_export
from core.syncs.placing import arrange_group, placing_errors
from core.vendors.mixpanel_answers import Cohort
from core.vendors.mixpanel_lists import CohortListing
from data import groups, run_queue, run_stats, runs, syncs
from data.engine import Engine, as_one
from data.models import TO_CLAIM, Connection, Run, Schedule, Sync, Timing
from data.repeating import repeated
from data.run_queue import RunRequest
from data.syncs import SyncPlace, SyncSettings

Result = TypeVar("Result")
# So many are started in one transaction, in which other writers wait.
MOST = 50
# A button that is pressed twice, in two tabs too, is so within this. What was started before is no part of it: a page
# may stand open for hours before it is pressed.
_PRESSED_TWICE = timedelta(minutes=1)


@dataclass(frozen=True)
class ExportSettings:
    """What several exports have in common: where to, and, where they recur, how often and the shrink limit.

    `mixpanel` names the connection that is read through, where there are several.
    """

    to: str | None = None
    recurring: bool = False
    every_minutes: int | None = INTERVALS[0]
    schedule: Schedule | None = None
    max_shrink: int | None = None
    mixpanel: str | None = None


@dataclass(frozen=True)
class Refused:
    """A cohort that cannot be exported so, and why."""

    cohort_id: int
    why: str
    advice: str


@dataclass(frozen=True)
class Started:
    """What was started: runs of one-time exports, or recurring syncs, whose first runs are due at once."""

    runs: list[Run] = field(default_factory=list[Run])
    syncs: list[Sync] = field(default_factory=list[Sync])


@dataclass(frozen=True)
class ExportNow:
    """What has become of one of several exports; no run: a recurring sync whose first is not queued yet."""

    cohort_id: int
    cohort_name: str
    destination: str
    run: Run | None


@action(Role.ANALYST)
def check_exports(bridge: Bridge, actor: Actor, cohort_ids: Sequence[int], settings: ExportSettings) -> list[Refused]:
    """Return which of these cohorts could not be exported so at this moment. Nothing is changed.

    Raises: NotConnected, SettingsError naming the field.
    """
    return _Several(bridge, actor, settings).check(_checked_ids(cohort_ids))


@action(Role.ANALYST)
def start_exports(
    bridge: Bridge,
    actor: Actor,
    cohort_ids: Sequence[int],
    settings: ExportSettings,
    *,
    as_of: datetime | None = None,
) -> Started:
    """Queue one-time exports of these cohorts, or add recurring syncs of them: all, or none where one is refused.

    Each has its own line of the audit log. What the same person started of it since `as_of`, at most a minute ago, is
    returned instead of being started again: to press twice starts nothing twice.

    Raises: CohortsRefused naming each with its cause, NotConnected, SettingsError naming the field.
    """
    since = as_of and max(as_of, bridge.clock.now() - _PRESSED_TWICE)
    started = _Several(bridge, actor, settings, since).start(_checked_ids(cohort_ids))
    return Started(
        runs=[each for each in started if isinstance(each, Run)],
        syncs=[each for each in started if isinstance(each, Sync)],
    )


@action(Role.VIEWER)
def get_exports(bridge: Bridge, actor: Actor, run_ids: Sequence[int], sync_ids: Sequence[int] = ()) -> list[ExportNow]:
    """Return what has become of these runs, and of the newest runs of these syncs; unknown ones are left out.

    In the place of one that was held and let through stands the run that does it.
    """
    own = _follow_applied(bridge.engine, runs.get_several(bridge.engine, _each_once(run_ids)))
    kept = syncs.get_several(bridge.engine, _each_once(sync_ids))
    newest = run_stats.newest_of_each_sync(bridge.engine, [sync.id for sync, _, _ in kept if sync.id is not None])
    of_syncs = [
        ExportNow(sync.cohort_id, group.cohort_name, place, newest.get(sync.id or 0)) for sync, group, place in kept
    ]
    return [ExportNow(run.cohort_id, run.cohort_name, run.destination, run) for run in own] + of_syncs


@action(Role.VIEWER)
def list_missing(
    bridge: Bridge, actor: Actor, run_ids: Sequence[int], sync_ids: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """Return which of these runs, and of these syncs, are not kept, of as many as `get_exports` looks for."""
    run_ids, sync_ids = _each_once(run_ids), _each_once(sync_ids)
    own = {run.id for run in runs.get_several(bridge.engine, run_ids)}
    kept = {sync.id for sync, _, _ in syncs.get_several(bridge.engine, sync_ids)}
    return [each for each in run_ids if each not in own], [each for each in sync_ids if each not in kept]


def _follow_applied(engine: Engine, own: Sequence[Run]) -> list[Run]:
    """Put in the place of each run that was let through the one that does it, which may have been held in turn."""
    last, followed = list(own), set[int]()
    while following := {run.applied_run_id for run in last if was_applied(run) and run.applied_run_id} - followed:
        followed |= following
        next_runs = {run.id: run for run in runs.get_several(engine, sorted(following))}
        last = [next_runs.get(run.applied_run_id, run) if was_applied(run) else run for run in last]
    return last


@action(Role.ANALYST)
def cancel_waiting(bridge: Bridge, actor: Actor, run_ids: Sequence[int]) -> int:
    """Cancel those of these runs that wait, and leave those alone that work or have ended; returns how many.

    Each has its own line of the audit log.
    """
    return _cancel_waiting(bridge.engine, _each_once(run_ids), bridge.clock.now())


@repeated
def _cancel_waiting(engine: Engine, run_ids: Sequence[int], now: datetime) -> int:
    with as_one(engine):
        waiting = [run.id for run in runs.get_several(engine, run_ids) if run.status in TO_CLAIM]
        for run_id in waiting:
            run_queue.ask_to_cancel(engine, run_id or 0, now=now)
        return len(waiting)


def _each_once(ids: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(ids))[:MOST]


def _checked_ids(cohort_ids: Sequence[int]) -> list[int]:
    """Return each cohort's id once. Raises SettingsError."""
    ids = list(dict.fromkeys(cohort_ids))
    for cohort_id in ids:
        check_cohort_id(cohort_id)
    if not ids:
        raise SettingsError("Cohorts: choose at least one.")
    if len(ids) > MOST:
        raise SettingsError(f"Cohorts: choose at most {MOST} at a time.")
    return ids


class _NothingIsKept(Exception):
    """Ends a transaction whose changes are not to be kept."""


class _Several:
    """One way to export cohorts: what they have in common is looked up once."""

    def __init__(self, bridge: Bridge, actor: Actor, settings: ExportSettings, as_of: datetime | None = None) -> None:
        self._bridge, self._actor, self._settings, self._as_of = bridge, actor, settings, as_of
        self._mixpanel: Connection = find_mixpanel(bridge, settings.mixpanel)
        self._destination: Connection = find_destination(bridge, settings.to)
        self._listed: CohortListing | None = get_shared_list(bridge, self._mixpanel)
        self._timing: Timing | None = None
        if settings.recurring:
            self._timing = check_settings(settings.every_minutes, settings.schedule, settings.max_shrink)
            self._limit = get_query_limit(bridge, self._mixpanel)

    def check(self, cohort_ids: Sequence[int]) -> list[Refused]:
        """Return what would be refused: all is made, but for the runs, and taken back: nothing is judged otherwise."""
        refused = list[Refused]()

        def try_all() -> None:
            refused[:] = self._try_all(cohort_ids, self._place)[1]
            raise _NothingIsKept

        try:
            Context().run(_as_one, self._bridge.engine, try_all)  # on nobody's behalf: no line of the audit log is made
        except _NothingIsKept:
            return refused
        raise AssertionError("unreachable")

    def start(self, cohort_ids: Sequence[int]) -> list[Run | Sync]:
        """Start all. Raises CohortsRefused, and nothing is kept."""

        def start_all() -> list[Run | Sync]:
            started, refused = self._try_all(cohort_ids, self._start)
            if refused:
                causes = {each.cohort_id: f"{each.why} {each.advice}" for each in refused}
                raise CohortsRefused(causes, of=len(cohort_ids))
            return started

        return _as_one(self._bridge.engine, start_all)

    def _try_all(
        self, cohort_ids: Sequence[int], start: Callable[[int], Run | Sync]
    ) -> tuple[list[Run | Sync], list[Refused]]:
        started, refused = dict[int, Run | Sync](), list[Refused]()
        for cohort_id in cohort_ids:
            try:
                started[cohort_id] = start(cohort_id)
            except CohortBridgeError as exc:
                refused.append(Refused(cohort_id, exc.message, exc.advice))
        return list(started.values()), refused + self._list_namesakes(started)

    def _place(self, cohort_id: int) -> Run | Sync:
        if self._timing is not None:
            return self._start(cohort_id)
        place = SyncPlace(self._mixpanel, self._destination, cohort_id)
        return place_export(self._bridge, place, self._actor, known=self._find(cohort_id))

    def _start(self, cohort_id: int) -> Run | Sync:
        known, place = self._find(cohort_id), SyncPlace(self._mixpanel, self._destination, cohort_id)
        if self._timing is None:
            request = RunRequest("manual", self._actor.name)
            return queue_export(self._bridge, place, request, known=known, as_of=self._as_of)
        timing, now = self._timing, self._bridge.clock.now()
        with placing_errors():
            return syncs.add_recurring(
                self._bridge.engine,
                place,
                SyncSettings(timing, self._settings.max_shrink),
                actor=self._actor.name,
                arrange=arrange_group(place, known, None, now),
                check_room=lambda _, present: self._require_room(present, timing, now),
                as_of=self._as_of,
                now=now,
            )

    def _require_room(self, present: Sequence[Timing], timing: Timing, now: datetime) -> None:
        try:
            require_room(self._limit, present, timing, now=now)
        except BudgetTooSmall as exc:
            advice = "Have all of them run less often, or leave this one out."
            raise BudgetTooSmall(exc.message, advice=advice) from None

    def _find(self, cohort_id: int) -> Cohort | None:
        """Return a cohort as it is listed; None where the list is too old to say. Raises what speaks against it."""
        if self._listed is None:
            return None
        cohort = pick(self._listed, cohort_id)
        if cohort is None:
            raise CohortUnknown(f"Mixpanel lists no cohort {cohort_id} in this project.")
        if why := why_not_exportable(cohort):
            raise CohortNotExportable(why)
        return cohort

    def _list_namesakes(self, started: dict[int, Run | Sync]) -> list[Refused]:
        """List the cohorts whose groups would have the name of one that is chosen too: a group has one cohort.

        Also where the list is too old to go by: until a run asks, a group without a name of its own has none else.
        """
        called = last_names(self._bridge, project_key(self._mixpanel))
        made = groups.get_several(self._bridge.engine, [each.group_id for each in started.values()])
        first, refused = dict[str, int](), list[Refused]()
        for cohort_id, each in started.items():
            group = made[each.group_id]
            name = group.own_name or called.get(cohort_id, group.name)
            other = first.setdefault(name, cohort_id)
            if other != cohort_id:
                taken = GroupTaken(
                    f"Cohort {other}, which is chosen too, has the same name: a group fed by two cohorts would hold "
                    "neither.",
                    advice="Export it by itself, under another group name.",
                )
                refused.append(Refused(cohort_id, taken.message, taken.advice))
        return refused


@repeated
def _as_one(engine: Engine, work: Callable[[], Result]) -> Result:
    with as_one(engine):
        return work()
