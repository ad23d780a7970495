"""Overview: is everything all right, and what next?"""

from __future__ import annotations

from datetime import timedelta

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.leases import workers
from core.reports import overview
from core.reports.overview import AttentionItems, Freshness, Health, QuotaStatus
from core.syncs import listing, recurring, runs
from core.syncs.listing import SyncView
from data.models import MIXPANEL_SIDE, Connection, Run, RunStatus, SyncKind, SyncState
from pages.parts import held_run, run_status, tables
from pages.parts.formatting import (
    EVERY,
    age,
    clock,
    error_text,
    escape_markdown,
    number,
    percent,
    percent_of,
    pluralize,
)
from pages.shell import gate, page_frame, resources

COHORTS = "pages/export/cohorts.py"
SYNCS = "pages/export/syncs.py"
GROUPS = "pages/observe/groups.py"
HISTORY = run_status.HISTORY
DAY = timedelta(days=1)
SHOWN = 8
# So many troubles are told one by one; the pages they lead to have all.
TOLD = 5
# So many syncs are listed, the stalest first.
LISTED = 12


def next_step(bridge: Bridge, person: Actor, found: list[Connection]) -> bool:
    """Show a newcomer the one step that is next. Returns whether anything was exported yet."""
    has_mixpanel = any(one.side == MIXPANEL_SIDE for one in found)
    has_destination = any(one.side != MIXPANEL_SIDE for one in found)
    if not (has_mixpanel and has_destination):
        missing = "Apptimize" if has_mixpanel else "Mixpanel" if has_destination else "Mixpanel and Apptimize"
        with st.container(border=True):
            st.header(f"Connect {missing}", anchor=False)
            st.write("Cohort Bridge reads cohorts from a Mixpanel project and writes them as groups to Apptimize.")
            if person.role < Role.ADMIN:
                st.caption("An admin does that, on Connections.")
            elif st.button("Go to Connections", key="overview_connect", type="primary", icon=":material/cable:"):
                st.switch_page(page_frame.CONNECTIONS)
        return has_mixpanel
    if runs.list_runs(bridge, person, limit=1):
        return True
    with st.container(border=True):
        st.header("Pick a cohort and export it", anchor=False)
        st.write(
            "Everything is connected. Choose a cohort, look at a preview, start a one-time export, and its users "
            "appear as a group in Apptimize."
        )
        if person.role < Role.ANALYST:
            st.caption("An analyst does that, on Cohorts.")
        elif st.button("Pick a cohort", key="overview_pick", type="primary", icon=":material/groups:"):
            st.switch_page(COHORTS)
    return True


# --- the cards -----------------------------------------------------------------------------------------------------


def state(bridge: Bridge, person: Actor, health: list[Health]) -> None:
    """Show connections, worker and the last day, side by side, and the query budget."""
    has_mixpanel = any(one.connection.side == MIXPANEL_SIDE for one in health)
    # Two pairs: side by side where there is room for four, one above the other in each where there is not.
    with st.container(horizontal=True, gap="small"):
        with st.container(horizontal=True, gap="small"):
            with _card("Mixpanel"):
                _connected([one for one in health if one.connection.side == MIXPANEL_SIDE])
            with _card("Destinations"):
                _connected([one for one in health if one.connection.side != MIXPANEL_SIDE])
        with st.container(horizontal=True, gap="small"):
            with _card("Worker"):
                _worker(bridge, person)
            with _card("Last 24 hours"):
                _last_day(overview.count_recent_runs(bridge, person, DAY))
    with st.container(border=True, gap="xsmall"):
        st.markdown("**Mixpanel queries**")
        if has_mixpanel:
            _gauge(overview.get_quota_status(bridge, person))
        else:
            st.caption("Known once Mixpanel is connected.")


def _card(title: str) -> DeltaGenerator:
    """All are as high as the one that says most."""
    card = st.container(border=True, height=150, gap="xsmall")
    card.markdown(f"**{title}**")
    return card


def _connected(health: list[Health]) -> None:
    if not health:
        st.badge("Not connected", icon=":material/link_off:", color="orange")
        st.caption("Nothing yet")
        return
    ill = [one for one in health if not one.is_well]
    if ill:
        st.badge("In trouble", icon=":material/error:", color="red")
        st.caption(f"{escape_markdown(_name(ill[0]))}: the last run that used it failed.")
        return
    st.badge("Connected", icon=":material/check_circle:", color="green")
    used = [one for one in health if one.last_run]
    names = escape_markdown(", ".join(map(_name, health[:3]))) + (
        f" and {number(len(health) - 3)} more" if health[3:] else ""
    )
    last = max((one.last_run.finished_at for one in used if one.last_run and one.last_run.finished_at), default=None)
    st.caption(f"{names}  \nAnswered {age(last)}" if last else f"{names}  \nNot used yet")


def _name(one: Health) -> str:
    connection = one.connection
    return f"Project {connection.project_id}" if connection.side == MIXPANEL_SIDE else connection.name


def _worker(bridge: Bridge, person: Actor) -> None:
    beats = overview.workers(bridge, person)
    is_up = workers.worker_is_up(bridge, person)
    st.badge(
        "Running" if is_up else "Not running",
        icon=":material/check_circle:" if is_up else ":material/power_off:",
        color="green" if is_up else "orange",
    )
    active = runs.active_runs(bridge, person)
    busy = len(active) if is_up else sum(run.status != RunStatus.QUEUED for run in active)
    waiting = len(active) - busy
    doing = f"{pluralize(busy, 'run')} under way" if busy else "Nothing under way"
    if waiting:
        doing = f"{pluralize(waiting, 'run')} waiting"
    heartbeat = f"Heartbeat {age(beats[0].seen_at)}" if beats else "No sign of life"
    several = f"{number(len(beats))} workers, " if len(beats) > 1 else ""
    st.caption(f"{doing}  \n{several}{heartbeat}")


def _last_day(counts: dict[str, int]) -> None:
    bad = sum(counts.get(status, 0) for status in overview.FAILING)
    good = counts.get(RunStatus.SUCCEEDED, 0)
    if not sum(counts.values()):
        st.badge("No runs", icon=":material/bedtime:", color="gray")
        return
    if bad:
        st.badge(f"{number(bad)} did not succeed", icon=":material/error:", color="red")
    else:
        st.badge("All well", icon=":material/check_circle:", color="green")
    others = [
        f"{number(count)} {run_status.word_of(status).lower()}"
        for status, count in counts.items()
        if count and status not in (*overview.FAILING, RunStatus.SUCCEEDED)
    ]
    rest = f"  \n{', '.join(others).capitalize()}" if others else ""
    st.caption(f"{pluralize(good, 'run')} succeeded{rest}")


def _gauge(gauge: QuotaStatus) -> None:
    budget = gauge.budget
    st.progress(min(budget.used / budget.limit, 1.0))
    text = f"{number(budget.used)} of {number(budget.limit)} used"
    if budget.next_at:
        text += f". The next slot opens at {clock(budget.next_at)}."
    elif len(gauge.frees_at) > 1:
        first, last = clock(gauge.frees_at[0]), clock(gauge.frees_at[-1])
        when = f"One is free again at {first}, all of them at {last}" if first != last else f"All are free at {last}"
        text += f" in the last hour. {when}."
    else:
        text += " in the last hour."
    if gauge.planned:
        text += f" Recurring syncs need {number(round(gauge.planned))} an hour."
    st.caption(text)


# --- what needs a person -------------------------------------------------------------------------------------------


def attention(bridge: Bridge, person: Actor, needs: AttentionItems) -> None:
    """Show what stopped, why, and the button that mends it."""
    st.header("Nothing needs attention" if needs.is_nothing else "Needs attention", anchor=False)
    page_frame.show_answer("overview")
    if needs.is_nothing:
        st.caption("The latest run of every group ended well, and no sync is paused.")
        return
    for run in needs.runs[:TOLD]:
        trouble(bridge, person, run)
    if len(needs.runs) > TOLD:
        st.page_link(
            HISTORY, label=f"{pluralize(len(needs.runs) - TOLD, 'more')}: see History", icon=":material/history:"
        )
    for view in needs.paused[:TOLD]:
        paused(bridge, person, view)
    if len(needs.paused) > TOLD:
        more = f"{pluralize(len(needs.paused) - TOLD, 'more paused sync')}: see Syncs"
        st.page_link(SYNCS, label=more, icon=":material/sync:")


def trouble(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show a run that did not succeed, with its cause."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            run_status.badge(run)
            st.markdown(
                f"**{escape_markdown(run.group_name)}** at {escape_markdown(run.destination)}, {age(run.finished_at)}"
            )
        st.markdown(escape_markdown(run.error_message or "") + "  \n" + escape_markdown(run.error_advice or ""))
        with st.container(horizontal=True, vertical_alignment="center"):
            if person.role >= Role.ANALYST and run.status == RunStatus.HELD:
                held_run.buttons(bridge, person, run, place="overview", key=f"overview_{run.id}")
            elif person.role >= Role.ANALYST:
                run_status.run_again(bridge, person, run, key=f"overview_again_{run.id}", place="overview")
            run_status.link(run)


def paused(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show a paused sync, with what paused it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge("Paused", icon=":material/pause_circle:", color="orange")
            st.markdown(f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)}")
        st.markdown(escape_markdown(view.sync.paused_reason or "Paused."))
        with st.container(horizontal=True, vertical_alignment="center"):
            if person.role >= Role.ANALYST:
                st.button(
                    "Resume",
                    key=f"overview_resume_{view.sync.id}",
                    icon=":material/play_arrow:",
                    on_click=resume,
                    args=(bridge, person, view.sync.id, view.group.name),
                )
                st.page_link(SYNCS, label="Its sync", icon=":material/sync:", query_params={"sync": str(view.sync.id)})


def resume(bridge: Bridge, person: Actor, sync_id: int, name: str) -> None:
    """Let a paused sync go on."""
    try:
        recurring.resume_sync(bridge, person, sync_id)
    except CohortBridgeError as exc:
        page_frame.answer("overview", error_text(exc), failed=True)
        return
    page_frame.answer("overview", f"{escape_markdown(name)} goes on: a run is due now.")


# --- freshness, latest runs ----------------------------------------------------------------------------------------


def fresh(found: list[Freshness], person: Actor) -> None:
    """Show how old each recurring group's members are, the stalest first."""
    if not found:
        return
    late, may_change = sum(one.is_late for one in found), person.role >= Role.ANALYST
    st.header("Freshness of recurring syncs", anchor=False)
    st.caption(
        pluralize(len(found), "recurring sync")
        + (f", {number(late)} late" if late else ", none late")
        + (f". The {LISTED} with the oldest members:" if len(found) > LISTED else ".")
    )
    tables.rows_to_open(
        [
            {
                "": "Open",
                "Group": one.view.group.name,
                "State": state_text(one),
                "Members as of": age(one.at) if one.at else "Not delivered yet",
                "Slots met, 7 days": percent_of(one.on_time_share),
                "Of slots": one.scheduled_runs,
                "Interval": EVERY.get(one.view.sync.every_minutes or 0, ""),
            }
            for one in found[:LISTED]
        ],
        [one.view.sync.id if may_change else one.view.group.id for one in found[:LISTED]],
        key="overview_fresh",
        label="Freshness of recurring syncs, the stalest first",
        go_to=_go_to_sync if may_change else _go_to_group,
        columns={
            "Group": st.column_config.TextColumn(width="medium"),
            "Slots met, 7 days": st.column_config.ProgressColumn(
                format="%.1f%%",
                min_value=0,
                max_value=100,
                help="Scheduled runs that succeeded, out of the times they were due. Time that a sync was paused "
                "counts as missed.",
            ),
            "Of slots": st.column_config.NumberColumn(format="localized"),
        },
    )


def state_text(one: Freshness) -> str:
    """Write whether a group is as fresh as its interval promises."""
    if one.view.sync.state == SyncState.PAUSED:
        return "Paused"
    if one.on_time_share is not None and one.on_time_share < 1 and not one.is_late:
        return f"Fresh, missed {percent(1 - one.on_time_share)}"
    return "Late" if one.is_late else "Fresh"


def last_runs(found: list[Run]) -> None:
    """Show the newest runs, each of which leads to its detail."""
    st.header("Latest runs", anchor=False)
    tables.rows_to_open(
        [
            {
                "": "Open",
                "State": run_status.status_text(run),
                "Group": run.group_name,
                "Members": run.members if run.status == RunStatus.SUCCEEDED else None,
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


def _go_to_sync(sync_id: int | None) -> None:
    st.session_state["overview_go_sync"] = sync_id


def _go_to_group(group_id: int | None) -> None:
    """Lead viewers to the group: the page of a sync is for those who may change it."""
    st.session_state["overview_go_group"] = group_id


@st.fragment(run_every="5s")
def show(bridge: Bridge, person: Actor, found: list[Connection]) -> None:
    """Show all of it, and keep it up to date without a reload."""
    if go_to := st.session_state.pop("overview_go", None):
        st.switch_page(HISTORY, query_params={"run": str(go_to)})
    if go_to := st.session_state.pop("overview_go_sync", None):
        st.switch_page(SYNCS, query_params={"sync": str(go_to)})
    if go_to := st.session_state.pop("overview_go_group", None):
        st.switch_page(GROUPS, query_params={"group": str(go_to)})
    try:
        goes_on = next_step(bridge, person, found)
        views = [one for one in listing.list_syncs(bridge, person) if one.sync.kind == SyncKind.RECURRING]
        health, needs = overview.get_health_and_attention(bridge, person, found, views)
        state(bridge, person, health)
        newest = runs.list_runs(bridge, person, limit=SHOWN)
        if goes_on and (newest or views):
            attention(bridge, person, needs)
            fresh(overview.freshness(bridge, person, views), person)
        if newest:
            last_runs(newest)
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
found = page_frame.open_page(bridge, person, "Overview", "Whether everything is all right, and what comes next.")
show(bridge, person, found)
