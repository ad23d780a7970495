"""What becomes of a cohort, below its form: the runs on their way, the preview, and each group by its destination."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports.group_state import GroupNow, GroupState
from data.models import Connection, Run, RunFilter, RunStatus
from pages.export import cohort_form, export_settings
from pages.export.cohort_now import CohortNow, GroupRuns
from pages.export.export_settings import ExportNames, ExportSettings
from pages.parts import failure_help, held_run, links, membership_changes, run_details, run_outcome, run_status
from pages.parts.actions import perform
from pages.parts.connections import sandbox_link
from pages.parts.formatting import age, escape_markdown, interval_phrase, pluralize

STATES: dict[GroupState, tuple[str, run_status.Color]] = {
    GroupState.AS_DELIVERED: ("check_circle", "green"),
    GroupState.ROLLED_BACK: ("undo", "orange"),
    GroupState.IN_DOUBT: ("help", "orange"),
}


def show(bridge: Bridge, person: Actor, now: CohortNow, chosen: Connection | None) -> None:
    """Show what was and is done: of the chosen destination all that is known, of the others how they are."""
    for run in now.active:
        assert run.id is not None
        run_status.progress(bridge, person, run.id)
    run_status.watch(bridge, person, RunFilter(cohort_id=now.cohort.id), now.newest_run_id)
    rows = now.group_runs()
    shown = next((row for row in rows if chosen and row.place == chosen.name), None)
    if shown:
        _show_whole(bridge, person, now, shown)
    elif chosen and not now.active:
        st.caption(
            f"Nothing was exported to {escape_markdown(chosen.name)} yet. A preview shows who would be in the group, "
            "and writes nothing."
        )
    others = [row for row in rows if row is not shown]
    if others:
        st.subheader("At other destinations" if shown else "Groups", anchor=False)
    for row in others:
        _show_in_short(bridge, person, now, row)


def _show_whole(bridge: Bridge, person: Actor, now: CohortNow, row: GroupRuns) -> None:
    """Show a group's preview, where that is the latest, or its latest export, and how the group is."""
    if row.latest and row.latest.dry_run:
        _show_preview(bridge, person, now, row.latest, row.now)
    if row.export is None and row.now is None:
        return
    has_state = len(now.states) > 1 or not _is_told_by_latest(row)
    with _line():
        st.subheader(f"Group at {escape_markdown(row.place)}", anchor=False, width="content")
        if has_state:
            _show_state(row)
    if row.export is None:
        return
    is_latest = row.export is row.latest
    _show_end(bridge, person, row.export, row.now, place=cohort_form.PLACE, with_success=is_latest)
    _show_held(bridge, person, row, place=f"{cohort_form.PLACE}_held")
    if is_latest:
        _show_members(bridge, person, now, row, row.export, with_link=not has_state)


def _is_told_by_latest(row: GroupRuns) -> bool:
    """Return whether what is said of the latest run says how the group is: that it is as this run left it."""
    is_as_usual = row.now is not None and row.now.state is GroupState.AS_DELIVERED
    return bool(is_as_usual and row.now and row.export and row.export is row.latest and row.now.is_as_of(row.export))


def _show_preview(bridge: Bridge, person: Actor, now: CohortNow, run: Run, group: GroupNow | None) -> None:
    run_status.headline(run, _when(run), heading="Preview")
    run_outcome.show(run, group)
    if run.status == RunStatus.SUCCEEDED:
        _offer_export(bridge, person, now, run)
    run_details.show(bridge, person, run, key="cohorts", in_short=True)


def _offer_export(bridge: Bridge, person: Actor, now: CohortNow, run: Run) -> None:
    """Offer to export what was previewed, as long as the form is set to that."""
    settings, names = export_settings.kept(run), now.export_names
    changes = export_settings.list_changes(settings, run.cohort_id, names)
    is_busy = any(other.group_id == run.group_id for other in now.active)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Export these",
            key=f"cohorts_export_these_{run.cohort_id}",
            type="primary" if run.members else "secondary",
            icon=":material/play_arrow:",
            disabled=bool(changes) or is_busy,
            on_click=_export_these,
            args=(bridge, person, run, settings, names),
        )
        if changes:
            text = f"The form has changed since this preview: {', '.join(changes)}. Preview again to export that."
        else:
            text = f"{_in_words(settings)}. The cohort is read again, with who has joined or left by then."
        st.caption(text, width="content")


def _in_words(settings: ExportSettings) -> str:
    """Format what a preview is exported as: its kind, where to, and under which name."""
    timing = export_settings.timing_of(settings)
    kind = settings["kind"] + (f", {escape_markdown(interval_phrase(timing))}" if timing else "")
    return f"{kind}, to {escape_markdown(settings['to'])}, as {escape_markdown(settings['name'])}"


def _export_these(bridge: Bridge, person: Actor, run: Run, settings: ExportSettings, names: ExportNames) -> None:
    start = partial(export_settings.start_previewed, bridge, person, run, settings, names)
    cohort_form.show_started(perform(cohort_form.PLACE, start))


def _show_members(
    bridge: Bridge, person: Actor, now: CohortNow, row: GroupRuns, export: Run, *, with_link: bool
) -> None:
    """Show what the latest export did, or would do; of one that failed, what the group still holds since an earlier."""
    if export.status == RunStatus.HELD and export.removed:
        membership_changes.show(bridge, person, export, key="cohorts_held_difference")
        return
    run = export if export.status == RunStatus.SUCCEEDED else row.now.settled_by if row.now else None
    if run is None:
        return
    if run is not export:
        run_status.headline(run, f"The last export that succeeded, {age(run.finished_at)}")
    with _line():
        place = next((each for each in now.destinations if each.name == run.destination), None)
        sandbox_link.show(place, now.project.project_id, run.cohort_id, key="cohorts_sandbox", type="primary")
        if with_link:
            links.view_group(run.group_id, label="Members")
        st.markdown(run_status.change_text(run), width="content")
    run_status.funnel(run)


def _show_in_short(bridge: Bridge, person: Actor, now: CohortNow, row: GroupRuns) -> None:
    with st.container(border=True):
        with _line():
            _show_state(row)
        if row.place not in {place.name for place in now.destinations}:
            st.caption("This destination was removed: nothing writes the group any more.")
        if row.latest and row.latest.dry_run:
            run_status.headline(row.latest, _when(row.latest))
        if row.export and row.export.status != RunStatus.SUCCEEDED:
            _show_end(bridge, person, row.export, row.now, place=f"cohorts_{row.group_id}")
        _show_held(bridge, person, row, place=f"cohorts_{row.group_id}_held")


def _show_held(bridge: Bridge, person: Actor, row: GroupRuns, *, place: str) -> None:
    """Show the run that waits for a decision, where another one ended after it."""
    if row.held and row.held is not row.export:
        _show_end(bridge, person, row.held, row.now, place=place)


def _show_state(row: GroupRuns) -> None:
    """Show how a group is now, in a line."""
    if row.now is None:
        st.caption(f"Nothing was delivered to {escape_markdown(row.place)} yet.", width="content")
        return
    icon, color = STATES[row.now.state]
    st.badge(row.now.state, icon=f":material/{icon}:", color=color)
    verified_at = row.now.group.verified_at
    verified = f", last verified {age(verified_at)}" if verified_at else ""
    members = pluralize(row.now.group.members, "member")
    st.caption(f"{members} at {escape_markdown(row.place)}{verified}.", width="content")
    links.view_group(row.group_id)


def _show_end(
    bridge: Bridge, person: Actor, run: Run, now: GroupNow | None, *, place: str, with_success: bool = False
) -> None:
    """Show how the latest export of a group ended, and what can be done about it; of a success its state is enough."""
    run_status.headline(run, _when(run))
    if with_success or run.status != RunStatus.SUCCEEDED:
        run_outcome.show(run, now)
    failure_help.show(bridge, person, run, key=f"{place}_again", place=cohort_form.PLACE, with_retry=False)
    held_run.held(bridge, person, run, place=cohort_form.PLACE, key=place)


def _line() -> DeltaGenerator:
    return st.container(horizontal=True, vertical_alignment="center", gap="small")


def _when(run: Run) -> str:
    return f"To {escape_markdown(run.destination)}, {age(run.finished_at)}, took {run_status.took(run) or 'no time'}"
