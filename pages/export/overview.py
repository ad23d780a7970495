"""Overview: is everything all right, and what next?"""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import syncs
from core.access import Actor, Role
from core.bridge import Bridge
from core.connections import MIXPANEL_SIDE
from core.errors import CohortBridgeError
from data.models import Connection, Run, Status
from data.runs import RunFilter
from pages.shared import guard, listing, notices, resources, run_view
from pages.shared.text import age, clock, counted, plain, said

COHORTS = "pages/export/cohorts.py"
HISTORY = "pages/observe/history.py"
TROUBLED = (Status.FAILED, Status.HELD, Status.INTERRUPTED)
LOOKED_AT = 200
SHOWN = 8


def next_step(bridge: Bridge, person: Actor, found: list[Connection]) -> bool:
    """Show a newcomer the one step that is next. Returns whether anything was exported yet."""
    has_mixpanel = any(one.side == MIXPANEL_SIDE for one in found)
    has_destination = any(one.side != MIXPANEL_SIDE for one in found)
    if not (has_mixpanel and has_destination):
        missing = "Apptimize" if has_mixpanel else "Mixpanel" if has_destination else "Mixpanel and Apptimize"
        with st.container(border=True):
            st.subheader(f"Connect {missing}", anchor=False)
            st.write("Cohort Bridge reads cohorts from a Mixpanel project and writes them as groups to Apptimize.")
            if st.button("Go to Connections", key="overview_connect", type="primary", icon=":material/cable:"):
                st.switch_page(notices.CONNECTIONS)
        return has_mixpanel
    if syncs.count_runs(bridge, person):
        return True
    with st.container(border=True):
        st.subheader("Pick a cohort and export it", anchor=False)
        st.write(
            "Everything is connected. Choose a cohort, start a one-time export, and its users appear as a group in "
            "Apptimize."
        )
        if st.button("Pick a cohort", key="overview_pick", type="primary", icon=":material/groups:"):
            st.switch_page(COHORTS)
    return True


def state(bridge: Bridge, person: Actor, found: list[Connection]) -> None:
    """Show connections, worker and query budget, side by side."""
    mixpanels = [one for one in found if one.side == MIXPANEL_SIDE]
    destinations = [one for one in found if one.side != MIXPANEL_SIDE]
    with st.container(horizontal=True, gap="small"):
        with _card():
            _connected("Mixpanel", [f"Project {one.project_id}" for one in mixpanels])
        with _card():
            _connected("Destinations", [one.name for one in destinations])
        with _card():
            is_up = syncs.worker_is_up(bridge, person)
            st.markdown("**Worker**")
            st.badge(
                "Running" if is_up else "Not running",
                icon=":material/check_circle:" if is_up else ":material/power_off:",
                color="green" if is_up else "orange",
            )
            busy = len(syncs.active_runs(bridge, person))
            st.caption(f"{counted(busy, 'run')} under way" if busy else "Nothing under way")
        with _card():
            st.markdown("**Mixpanel queries**")
            _budget(bridge, person, is_connected=bool(mixpanels))


def _card() -> DeltaGenerator:
    """Four of these fit side by side; where the window is narrow they wrap."""
    return st.container(border=True, width=200, height=150)


def _connected(what: str, names: list[str]) -> None:
    st.markdown(f"**{what}**")
    if names:
        st.badge("Connected", icon=":material/check_circle:", color="green")
        st.caption(plain(", ".join(names)))
    else:
        st.badge("Not connected", icon=":material/link_off:", color="orange")
        st.caption("Nothing yet")


def _budget(bridge: Bridge, person: Actor, *, is_connected: bool) -> None:
    if not is_connected:
        st.caption("Known once Mixpanel is connected.")
        return
    budget = syncs.query_budget(bridge, person)
    st.progress(min(budget.used / budget.limit, 1.0))
    if budget.next_at:
        st.caption(f"{budget.used:,} of {budget.limit:,} used. The next slot opens at {clock(budget.next_at)}.")
    else:
        st.caption(f"{budget.used:,} of {budget.limit:,} used in the last hour")


def latest_of_each_group(found: list[Run]) -> list[Run]:
    """Keep each group's newest run that was meant to write, newest first."""
    newest: dict[int, Run] = {}
    for run in found:
        newest.setdefault(run.group_id, run)
    return list(newest.values())


def needs_a_person(bridge: Bridge, person: Actor, troubled: list[Run]) -> None:
    """Show what stopped, why, and the button that mends it."""
    st.subheader("Needs attention" if troubled else "Nothing needs attention", anchor=False)
    notices.show_answer("overview")
    if not troubled:
        st.caption("The latest export of every group ended well.")
    for run in troubled[:5]:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                run_view.badge(run)
                st.markdown(f"**{plain(run.group_name)}** at {plain(run.destination)}, {age(run.finished_at)}")
            st.markdown(plain(run.error_message or "") + "  \n" + plain(run.error_advice or ""))
            with st.container(horizontal=True, vertical_alignment="center"):
                run_view.start_again(bridge, person, run, key=f"overview_again_{run.id}", place="overview")
                run_view.link(run)
    if len(troubled) > 5:
        st.page_link(HISTORY, label=f"{counted(len(troubled) - 5, 'more')}: see History", icon=":material/history:")


def last_runs(found: list[Run]) -> None:
    """Show the newest runs, each of which leads to its detail."""
    st.subheader("Latest runs", anchor=False)
    listing.rows_to_open(
        [
            {
                "": "Open",
                "State": run_view.status_text(run),
                "Group": run.group_name,
                "Members": run.members if run.status == Status.SUCCEEDED else None,
                "Destination": run.destination,
                "When": age(run.finished_at or run.queued_at),
            }
            for run in found
        ],
        [run.id for run in found],
        key="overview",
        label="The newest runs",
        go_to=_go_to,
        columns={
            "Group": st.column_config.TextColumn(width="medium"),
            "Members": st.column_config.NumberColumn(format="localized"),
        },
    )


def _go_to(run_id: int | None) -> None:
    st.session_state["overview_go"] = run_id


@st.fragment(run_every="5s")
def show(bridge: Bridge, person: Actor, found: list[Connection]) -> None:
    """Show all of it, and keep it up to date without a reload."""
    try:
        if go_to := st.session_state.pop("overview_go", None):
            st.switch_page(HISTORY, query_params={"run": str(go_to)})
        goes_on = next_step(bridge, person, found)
        state(bridge, person, found)
        writing = syncs.list_runs(bridge, person, RunFilter(with_dry_runs=False), limit=LOOKED_AT)
        newest = syncs.list_runs(bridge, person, limit=SHOWN)
        if goes_on and newest:
            needs_a_person(bridge, person, [run for run in latest_of_each_group(writing) if run.status in TROUBLED])
            last_runs(newest)
    except CohortBridgeError as exc:
        st.error(said(exc), icon=":material/error:")


person = guard.require(Role.VIEWER)
bridge = resources.bridge()
found = notices.open_page(bridge, person, "Overview", "Whether everything is all right, and what comes next.")
show(bridge, person, found)
