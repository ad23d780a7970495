"""Syncs: every recurring sync at a glance, and all that can be done with one or with many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.connect import MIXPANEL_SIDE
from core.errors import CohortBridgeError, NotFound
from core.reports import overview
from core.reports.overview import Freshness
from core.rules.due_times import INTERVALS
from core.syncs import listing, recurring, runs, settings
from core.syncs.listing import SyncView
from data.models import Connection, Run, RunFilter, RunStatus, SyncKind, SyncState, utc_now
from pages.parts import charts, held_run, membership_changes, run_status, tables
from pages.parts.formatting import (
    EVERY,
    age,
    clock,
    error_text,
    escape_markdown,
    in_gray,
    number,
    percent_of,
    pluralize,
)
from pages.shell import gate, page_frame, resources

COHORTS = "pages/export/cohorts.py"
GROUPS = "pages/observe/groups.py"
HISTORY = run_status.HISTORY
ALL, ACTIVE, PAUSED, LATE, TROUBLED = "All", "Active", "Paused", "Late", "In trouble"
# So many names are written out where a question names what is affected.
NAMED = 8
EXPECTED: dict[str, bool | None] = {"As the connection says": None, "Yes": True, "No": False}


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


# --- all syncs -----------------------------------------------------------------------------------------------------


def state_text(one: Freshness) -> str:
    """Write a sync's state for a table."""
    if one.view.sync.state == SyncState.PAUSED:
        return "Paused"
    run = one.view.last_run
    if run and run.status in overview.TROUBLED:
        return f"Active, last run {run_status.word_of(run.status).lower()}"
    return "Active, late" if one.is_late else "Active"


def fits(one: Freshness, wanted: str) -> bool:
    """Tell whether a sync is in the state that is asked for."""
    is_on = one.view.sync.state == SyncState.ACTIVE
    run = one.view.last_run
    return {
        ALL: True,
        ACTIVE: is_on,
        PAUSED: not is_on,
        LATE: one.is_late,
        TROUBLED: run is not None and run.status in overview.TROUBLED,
    }[wanted]


def freshness(one: Freshness) -> str:
    """Write how old the group's members are, and whether that is older than it should be."""
    return "Not delivered yet" if one.at is None else age(one.at) + (" (late)" if one.is_late else "")


def last_result(view: SyncView) -> str:
    """Write in a few words what the last run did."""
    run = view.last_run
    if run is None:
        return "No run yet"
    if run.status != RunStatus.SUCCEEDED:
        return run_status.status_text(run)
    if run.write == "none":
        return "Verified, nothing to write"
    return f"{number(run.added)} added, {number(run.removed)} removed"


def next_run(view: SyncView) -> str:
    """Write when the sync runs next."""
    if view.last_run and run_status.is_active(view.last_run):
        return "Now"
    at = view.sync.next_run_at
    if at is None:
        return ""
    return "Due now" if at <= utc_now() else clock(at)


def recurring_syncs(bridge: Bridge, person: Actor) -> list[Freshness]:
    """List the recurring syncs, paused ones first, then by id: an order that only people change."""
    views = [one for one in listing.list_syncs(bridge, person) if one.sync.kind == SyncKind.RECURRING]
    found = overview.freshness(bridge, person, views)
    return sorted(found, key=lambda one: (one.view.sync.state != SyncState.PAUSED, one.view.sync.id))


@st.fragment(run_every="5s")
def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the recurring syncs, kept up to date without a reload."""
    if st.session_state.pop("syncs_chosen", False):
        st.rerun()
    try:
        found = recurring_syncs(bridge, person)
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not found:
        st.info(
            "A recurring sync keeps a group equal to its cohort, every 15 minutes. Start one from a cohort.",
            title="No recurring syncs yet",
            icon=":material/sync:",
        )
        st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
        return
    shown = filtered(found)
    page_frame.show_answer("syncs")
    if not shown:
        st.info("No sync matches the filters.", icon=":material/search_off:")
        return
    table(shown)
    bulk(bridge, person, shown)


def filtered(found: list[Freshness]) -> list[Freshness]:
    """Show how many syncs are in which state, and the search; return those that are asked for."""
    counts = {name: sum(fits(one, name) for one in found) for name in (ALL, ACTIVE, PAUSED, LATE, TROUBLED)}
    tags = sorted({tag for one in found for tag in one.view.sync.tags}, key=str.casefold)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.segmented_control(
            "State",
            list(counts),
            default=ALL,
            required=True,
            format_func={name: in_gray(f"{name} ({number(count)})") for name, count in counts.items()}.__getitem__,
            key="syncs_state",
            persist_state="page",
        )
        text = st.text_input(
            "Search", key="syncs_search", type="search", live="400ms", persist_state="page", width=220,
            placeholder="Group, cohort or destination",
        )  # fmt: skip
        chosen = st.multiselect(
            "Tags", tags, key="syncs_tags", persist_state="page", width=220, placeholder="Any"
        ) if tags else []  # fmt: skip
    words = text.strip().casefold()
    return [
        one
        for one in found
        if fits(one, wanted or ALL)
        and words in f"{one.view.group.name}\n{one.view.group.cohort_name}\n{one.view.destination}".casefold()
        and set(chosen) <= set(one.view.sync.tags)
    ]


def table(shown: list[Freshness]) -> None:
    """Show syncs as rows: each with its button, and to be ticked for what is done with many."""
    ids = tuple(one.view.sync.id for one in shown)
    # Ticks are places in the list: when other syncs stand there now, they are a new list's, where none is ticked.
    key = f"syncs_table_{hash(ids) & 0xFFFFFFFF:x}_{st.session_state.get('syncs_round', 0)}"
    st.session_state["syncs_table"] = key
    tables.rows_to_tick(
        [row(one) for one in shown],
        ids,
        key=key,
        label="Recurring syncs",
        go_to=choose,
        columns={
            "Group": st.column_config.TextColumn(width="medium"),
            "Members": st.column_config.NumberColumn(format="localized"),
            "Slots met, 7 days": st.column_config.ProgressColumn(format="%.1f%%", min_value=0, max_value=100),
            "Tags": st.column_config.ListColumn(),
        },
    )


def row(one: Freshness) -> dict[str, object]:
    """Write a sync for the table."""
    view = one.view
    return {
        "": "Open",
        "Group": view.group.name,
        "State": state_text(one),
        "Members": view.group.members if view.group.delivered_at else None,
        "Members as of": freshness(one),
        "Next run": next_run(view),
        "Last result": last_result(view),
        "Slots met, 7 days": percent_of(one.share),
        "Interval": EVERY.get(view.sync.every_minutes or 0, f"{view.sync.every_minutes} minutes"),
        "Destination": view.destination,
        "Tags": view.sync.tags,
    }


def bulk(bridge: Bridge, person: Actor, shown: list[Freshness]) -> None:
    """Show what can be done with the syncs that are ticked."""
    ticked = tables.ticked(st.session_state["syncs_table"], [one.view.sync.id for one in shown])
    chosen = [one.view for one in shown if one.view.sync.id in ticked]
    on = [one for one in chosen if one.sync.state == SyncState.ACTIVE]
    off = [one for one in chosen if one.sync.state == SyncState.PAUSED]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            f"Pause {number(len(on))}" if on else "Pause", key="syncs_bulk_pause", icon=":material/pause:",
            disabled=not on,
        ):  # fmt: skip
            ask_to_pause(bridge, person, on)
        if st.button(
            f"Resume {number(len(off))}" if off else "Resume", key="syncs_bulk_resume", icon=":material/play_arrow:",
            disabled=not off,
        ):  # fmt: skip
            ask_to_resume(bridge, person, off)
        if len(chosen) == 1:
            st.button("Open", key="syncs_open_one", on_click=choose, args=(chosen[0].sync.id,))
        st.caption(
            f"{pluralize(len(chosen), 'sync')} ticked" if chosen else "Tick syncs to pause or resume several at once.",
            width="content",
        )


@st.dialog("Pause these syncs?", icon=":material/pause:")
def ask_to_pause(bridge: Bridge, person: Actor, chosen: Sequence[SyncView]) -> None:
    """Name what is affected before many syncs are paused."""
    ask_about_many(bridge, person, chosen, pause=True)


@st.dialog("Resume these syncs?", icon=":material/play_arrow:")
def ask_to_resume(bridge: Bridge, person: Actor, chosen: Sequence[SyncView]) -> None:
    """Name what is affected before many syncs go on."""
    ask_about_many(bridge, person, chosen, pause=False)


def ask_about_many(bridge: Bridge, person: Actor, chosen: Sequence[SyncView], *, pause: bool) -> None:
    """Show what is affected, and the two answers."""
    names = "\n".join(
        f"- **{escape_markdown(one.group.name)}** at {escape_markdown(one.destination)}" for one in chosen[:NAMED]
    )
    more = f"\n- and {pluralize(len(chosen) - NAMED, 'more')}" if len(chosen) > NAMED else ""
    st.markdown(names + more)
    st.markdown(
        "Their groups stay as they are and are no longer updated. What they have queued is cancelled."
        if pause
        else "Each runs at once, and then at its interval again."
    )
    ids = [one.sync.id for one in chosen if one.sync.id is not None]
    with st.container(horizontal=True):
        word = "Pause" if pause else "Resume"
        if st.button(f"{word} {pluralize(len(ids), 'sync')}", key="syncs_many_yes", type="primary"):
            many(bridge, person, ids, pause=pause)
            st.rerun()
        if st.button("Leave them", key="syncs_many_no"):
            st.rerun()


def many(bridge: Bridge, person: Actor, ids: Sequence[int], *, pause: bool) -> None:
    """Pause or resume syncs, and say how it went."""
    st.session_state["syncs_round"] = st.session_state.get("syncs_round", 0) + 1
    action = recurring.pause_syncs if pause else recurring.resume_syncs
    try:
        done = action(bridge, person, ids)
    except CohortBridgeError as exc:
        page_frame.answer("syncs", f"Nothing was changed. {error_text(exc)}", failed=True)
        return
    page_frame.answer("syncs", f"{pluralize(done, 'sync')} {'paused' if pause else 'resumed'}.")


# --- one sync ------------------------------------------------------------------------------------------------------


def act(done: str, action: Callable[..., object], *arguments: object, **options: object) -> None:
    """Do what a button asks for, and say how it went."""
    try:
        action(*arguments, **options)
    except CohortBridgeError as exc:
        page_frame.answer("syncs", error_text(exc), failed=True)
        return
    page_frame.forget_answer()
    st.toast(done, icon=":material/check:")


def save(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Store interval, brake and tags as entered."""
    entered = st.session_state
    brake = entered[f"syncs_brake_{sync_id}"] if entered[f"syncs_has_brake_{sync_id}"] else None
    every, tags = entered[f"syncs_every_{sync_id}"], entered[f"syncs_tags_{sync_id}"]
    act("Saved.", settings.edit_sync, bridge, person, sync_id, every_minutes=every, max_shrink=brake, tags=tags)


@st.dialog("Copy this sync to another destination", icon=":material/content_copy:")
def ask_to_clone(bridge: Bridge, person: Actor, view: SyncView, others: list[str]) -> None:
    """Ask where the copy delivers to; all else is as it is here."""
    brake = "" if view.sync.max_shrink is None else f", brake at {view.sync.max_shrink}%"
    every = EVERY.get(view.sync.every_minutes or 0, "").lower()
    st.markdown(
        f"The cohort **{escape_markdown(view.group.cohort_name)}** is also kept in **{escape_markdown(view.group.name)}** at the other "
        f"destination: {every}{brake}. The first run is due at once."
    )
    to = st.selectbox("Destination", others, key="syncs_clone_to")
    with st.container(horizontal=True):
        if st.button("Start the copy", key="syncs_clone_yes", type="primary", icon=":material/content_copy:"):
            clone(bridge, person, view, to)
            st.rerun()
        if st.button("Not now", key="syncs_clone_no"):
            st.rerun()


def clone(bridge: Bridge, person: Actor, view: SyncView, to: str) -> None:
    """Start a sync like this one to another destination, and show it."""
    sync = view.sync
    try:
        copy = recurring.add_sync(
            bridge,
            person,
            sync.cohort_id,
            every_minutes=sync.every_minutes or 15,
            group=view.group.own_name,
            to=to,
            max_shrink=sync.max_shrink,
            tags=sync.tags,
        )
    except CohortBridgeError as exc:
        page_frame.answer("syncs", error_text(exc), failed=True)
        return
    page_frame.answer("syncs", f"This is the copy, sync {copy.id}: its first run is due now.")
    go_to(copy.id)


@st.dialog("Remove this sync?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Name what is affected before a sync is removed."""
    st.markdown(
        f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)} is no longer updated. The group stays as it is, "
        f"with {pluralize(view.group.members, 'member')}, and its history stays too."
    )
    with st.container(horizontal=True):
        if st.button("Remove", key="syncs_remove_yes", type="primary", icon=":material/delete:"):
            act("The sync was removed.", recurring.remove_sync, bridge, person, view.sync.id)
            go_to(None)
            st.rerun()
        if st.button("Keep it", key="syncs_remove_no"):
            st.rerun()


def show_state(one: Freshness) -> None:
    """Show whether the sync is on, and what stopped it if it is not."""
    view = one.view
    is_on = view.sync.state == SyncState.ACTIVE
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(
            "Active" if is_on else "Paused",
            icon=":material/sync:" if is_on else ":material/pause_circle:",
            color="green" if is_on else "orange",
        )
        every = EVERY.get(view.sync.every_minutes or 0, "")
        if one.is_late:
            st.badge("Late", icon=":material/timer_off:", color="red")
        slots = f"{number(min(one.met, one.slots))} of {pluralize(one.slots, 'slot')}"
        met = f" {slots} of the last 7 days met." if one.slots else ""
        delivered = f"Members as of {age(one.at)}" if one.at else "Not delivered yet"
        st.caption(
            f"{every}, to {escape_markdown(view.destination)}. {delivered}. Next run: {next_run(view).lower() or 'none'}.{met}",
            width="content",
        )
        for tag in view.sync.tags:
            st.badge(escape_markdown(tag), icon=":material/sell:", color="gray")
    if not is_on and view.sync.paused_reason:
        st.warning(escape_markdown(view.sync.paused_reason), title="Why it is paused", icon=":material/pause_circle:")


def show_buttons(bridge: Bridge, person: Actor, view: SyncView, found: list[Connection]) -> None:
    """Show what can be done with the sync as a whole."""
    sync_id = view.sync.id
    others = [one.name for one in found if one.side != MIXPANEL_SIDE and one.name != view.destination]
    if view.sync.state == SyncState.REMOVED:
        page_frame.show_answer("syncs")
        return
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
        if st.button(
            "Copy", key="syncs_clone", icon=":material/content_copy:", disabled=not others,
            help="The same sync to another destination." if others else "There is no other destination yet.",
        ):  # fmt: skip
            ask_to_clone(bridge, person, view, others)
        if st.button("Remove", key="syncs_remove", icon=":material/delete:"):
            ask_to_remove(bridge, person, view)
    page_frame.show_answer("syncs")


def show_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show interval, brake and tags, to be changed."""
    assert view.sync.id is not None
    sync_id, brake = view.sync.id, view.sync.max_shrink
    st.subheader("Interval, brake and tags", anchor=False)
    with st.form(f"syncs_form_{sync_id}"):
        left, right = st.columns(2, vertical_alignment="bottom")
        left.selectbox(
            "Interval",
            INTERVALS,
            index=INTERVALS.index(view.sync.every_minutes or 15),
            format_func=EVERY.__getitem__,
            key=f"syncs_every_{sync_id}",
        )
        right.number_input(
            "Most that may leave at once, in percent",
            min_value=0,
            max_value=100,
            value=20 if brake is None else brake,
            key=f"syncs_brake_{sync_id}",
        )
        st.checkbox(
            "Hold a run that would take more members away than that",
            value=brake is not None,
            key=f"syncs_has_brake_{sync_id}",
            help="Nothing is written then until somebody has looked at it.",
        )
        st.multiselect(
            "Tags",
            view.sync.tags,
            default=view.sync.tags,
            accept_new_options=True,
            max_selections=10,
            key=f"syncs_tags_{sync_id}",
            placeholder="Type a word and press Enter",
            help="To find and to pause together what belongs together.",
        )
        st.form_submit_button(
            "Save", key=f"syncs_save_{sync_id}", icon=":material/save:", on_click=save, args=(bridge, person, sync_id)
        )


def save_matching(bridge: Bridge, person: Actor, sync_id: int) -> None:
    """Store how this sync matches users."""
    entered = st.session_state
    act(
        "Saved: the next run uses it.",
        settings.change_sync_matching,
        bridge,
        person,
        sync_id,
        match_property=entered[f"syncs_property_{sync_id}"],
        expects_prefix=EXPECTED[entered[f"syncs_prefix_{sync_id}"]],
    )


def show_matching(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show match settings of the sync's own, to be changed."""
    sync_id, rule = view.sync.id, settings.get_match_rule(bridge, person, view)
    own = view.sync.match_property is not None or view.sync.expects_prefix is not None
    with st.expander("Matching", key=f"syncs_matching_{sync_id}", icon=":material/join:"):
        source = "a setting of its own" if own else "as the connection says"
        st.caption(f"Matched on {escape_markdown(rule.match_property)}, {source}.")
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
    """Show the sync's latest runs, each of which leads to its detail."""
    found = runs.list_runs(bridge, person, RunFilter(sync_id=sync_id), limit=10)
    st.subheader("Latest runs", anchor=False)
    if not found:
        st.caption("None yet: the first one is due at once.")
        return
    tables.rows_to_open(
        [run_row(run) for run in found],
        [run.id for run in found],
        key="syncs_runs",
        label="Latest runs of this sync",
        go_to=open_run,
        columns={
            **{name: st.column_config.NumberColumn(format="localized") for name in ("Members", "Added", "Removed")},
        },
    )
    st.page_link(HISTORY, label="All its runs", icon=":material/history:", query_params={"sync": str(sync_id)})


def open_run(run_id: int | None) -> None:
    """Leave for a run's detail, at the next drawing."""
    st.session_state["syncs_leave_for"] = run_id


def run_row(run: Run) -> dict[str, object]:
    """Write a run for the table."""
    is_good = run.status == RunStatus.SUCCEEDED
    return {
        "": "Open",
        "Run": str(run.id),
        "State": run_status.status_text(run),
        "Members": run.members if is_good else None,
        "Added": run.added if is_good else None,
        "Removed": run.removed if is_good else None,
        "Wrote": {"full": "Everything", "delta": "What changed", "none": "Nothing"}.get(run.write or "", ""),
        "When": age(run.finished_at or run.queued_at),
        "Took": run_status.took(run),
    }


def show_one(bridge: Bridge, person: Actor, view: SyncView, found: list[Connection]) -> None:
    """Show one sync: its state, its run under way or last, its size over time, its settings and history."""
    assert view.sync.id is not None
    assert view.group.id is not None
    st.button(
        "All syncs", key="syncs_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.session_state.pop("syncs_chosen", None)
    st.header(escape_markdown(view.group.name), anchor=False)
    if view.sync.kind != SyncKind.RECURRING or view.sync.state == SyncState.REMOVED:
        st.info(what_it_was(view))
    else:
        show_state(overview.freshness(bridge, person, [view])[0])
        show_buttons(bridge, person, view, found)
    run = view.last_run
    if run is None or not run_status.is_active(run):
        run_status.watch(bridge, person, RunFilter(sync_id=view.sync.id), run.id if run else None)
    show_last_run(bridge, person, run)
    if view.group.delivered_at:
        st.subheader("Size over time", anchor=False)
        charts.size_over_time(bridge, person, view.group.id, key="syncs")
    if view.sync.kind == SyncKind.RECURRING and view.sync.state != SyncState.REMOVED:
        show_settings(bridge, person, view)
        show_matching(bridge, person, view)
    show_runs(bridge, person, view.sync.id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            COHORTS, label="Its cohort", icon=":material/groups:", query_params={"cohort": str(view.sync.cohort_id)}
        )
        if view.group.delivered_at:
            st.page_link(
                GROUPS, label="Its members", icon=":material/patient_list:", query_params={"group": str(view.group.id)}
            )


def what_it_was(view: SyncView) -> str:
    """Say what a sync was that does not go on."""
    if view.sync.state == SyncState.REMOVED:
        return "This sync was removed."
    if view.last_run and view.last_run.dry_run and not view.group.delivered_at:
        return "This was a preview: nothing was exported yet. Its cohort has the button that does."
    return "This was a one-time export."


def show_last_run(bridge: Bridge, person: Actor, run: Run | None) -> None:
    """Show the run that is under way, or the last one, and what it waits for."""
    if run is None or run.id is None:
        st.caption("No run yet: as soon as a worker takes the first one, it is shown here.")
        return
    if run_status.is_active(run):
        run_status.progress(bridge, person, run.id)
        return
    st.subheader("Last run", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        run_status.badge(run)
        st.caption(f"{age(run.finished_at)}, took {run_status.took(run) or 'no time'}", width="content")
        run_status.link(run)
    run_status.outcome(run)
    held_run.held(bridge, person, run, place="syncs")
    if run.status == RunStatus.HELD:
        membership_changes.show(bridge, person, run, key="syncs_held")
    if run.status == RunStatus.SUCCEEDED:
        run_status.funnel(run)
        run_status.changes(run)


person = gate.require(Role.ANALYST)
bridge = resources.bridge()
if leave_for := st.session_state.pop("syncs_leave_for", None):
    st.switch_page(HISTORY, query_params={"run": str(leave_for)})
found = page_frame.open_page(
    bridge, person, "Syncs", "Groups that follow their cohorts, and how each of them is doing."
)
try:
    asked = st.query_params.get("sync")
    if asked and asked.isascii() and asked.isdigit() and len(asked) < 19:
        try:
            show_one(bridge, person, listing.get_sync(bridge, person, int(asked)), found)
        except NotFound:
            st.warning(f"There is no sync {escape_markdown(asked)}.", icon=":material/search_off:")
            st.button("All syncs", key="syncs_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(bridge, person)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
