"""Syncs: every recurring sync at a glance, and all that can be done with one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import streamlit as st

from core import recurring, syncs
from core.access import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError, NotFound
from core.recurring import INTERVALS, SyncView
from data.models import Run, Status, SyncKind, SyncState, utc_now
from data.runs import RunFilter
from pages.shared import decide, guard, listing, notices, resources, run_view
from pages.shared.text import EVERY, age, clock, counted, number, plain, said

COHORTS = "pages/export/cohorts.py"
GROUPS = "pages/observe/groups.py"
EXPECTED: dict[str, bool | None] = {"As the connection says": None, "Yes": True, "No": False}
# A group that is older than two intervals missed at least one of them.
_LATE_AFTER = 2.2


def go_to(sync_id: int | None) -> None:
    """Show one sync, or all of them again; the address says which."""
    if sync_id is None:
        st.query_params.pop("sync", None)
    else:
        st.query_params["sync"] = str(sync_id)


def choose(sync_id: int | None) -> None:
    """Show the sync whose row was chosen: the whole page, not only the list that keeps itself up to date."""
    go_to(sync_id)
    st.session_state["syncs_chosen"] = True


def state_text(view: SyncView) -> str:
    """Write a sync's state for a table: paused ones first need a person."""
    if view.sync.state == SyncState.PAUSED:
        return "Paused"
    if view.last_run and view.last_run.status in (Status.FAILED, Status.HELD, Status.INTERRUPTED):
        return f"Active, last run {run_view.word_of(view.last_run.status).lower()}"
    return "Active"


def freshness(view: SyncView) -> str:
    """Write how old the group's members are, and whether that is older than it should be."""
    at = view.group.verified_at or view.group.delivered_at
    return "Not delivered yet" if at is None else age(at) + (" (late)" if is_late(view, at) else "")


def is_late(view: SyncView, at: datetime) -> bool:
    """Tell whether the members are older than the interval promises."""
    if view.sync.state != SyncState.ACTIVE or not view.sync.every_minutes:
        return False
    return (utc_now() - at).total_seconds() > _LATE_AFTER * view.sync.every_minutes * 60


def last_result(view: SyncView) -> str:
    """Write in a few words what the last run did."""
    run = view.last_run
    if run is None:
        return "No run yet"
    if run.status != Status.SUCCEEDED:
        return run_view.status_text(run)
    if run.write == "none":
        return "Verified, nothing to write"
    return f"{number(run.added)} added, {number(run.removed)} removed"


def next_run(view: SyncView) -> str:
    """Write when the sync runs next."""
    if view.last_run and run_view.is_active(view.last_run):
        return "Now"
    at = view.sync.next_run_at
    if at is None:
        return ""
    return "Due now" if at <= utc_now() else clock(at)


@st.fragment(run_every="5s")
def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the recurring syncs, kept up to date without a reload."""
    if st.session_state.pop("syncs_chosen", False):
        st.rerun()
    try:
        found = [one for one in recurring.list_syncs(bridge, person) if one.sync.kind == SyncKind.RECURRING]
    except CohortBridgeError as exc:
        st.error(said(exc), icon=":material/error:")
        return
    if not found:
        st.info(
            "A recurring sync keeps a group equal to its cohort, every 15 minutes. Start one from a cohort.",
            title="No recurring syncs yet",
            icon=":material/sync:",
        )
        st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
        return
    found.sort(key=lambda one: (one.sync.state != SyncState.PAUSED, one.sync.id))
    paused = sum(one.sync.state == SyncState.PAUSED for one in found)
    st.caption(counted(len(found), "recurring sync") + (f", {number(paused)} of them paused" if paused else ""))
    listing.rows_to_open(
        [row(one) for one in found],
        [one.sync.id for one in found],
        key="syncs",
        label="Recurring syncs",
        go_to=choose,
        columns={
            "Group": st.column_config.TextColumn(width="medium"),
            "Members": st.column_config.NumberColumn(format="localized"),
        },
    )


def row(view: SyncView) -> dict[str, object]:
    """Write a sync for the table."""
    return {
        "": "Open",
        "Group": view.group.name,
        "State": state_text(view),
        "Members": view.group.members if view.group.delivered_at else None,
        "Up to date": freshness(view),
        "Next run": next_run(view),
        "Last result": last_result(view),
        "Interval": EVERY.get(view.sync.every_minutes or 0, f"{view.sync.every_minutes} minutes"),
        "Destination": view.destination,
    }


def act(done: str, action: Callable[..., object], *arguments: object, **options: object) -> None:
    """Do what a button asks for, and say how it went."""
    try:
        action(*arguments, **options)
    except CohortBridgeError as exc:
        notices.answer("syncs", said(exc), failed=True)
        return
    notices.forget_answer()
    st.toast(done, icon=":material/check:")


def save(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Store interval and brake as entered."""
    entered = st.session_state
    brake = entered[f"syncs_brake_{sync_id}"] if entered[f"syncs_has_brake_{sync_id}"] else None
    every = entered[f"syncs_every_{sync_id}"]
    act("Saved.", recurring.edit_sync, bridge, person, sync_id, every_minutes=every, max_shrink=brake)


@st.dialog("Remove this sync?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Name what is affected before a sync is removed."""
    st.markdown(
        f"**{plain(view.group.name)}** at {plain(view.destination)} is no longer updated. The group stays as it is, "
        f"with {counted(view.group.members, 'member')}, and its history stays too."
    )
    with st.container(horizontal=True):
        if st.button("Remove", key="syncs_remove_yes", type="primary", icon=":material/delete:"):
            act("The sync was removed.", recurring.remove_sync, bridge, person, view.sync.id)
            go_to(None)
            st.rerun()
        if st.button("Keep it", key="syncs_remove_no"):
            st.rerun()


def show_state(view: SyncView) -> None:
    """Show whether the sync is on, and what stopped it if it is not."""
    is_on = view.sync.state == SyncState.ACTIVE
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(
            "Active" if is_on else "Paused",
            icon=":material/sync:" if is_on else ":material/pause_circle:",
            color="green" if is_on else "orange",
        )
        every = EVERY.get(view.sync.every_minutes or 0, "")
        st.caption(f"{every}, to {plain(view.destination)}. Up to date: {freshness(view)}.", width="content")
    if not is_on and view.sync.paused_reason:
        st.warning(plain(view.sync.paused_reason), title="Why it is paused", icon=":material/pause_circle:")


def show_buttons(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show what can be done with the sync as a whole."""
    sync_id = view.sync.id
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.sync.state == SyncState.PAUSED:
            st.button(
                "Resume",
                key="syncs_resume",
                type="primary",
                icon=":material/play_arrow:",
                on_click=act,
                args=("The sync goes on.", recurring.resume_sync, bridge, person, sync_id),
            )
        else:
            st.button(
                "Pause",
                key="syncs_pause",
                icon=":material/pause:",
                on_click=act,
                args=("The sync is paused.", recurring.pause_sync, bridge, person, sync_id),
            )
        st.button(
            "Run now",
            key="syncs_run",
            icon=":material/refresh:",
            on_click=act,
            args=("A run is queued.", recurring.run_now, bridge, person, sync_id),
        )
        if st.button("Remove", key="syncs_remove", icon=":material/delete:"):
            ask_to_remove(bridge, person, view)
    notices.show_answer("syncs")


def show_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show interval and brake, to be changed."""
    assert view.sync.id is not None
    sync_id, brake = view.sync.id, view.sync.max_shrink
    st.subheader("Interval and brake", anchor=False)
    with st.form(f"syncs_form_{sync_id}"):
        left, right = st.columns(2)
        left.selectbox(
            "Interval",
            INTERVALS,
            index=INTERVALS.index(view.sync.every_minutes or 15),
            format_func=EVERY.__getitem__,
            key=f"syncs_every_{sync_id}",
        )
        left.checkbox(
            "Hold a run that would take many members away",
            value=brake is not None,
            key=f"syncs_has_brake_{sync_id}",
            help="Nothing is written then until somebody has looked at it.",
        )
        right.number_input(
            "Largest share that may leave at once, in percent",
            min_value=0,
            max_value=100,
            value=20 if brake is None else brake,
            key=f"syncs_brake_{sync_id}",
        )
        st.form_submit_button(
            "Save", key=f"syncs_save_{sync_id}", icon=":material/save:", on_click=save, args=(bridge, person, sync_id)
        )


def save_matching(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Store how this sync matches users."""
    entered = st.session_state
    act(
        "Saved: the next run uses it.",
        recurring.change_sync_matching,
        bridge,
        person,
        sync_id,
        match_property=entered[f"syncs_property_{sync_id}"],
        expects_prefix=EXPECTED[entered[f"syncs_prefix_{sync_id}"]],
    )


def show_matching(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show match settings of the sync's own, to be changed."""
    sync_id, rule = view.sync.id, recurring.match_rule(bridge, person, view)
    own = view.sync.match_property is not None or view.sync.expects_prefix is not None
    with st.expander("Matching", key=f"syncs_matching_{sync_id}", icon=":material/join:"):
        source = "a setting of its own" if own else "as the connection says"
        st.caption(f"Matched on {plain(rule.match_property)}, {source}.")
        if rule.may_misattribute:
            st.warning(
                "This is a Simplified project that is matched on another property than `$user_id`. Events that "
                "Apptimize sends back to Mixpanel may not be attributed to the right user.",
                icon=":material/warning:",
            )
        with st.form(f"syncs_match_form_{sync_id}", border=False):
            left, right = st.columns(2)
            left.text_input(
                "Match property of this sync",
                value=view.sync.match_property or "",
                key=f"syncs_property_{sync_id}",
                placeholder="As the connection says",
                help="Another property overwrites the group in full at the next run.",
            )
            right.selectbox(
                "Expected to start with i_ or a_",
                list(EXPECTED),
                index=list(EXPECTED.values()).index(view.sync.expects_prefix),
                key=f"syncs_prefix_{sync_id}",
            )
            st.form_submit_button(
                "Save matching",
                key=f"syncs_match_save_{sync_id}",
                icon=":material/save:",
                on_click=save_matching,
                args=(bridge, person, sync_id),
            )


def show_runs(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Show the sync's latest runs."""
    found = syncs.list_runs(bridge, person, RunFilter(sync_id=sync_id), limit=10)
    st.subheader("Latest runs", anchor=False)
    if not found:
        st.caption("None yet: the first one is due at once.")
        return
    st.dataframe(
        [run_row(run) for run in found],
        key="syncs_runs",
        hide_index=True,
        height="content",
        placeholder="",
        alt="Latest runs of this sync",
        column_config={
            **{name: st.column_config.NumberColumn(format="localized") for name in ("Members", "Added", "Removed")},
        },
    )
    st.page_link(run_view.HISTORY, label="See History", icon=":material/history:")


def run_row(run: Run) -> dict[str, object]:
    """Write a run for the table."""
    is_good = run.status == Status.SUCCEEDED
    return {
        "Run": str(run.id),
        "State": run_view.status_text(run),
        "Members": run.members if is_good else None,
        "Added": run.added if is_good else None,
        "Removed": run.removed if is_good else None,
        "Wrote": {"full": "Everything", "delta": "What changed", "none": "Nothing"}.get(run.write or "", ""),
        "When": age(run.finished_at or run.queued_at),
        "Took": run_view.took(run),
    }


def show_one(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show one sync: its state, its run under way or last, its settings and history."""
    assert view.sync.id is not None
    st.button(
        "All syncs", key="syncs_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.session_state.pop("syncs_chosen", None)
    st.header(plain(view.group.name), anchor=False)
    show_state(view)
    show_buttons(bridge, person, view)
    run = view.last_run
    if run and run.id and run_view.is_active(run):
        run_view.progress(bridge, person, run.id)
    elif run and run.id:
        st.subheader("Last run", anchor=False)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            run_view.badge(run)
            st.caption(f"{age(run.finished_at)}, took {run_view.took(run) or 'no time'}", width="content")
            run_view.link(run)
        run_view.outcome(run)
        decide.held(bridge, person, run, place="syncs")
        if run.status == Status.SUCCEEDED:
            run_view.funnel(run)
            run_view.changes(run)
    show_settings(bridge, person, view)
    show_matching(bridge, person, view)
    show_runs(bridge, person, view.sync.id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            COHORTS, label="Its cohort", icon=":material/groups:", query_params={"cohort": str(view.sync.cohort_id)}
        )
        st.page_link(
            GROUPS, label="Its members", icon=":material/patient_list:", query_params={"group": str(view.group.id)}
        )


person = guard.require(Role.ANALYST)
bridge = resources.bridge()
notices.open_page(bridge, person, "Syncs", "Groups that follow their cohorts, and how each of them is doing.")
try:
    asked = st.query_params.get("sync")
    if asked and asked.isascii() and asked.isdigit() and len(asked) < 19:
        try:
            show_one(bridge, person, recurring.get_sync(bridge, person, int(asked)))
        except NotFound:
            st.warning(f"There is no sync {plain(asked)}.", icon=":material/search_off:")
            st.button("All syncs", key="syncs_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(bridge, person)
except CohortBridgeError as exc:
    st.error(said(exc), icon=":material/error:")
