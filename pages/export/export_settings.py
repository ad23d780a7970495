"""What the form of an export is set to, as plain data: read, kept with the preview of it, compared, carried out."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import CohortBridgeError, SettingsError
from core.rules.due_times import INTERVALS
from core.syncs import one_time, previews, recurring
from data.models import Run, Schedule, Sync, Timing
from pages.export import sync_settings, timing_fields

ONE_TIME, RECURRING = "One-time", "Recurring (dynamic)"
# What each kind of export does to its group.
KINDS = {
    ONE_TIME: "Overwrites the group with the cohort as it is now.",
    RECURRING: "Keeps the group up to date from now on.",
}
_KEPT = "cohorts_previewed"


class ExportNames(NamedTuple):
    """What is called how where a cohort is exported: the connection that it is read through, and its groups.

    `present` are the names of groups by destination, `usual` the one that a group has where it follows the cohort's.
    """

    mixpanel: str
    present: dict[str, str]
    usual: str

    def at(self, place: str) -> str:
        """Return the name of the group at a destination, there or to come."""
        return self.present.get(place, self.usual)


class ExportSettings(TypedDict):
    """What an export is to do. `group` is None where the group keeps its name, or follows the cohort's."""

    name: str
    group: str | None
    to: str
    kind: str
    every: int | None
    schedule: list[str] | None
    max_shrink: int | None


# What a person knows each of them by; `group` goes with `name`.
_LABELS = {
    "to": "Export to",
    "name": "Group name",
    "kind": "Kind of export",
    "every": "Interval",
    "schedule": "Times",
    "max_shrink": "Shrink limit",
}


def read(cohort_id: int, names: ExportNames) -> ExportSettings:
    """Return what the form is set to. Raises SettingsError naming the field."""
    entered = st.session_state
    name, to = entered[f"cohorts_group_{cohort_id}"].strip(), entered[f"cohorts_to_{cohort_id}"]
    settings = _plain(name, to)
    settings["kind"] = entered[f"cohorts_kind_{cohort_id}"]
    if name != names.at(to):  # one that was not changed may change until then
        settings["group"] = name
    if settings["kind"] == RECURRING:
        timing, settings["max_shrink"] = sync_settings.read_schedule("cohorts", cohort_id)
        settings["every"], schedule = timing_fields.parts_of(timing)
        settings["schedule"] = list(schedule) if schedule else None
    return settings


def _plain(name: str, to: str) -> ExportSettings:
    return {
        "name": name, "group": None, "to": to, "kind": ONE_TIME, "every": None, "schedule": None, "max_shrink": None
    }  # fmt: skip


def keep(run: Run, settings: ExportSettings) -> None:
    """Keep what a preview was made with: its row does not say whether it was to be exported again and again."""
    st.session_state[_KEPT] = {"run": run.id, "settings": settings}


def kept(run: Run) -> ExportSettings:
    """Return what a preview was made with; of one by somebody else, or before a reload: where to, under which name."""
    latest = st.session_state.get(_KEPT)
    return latest["settings"] if latest and latest["run"] == run.id else _plain(run.group_name, run.destination)


def timing_of(settings: ExportSettings) -> Timing | None:
    """Return how often an export is done again; None: it is not."""
    return Schedule(*settings["schedule"]) if settings["schedule"] else settings["every"]


def list_changes(settings: ExportSettings, cohort_id: int, names: ExportNames) -> list[str]:
    """List the labels of what the form is set to otherwise by now."""
    try:
        current = read(cohort_id, names)
    except CohortBridgeError:
        return [_LABELS["schedule"]]
    return [label for name, label in _LABELS.items() if current[name] != settings[name]]


def start_entered(bridge: Bridge, person: Actor, cohort_id: int, names: ExportNames) -> Run | Sync:
    """Start what the form is set to: queue the export, or add the recurring sync. Raises as these do."""
    settings, mixpanel = read(cohort_id, names), names.mixpanel
    if settings["kind"] != RECURRING:
        return one_time.start_export(
            bridge, person, cohort_id, group=settings["group"], to=settings["to"], mixpanel=mixpanel
        )
    every, schedule = timing_fields.parts_of(timing_of(settings) or INTERVALS[0])
    return recurring.add_sync(
        bridge,
        person,
        cohort_id,
        every_minutes=every or INTERVALS[0],
        schedule=schedule,
        group=settings["group"],
        to=settings["to"],
        max_shrink=settings["max_shrink"],
        mixpanel=mixpanel,
    )


def start_previewed(
    bridge: Bridge, person: Actor, run: Run, settings: ExportSettings, names: ExportNames
) -> Run | Sync:
    """Start what a preview was made with, if the form is still set to it, and all else is as the preview had it."""
    if changes := list_changes(settings, run.cohort_id, names):
        raise SettingsError(
            f"The form has changed since the preview: {', '.join(changes)}. Nothing was exported.",
            advice="Preview again, or press Start sync to export what the form is set to.",
        )
    previews.require_current(bridge, person, run.id or 0, mixpanel=names.mixpanel)
    # As the form says it: its cohort may be called otherwise since, and what was a name of no one's own is one now.
    return start_entered(bridge, person, run.cohort_id, names)


def preview(bridge: Bridge, person: Actor, cohort_id: int, names: ExportNames) -> Run:
    """Queue a preview of what the form is set to."""
    settings = read(cohort_id, names)
    run = one_time.start_export(
        bridge,
        person,
        cohort_id,
        group=settings["group"],
        to=settings["to"],
        mixpanel=names.mixpanel,
        dry_run=True,
    )
    keep(run, settings)
    return run
