"""History: every run, and what each of them did."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports import overview, run_history
from core.reports.group_state import group_states
from core.syncs import listing, runs
from core.syncs.runs import count_runs, list_runs
from data.models import Run, RunFilter, RunStatus
from pages.parts import (
    answers,
    causes,
    download,
    failure_help,
    held_run,
    held_run_dialog,
    links,
    periods,
    run_days,
    run_details,
    run_log,
    run_outcome,
    run_status,
    saved_filters,
    state_chips,
    tables,
)
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import age, clock, escape_markdown, moment, number, pluralize
from pages.parts.pager import Pager
from pages.parts.periods import PERIODS
from pages.parts.selection import Selection, tell_apart
from pages.shell import gate, page_frame, resources

ANY_TIME = next(iter(PERIODS))
RUNS = Selection(
    "run", key="history_back", all_rows="All runs", unknown="There is no run {}.", row_params=run_details.PARAMS
)
PAGER = Pager("history_page", name="page")
# Beside each other on a phone as well.
_TEXT_PX, _STATE_PX = 190, 150


def show_filters(bridge: Bridge, person: Actor, filters: Filters) -> RunFilter:
    """Show the filters, with those that the person has kept; return what they ask for."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = filters.text(
            st.text_input, "Cohort or group", "text", live="400ms", placeholder="Part of the name", width=_TEXT_PX
        )
        statuses = filters.many(
            st.multiselect, "State", "status", run_status.status_names(), placeholder="All", width=_STATE_PX
        )
        with st.container(horizontal=True, width="content"):
            with filters.behind_button("destination", "period", "trigger", "sync", "actor", "dry"):
                more = _more_filters(bridge, person, filters)
            saved_filters.show(bridge, person, filters, page="history", path=links.HISTORY)
    page_frame.show_answer(saved_filters.place_of("history"))
    return replace(more, statuses=statuses, text=text)


def _more_filters(bridge: Bridge, person: Actor, filters: Filters) -> RunFilter:
    places = {place: place for place in run_history.list_run_destinations(bridge, person)}
    destination = filters.one(st.selectbox, "Destination", "destination", places, placeholder="Any")
    with st.container(horizontal=True):
        start, end = periods.choose(filters, bridge.clock.now(), default=ANY_TIME)
    triggers = filters.many(st.multiselect, "Started", "trigger", run_status.TRIGGERS, placeholder="In any way")
    sync_id = filters.one(
        st.selectbox, "Sync", "sync",
        tell_apart(overview.sync_names(bridge, person), lambda sync_id: f" (sync {sync_id})"),
        placeholder="Any", unknown="There is no sync {}: the runs of all syncs are shown.",
    )  # fmt: skip
    actors = {actor: actor for actor in overview.list_run_actors(bridge, person)}
    actor = filters.one(st.selectbox, "By", "actor", actors, placeholder="Anyone")
    with_dry_runs = filters.switch(st.toggle, "With previews", "dry", default=True)
    return RunFilter(
        sync_id=sync_id, triggers=triggers, actor=actor or "", with_dry_runs=with_dry_runs,
        destination=destination or "", since=start, until=end,
    )  # fmt: skip


def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the runs that the filters ask for, a page at a time."""
    filters = Filters("history", PAGER)
    asked = show_filters(bridge, person, filters)
    filters.show_unknown()
    run_days.show(bridge, person, asked, key="history_days", pager=PAGER)
    total = count_runs(bridge, person, asked)
    if not total:
        _show_none(bridge, person, filters)
        return
    runs = list_runs(bridge, person, asked, limit=PAGER.rows, offset=PAGER.offset(total))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        shown = PAGER.range_text(len(runs), pluralize(total, "run"), total=total)
        st.caption(f"{shown}, the newest first", width="content")
        download.offer_csv(
            partial(overview.runs_csv, bridge, person, asked),
            file_name="runs.csv",
            key="history_download",
            help="All runs that match the filters, with all their counts; times are in UTC.",
        )
    _show_table(runs, bridge.clock.now())
    PAGER.buttons(total)


def _show_none(bridge: Bridge, person: Actor, filters: Filters) -> None:
    if list_runs(bridge, person, limit=1):
        filters.show_none("No run matches the filters.")
        return
    st.info("Every export is listed here, with what it did.", title="No runs yet", icon=":material/history:")
    if person.role >= Role.ANALYST:
        links.pick_cohort()


def _show_table(runs: list[Run], now: datetime) -> None:
    states = [state_chips.of_run(run) for run in runs]
    rows = [table_row(run, state, now) for run, state in zip(runs, states, strict=True)]
    tables.rows_to_open(
        rows,
        [run.id for run in runs],
        key="history",
        order=tables.filled(rows, "Members", "Cause", "Change"),
        label="Runs",
        go_to=RUNS.go_to,
        opens="Group",
        opens_width=140,
        # As wide together as there is room for at 1280 pixels.
        columns={
            "State": state_chips.column(states),
            "Members": st.column_config.NumberColumn(format="localized", width=72),
            **tables.texts(
                rows,
                **{"Cause": 156, "Destination": 120, "Change": 110, "Queued": 112, "Run": 70, "Started by": 190},
            ),
        },
    )


def table_row(run: Run, states: list[str], now: datetime) -> dict[str, object]:
    """Format a run for the table."""
    return {
        "Group": run.group_name,
        "State": states,
        "Members": run.members if run.status == RunStatus.SUCCEEDED else None,
        "Cause": causes.of_run(run),
        "Destination": run.destination,
        "Change": run_status.change_short(run),
        "Queued": when(run.queued_at, now),
        "Run": str(run.id),
        "Started by": run_status.started_by(run),
        "Took": run_status.took(run),
        "Started": run_status.TRIGGERS.get(run.trigger, run.trigger),
    }


def when(at: datetime, now: datetime) -> str:
    """Format when a run was queued: how long ago today, the time of day before."""
    return age(at, now=now) if now - at < timedelta(hours=12) else clock(at, now=now)


def show_one(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show all that is known of one run: how it ended and what to do, what it changed, and on request the rest."""
    assert run.id is not None
    RUNS.back_button()
    st.header(f"Run {run.id}: {escape_markdown(run.group_name)}", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        run_status.badge(run)
        at = run.finished_at or run.queued_at
        worker = f" Worker {escape_markdown(run.worker)}." if run.worker else ""
        st.caption(
            f"{moment(at)}, {age(at)}. To {escape_markdown(run.destination)}, by {escape_markdown(run.actor)}.{worker}",
            width="content",
        )
    held_run.show_other(bridge, person, run)
    answers.show(bridge, person, "history", follow=True)
    if run_status.is_active(run):
        run_status.progress(bridge, person, run.id)
    else:
        _show_outcome(bridge, person, run)
    _show_details(bridge, person, run)
    _show_links(bridge, person, run)


def _show_outcome(bridge: Bridge, person: Actor, run: Run) -> None:
    run_outcome.show(run, group_states(bridge, person, only=[run.group_id]).get(run.group_id))
    held_run.held(bridge, person, run, place="history")
    failure_help.show(bridge, person, run, key="history_again", place="history")
    held_run.show_undo(bridge, person, run, place="history")


def _show_details(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show what a run came to, or one of its longer lists."""
    run_details.show(
        bridge,
        person,
        run,
        key="history",
        more={
            "steps": ("Steps", lambda: _show_steps(run, _log_of(bridge, person, run))),
            "calls": ("API calls", lambda: _show_calls(run, _log_of(bridge, person, run))),
        },
    )


def _log_of(bridge: Bridge, person: Actor, run: Run) -> dict[str, Any] | None:
    return overview.get_run_log(bridge, person, run.id or 0)


def _show_steps(run: Run, log: dict[str, Any] | None) -> None:
    with st.container(width=720):
        st.table(run_log.steps(run, log), hide_index=True, border="horizontal")


def _show_calls(run: Run, log: dict[str, Any] | None) -> None:
    run_status.tiles(
        [
            ("Queries", number(run.queries), "Counted against the hourly limit of the Mixpanel project."),
            ("Requests", number(run.requests), "To Mixpanel, retries included."),
            ("Messages", number(run.messages), "To the destination; none for a CSV folder."),
        ]
    )
    run_log.calls(log)


def _show_links(bridge: Bridge, person: Actor, run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if person.role >= Role.ANALYST:
            sync = listing.get_sync(bridge, person, run.sync_id).sync
            links.view_cohort(run.cohort_id, project_id=sync.project_id, to=run.destination)
            links.view_sync(run.sync_id)
        links.view_group(run.group_id)


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
intro = "" if RUNS.requested else "Every run, what it did, and why it stopped where it did."
page_frame.open_page(bridge, person, "History", intro)
with show_errors():
    if not RUNS.requested:
        show_list(bridge, person)
    elif run := RUNS.find(partial(runs.get_run, bridge, person)):
        show_one(bridge, person, run)
held_run_dialog.show(bridge, person)
