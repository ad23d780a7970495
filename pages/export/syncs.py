"""Syncs: every recurring sync at a glance, and all that can be done with one or with many."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports import overview, run_history
from core.reports.group_state import GroupState, group_states
from core.reports.overview import Freshness
from core.reports.run_history import IN_A_ROW
from core.reports.slots import OnTime
from core.syncs import listing, runs
from core.syncs.listing import SyncView
from data.models import Connection, Run, RunFilter, RunStatus, SyncKind, SyncState
from pages.export import sync_actions, sync_dialogs, sync_settings, sync_table
from pages.parts import (
    answers,
    causes,
    charts,
    failure_help,
    held_run,
    held_run_dialog,
    links,
    membership_changes,
    run_outcome,
    run_status,
    run_strip,
    selection,
    state_chips,
    tables,
    whom_to_ask,
)
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import (
    age,
    clock,
    escape_markdown,
    in_gray,
    number,
    own_times,
    pause_reason,
    pluralize,
    timing_text,
)
from pages.parts.selection import Selection
from pages.shell import gate, page_frame, resources

SYNCS = Selection(
    "sync",
    key="syncs_back",
    all_rows="All syncs",
    unknown="There is no sync {}.",
    row_params=("show", membership_changes.WHO),
)
RUNS, SIZE = "Latest runs", "Size over time"
IN_ADDRESS = {RUNS: "runs", SIZE: "size"}
# Above them a strip has more of them.
LATEST = 5
WRITES = {"full": "Everything", "delta": "What changed", "none": "Nothing"}


def recurring_syncs(bridge: Bridge, person: Actor) -> list[Freshness]:
    """List the recurring syncs, paused ones first, then by id: an order that only people change."""
    views = [view for view in listing.list_syncs(bridge, person) if view.sync.kind == SyncKind.RECURRING]
    syncs = overview.freshness(bridge, person, views)
    return sorted(syncs, key=lambda sync: (sync.view.sync.state != SyncState.PAUSED, sync.view.sync.id))


@st.fragment(run_every="5s")
def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the recurring syncs, kept up to date without a reload."""
    selection.redraw_if_opened("syncs")
    page_frame.redraw_if_asked()
    with show_errors():
        syncs = recurring_syncs(bridge, person)
        if not syncs:
            st.info(
                "A recurring sync keeps a group up to date with its cohort, every 15 minutes. Start one from a cohort.",
                title="No recurring syncs yet",
                icon=":material/sync:",
            )
            links.pick_cohort()
            return
        filters = Filters("syncs")
        shown = sync_table.filtered(syncs, filters)
        filters.show_unknown()
        answers.show(bridge, person, sync_dialogs.PLACE)
        if not shown:
            filters.show_none("No sync matches the filters.")
            return
        go_to = selection.redraw_page_for("syncs", SYNCS.go_to)
        ids = [sync.view.sync.id for sync in shown if sync.view.sync.id is not None]
        latest = run_history.list_latest_in_a_row(bridge, person, ids)
        sync_table.show(shown, latest, resources.on_time(bridge, person, [sync.view for sync in shown]), go_to)
        sync_actions.buttons_for_selected(syncs, shown, go_to)


def show_one(bridge: Bridge, person: Actor, view: SyncView, connections: list[Connection]) -> None:
    """Show one sync: its state, its settings, its active or last run, and its past."""
    assert view.sync.id is not None
    assert view.group.id is not None
    SYNCS.back_button()
    st.header(escape_markdown(view.group.name), anchor=False)
    is_kept = view.sync.kind == SyncKind.RECURRING and view.sync.state != SyncState.REMOVED
    if is_kept:
        on_time = resources.on_time(bridge, person, [view])[view.sync.id]
        show_state(bridge, person, overview.freshness(bridge, person, [view])[0], on_time)
        sync_actions.show_buttons(bridge, person, view, connections)
        # Above all that grows with what happens: who comes to change the time finds it in any state.
        sync_settings.show_settings(bridge, person, view)
    else:
        st.info(ended_text(view))
        answers.show(bridge, person, sync_dialogs.PLACE)
    run = view.last_run
    if view.unresolved_run and view.is_held and (run is None or view.unresolved_run.id != run.id):
        show_end(bridge, person, view.unresolved_run, heading="Waits for a decision")
    show_last_run(bridge, person, run)
    show_past(bridge, person, view)
    show_links(view)
    if run is None or not run_status.is_active(run):
        run_status.watch(bridge, person, RunFilter(sync_id=view.sync.id), run.id if run else None)


def show_links(view: SyncView) -> None:
    """Lead to all of what this page shows a part of: the runs, the cohort, the group."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.last_run:
            of_sync = {"sync": str(view.sync.id)}
            st.page_link(links.HISTORY, label="All runs of this sync", icon=":material/history:", query_params=of_sync)
        links.view_cohort(view.sync.cohort_id, project_id=view.sync.project_id, to=view.destination)
        if view.group.delivered_at:
            links.view_group(view.group.id)


def show_past(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show the latest runs, or the size of the group over time; the address names which."""
    assert view.sync.id is not None
    shown = RUNS
    if view.group.delivered_at:
        shown = Filters("syncs_one").one(
            st.segmented_control, "Past", "show", {name: in_gray(name) for name in IN_ADDRESS},
            default=RUNS, in_address=IN_ADDRESS, required=True, label_visibility="collapsed",
        )  # fmt: skip
    if shown == RUNS:
        show_runs(bridge, person, view.sync.id)
    else:
        charts.size_over_time(bridge, person, view.group.id or 0, key="syncs")


def show_state(bridge: Bridge, person: Actor, sync: Freshness, on_time: OnTime) -> None:
    """Show how the sync is, in the words of the list, and what stopped it if it is paused."""
    view = sync.view
    is_on = view.sync.state == SyncState.ACTIVE
    doubt = [str(GroupState.IN_DOUBT)] if view.group.in_doubt else []
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for word in [*state_chips.of_sync(sync), *doubt]:
            st.badge(word, icon=f":material/{state_chips.icon_of(word)}:", color=state_chips.color_of(word))
        st.caption(
            state_text(sync, on_time), width="content", help=sync_table.OWN_TIMES if view.sync.every_minutes else None
        )
        for tag in view.sync.tags:
            st.badge(escape_markdown(tag), icon=":material/sell:", color="gray")
    if not is_on and view.sync.paused_reason:
        reason = pause_reason(view.sync)
        st.warning(escape_markdown(reason), title="Why it is paused", icon=":material/pause_circle:")
        whom_to_ask.show_way_named_in(reason, bridge, person)


def state_text(sync: Freshness, on_time: OnTime) -> str:
    """Format how often the sync runs, where to, when it did and will, and how many of its runs were on time."""
    view = sync.view
    every = escape_markdown(", ".join(filter(None, [timing_text(view.sync), own_times(view.sync)])))
    updated = f"Updated {age(sync.at)}" if sync.at else "Not delivered yet"
    next_run = sync_table.next_run(view, resources.now()) or "none"
    next_run = next_run[0].lower() + next_run[1:]
    limit = "No shrink limit" if view.sync.max_shrink is None else f"Shrink limit {view.sync.max_shrink}%"
    text = f"{every}, to {escape_markdown(view.destination)}. {updated}. Next run: {next_run}. {limit}."
    if on_time.due:
        runs = pluralize(on_time.due, "scheduled run")
        text += f" On time in the last 7 days: {number(on_time.met)} of {runs}."
    return text


def ended_text(view: SyncView) -> str:
    """Format what a sync was that is no longer kept up to date."""
    if view.sync.state == SyncState.REMOVED:
        return "This sync was removed."
    if view.last_run and view.last_run.dry_run and not view.group.delivered_at:
        return "This was a preview: nothing was exported yet. Start the export from its cohort."
    return "This was a one-time export."


def show_last_run(bridge: Bridge, person: Actor, run: Run | None) -> None:
    """Show the run that is active, or the last one, and what it waits for.

    Each part of the one takes the place of its part of the other, so that what stands below hardly moves at the end.
    """
    if run is None or run.id is None:
        st.caption("No run yet: the first one is shown here once a worker starts it.")
    elif run_status.is_active(run):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader("This run", anchor=False, width="content")
            st.caption(f"Queued at {clock(run.queued_at)}", width="content")
            run_status.link(run)
        run_status.progress(bridge, person, run.id, with_name=False)
        run_status.changes_to_come()
    else:
        show_end(bridge, person, run, heading="Last run")


def show_end(bridge: Bridge, person: Actor, run: Run, *, heading: str) -> None:
    """Show how a run ended, and what can be done about it."""
    took = run_status.took(run) or "no time"
    run_status.headline(run, f"{age(run.finished_at)}, took {took}", heading=heading)
    run_outcome.show(run, group_states(bridge, person, only=[run.group_id]).get(run.group_id))
    held_run.held(bridge, person, run, place=sync_dialogs.PLACE)
    failure_help.show(bridge, person, run, key="syncs_again", place=sync_dialogs.PLACE, with_retry=False)
    if run.status == RunStatus.HELD:
        membership_changes.show(bridge, person, run, key="syncs_held")
    if run.status == RunStatus.SUCCEEDED:
        run_status.changes(run)


def show_runs(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Show the sync's latest runs, each of which leads to its detail."""
    in_a_row = runs.list_runs(bridge, person, RunFilter(sync_id=sync_id), limit=IN_A_ROW)
    latest = in_a_row[:LATEST]
    if not latest:
        st.caption("None yet: the first one is due at once.")
        return
    run_strip.show(in_a_row, key="syncs")
    states = [state_chips.of_run(run) for run in latest]
    rows = [run_row(run, state) for run, state in zip(latest, states, strict=True)]
    tables.rows_to_open(
        rows,
        [run.id for run in latest],
        key="syncs_runs",
        order=tables.filled(rows, "Members", "Cause", "Change"),
        label="Latest runs of this sync",
        go_to=selection.opener(links.HISTORY, "run"),
        opens="Run",
        opens_width=75,
        columns={
            "State": state_chips.column(states),
            "Members": st.column_config.NumberColumn(format="localized", width=72),
            **tables.texts(rows, Cause=250, Change=110),
        },
    )


def run_row(run: Run, states: list[str]) -> dict[str, object]:
    """Format a run for the table."""
    return {
        "Run": str(run.id),
        "State": states,
        "Members": run.members if run.status == RunStatus.SUCCEEDED else None,
        "Cause": causes.of_run(run),
        "Change": run_status.change_short(run),
        "Wrote": WRITES.get(run.write or "", ""),
        "When": age(run.finished_at or run.queued_at),
        "Took": run_status.took(run),
    }


person = gate.require(Role.ANALYST)
bridge = resources.bridge()
intro = "" if SYNCS.requested else "Groups that follow their cohorts, and how each of them is doing."
connections = page_frame.open_page(bridge, person, "Syncs", intro)
with show_errors():
    if not SYNCS.requested:
        show_list(bridge, person)
    elif view := SYNCS.find(partial(listing.get_sync, bridge, person)):
        show_one(bridge, person, view, connections)
held_run_dialog.show(bridge, person)
sync_dialogs.show(bridge, person, connections, SYNCS.go_to)
