"""Overview: whether everything is all right, and what comes next."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor, Role
from core.alerts.attention import Attention, get_attention
from core.bridge import Bridge
from core.connections.lookup import choose_mixpanel
from core.leases import workers
from core.reports import clocks, overview, storage
from core.reports.overview import AttentionItems, DoubtfulGroup, Health, QuotaStatus, RestoredDatabase
from core.syncs import listing, recurring, run_again, runs
from core.syncs.listing import SyncView
from data.models import MIXPANEL_SIDE, Connection, Run, RunStatus, SyncKind, WorkerHeartbeat
from pages.export import freshness_table
from pages.parts import (
    answers,
    causes,
    failure_help,
    folded,
    held_run,
    held_run_dialog,
    links,
    run_status,
    selection,
    state_chips,
    tables,
    whom_to_ask,
)
from pages.parts.actions import perform, show_errors
from pages.parts.alerts import messages
from pages.parts.formatting import (
    age,
    clock,
    escape_markdown,
    message_text,
    number,
    pause_reason,
    paused_text,
    pluralize,
)
from pages.shell import gate, page_frame, resources

SHOWN = 5
# So many runs and syncs that need attention are shown one by one, what waits for a decision first, so that the rest of
# the page stays in sight; so many of each kind are behind a fold, and the pages they lead to have all.
FIRST_ITEMS, MOST_ITEMS = 3, 8
MOST_WORKERS = 5
# Where there is no room for the buttons beside the cause, they stand below it.
_CAUSE_PX = 470


def next_step(bridge: Bridge, person: Actor, connections: list[Connection]) -> bool:
    """Show a newcomer the one step that is next. Returns whether Mixpanel is connected."""
    has_mixpanel = any(connection.side == MIXPANEL_SIDE for connection in connections)
    has_destination = any(connection.side != MIXPANEL_SIDE for connection in connections)
    if not (has_mixpanel and has_destination):
        missing = "Apptimize" if has_mixpanel else "Mixpanel" if has_destination else "Mixpanel and Apptimize"
        with st.container(border=True):
            st.header(f"Connect {missing}", anchor=False)
            st.write("Cohort Bridge reads cohorts from a Mixpanel project and writes them as groups to Apptimize.")
            if person.role < Role.ADMIN:
                st.caption(f"An admin does that, on Connections. {whom_to_ask.admins_text(bridge, person)}")
            elif st.button("Go to Connections", key="overview_connect", type="primary", icon=":material/cable:"):
                st.switch_page(links.CONNECTIONS)
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
            st.switch_page(links.COHORTS)
    return True


def show_cards(
    bridge: Bridge,
    person: Actor,
    health: list[Health],
    heartbeats: list[WorkerHeartbeat],
    not_recovered: int,
) -> None:
    """Show connections, worker and the last day, side by side, and the query budget."""
    mixpanel = [each for each in health if each.connection.side == MIXPANEL_SIDE]
    destinations = [each for each in health if each.connection.side != MIXPANEL_SIDE]
    # Two pairs: side by side where there is room for four, one above the other in each where there is not.
    with st.container(horizontal=True, gap="small", key="overview_cards"):
        with st.container(horizontal=True, gap="small"):
            with _card("Mixpanel"):
                _show_connections(mixpanel)
            with _card("Destinations"):
                _show_connections(destinations)
        with st.container(horizontal=True, gap="small"):
            with _card("Worker"):
                _show_worker(bridge, person, heartbeats)
            with _card("Last 24 hours"):
                _show_last_day(overview.count_recent_runs(bridge, person, overview.DAY), not_recovered)
    _show_names(heartbeats)
    with st.container(border=True, gap="xsmall"):
        st.markdown("**Mixpanel queries**")
        if mixpanel:
            used = choose_mixpanel([each.connection for each in mixpanel])
            _show_quota(overview.get_quota_status(bridge, person, mixpanel=used.name if used else None))
        else:
            st.caption("Known once Mixpanel is connected.")


def _card(title: str) -> DeltaGenerator:
    """Show a card's title; all cards are as high as the fullest one."""
    card = st.container(border=True, height=150, gap="xsmall")
    card.markdown(f"**{title}**")
    return card


def _show_connections(health: list[Health]) -> None:
    if not health:
        st.badge("Not connected", icon=":material/link_off:", color="orange")
        st.caption("Nothing yet")
        return
    failing = next((each for each in health if not each.is_well), None)
    if failing:
        st.badge("Failing", icon=":material/error:", color="red")
        st.caption(f"{escape_markdown(_connection_name(failing))}: the last run that used it failed.")
        return
    st.badge("Connected", icon=":material/check_circle:", color="green")
    names = escape_markdown(", ".join(map(_connection_name, health[:3])))
    more = f" and {number(len(health) - 3)} more" if health[3:] else ""
    answered = [each.last_run.finished_at for each in health if each.last_run and each.last_run.finished_at]
    last = f"Answered {age(max(answered))}" if answered else "Not used yet"
    st.caption(f"{names}{more}  \n{last}")


def _connection_name(health: Health) -> str:
    connection = health.connection
    return f"Project {connection.project_id}" if connection.side == MIXPANEL_SIDE else connection.name


def _show_worker(bridge: Bridge, person: Actor, heartbeats: list[WorkerHeartbeat]) -> None:
    is_up = workers.is_one_up(bridge, heartbeats)
    st.badge(
        "Running" if is_up else "Not running",
        icon=":material/check_circle:" if is_up else ":material/power_off:",
        color="green" if is_up else "orange",
    )
    active = runs.active_runs(bridge, person)
    busy = len(active) if is_up else sum(run.status != RunStatus.QUEUED for run in active)
    waiting = len(active) - busy
    doing = f"{pluralize(busy, 'run')} in progress" if busy else "Idle"
    if waiting:
        doing = f"{pluralize(waiting, 'run')} waiting"
    heartbeat = f"Heartbeat {age(heartbeats[0].seen_at)}" if heartbeats else "No heartbeat yet"
    if len(heartbeats) > 1:
        heartbeat = f"{number(len(heartbeats))} workers, heartbeat {age(heartbeats[0].seen_at)}"
    st.caption(f"{doing}  \n{heartbeat}")


def _show_names(heartbeats: list[WorkerHeartbeat]) -> None:
    """Show who works below the cards: no card is high enough for all."""
    if any(worker.label for worker in heartbeats):
        named = sorted(workers.called(worker) for worker in heartbeats)
        more = f" and {number(len(named) - MOST_WORKERS)} more" if named[MOST_WORKERS:] else ""
        title = "Workers" if named[1:] else "Worker"
        st.caption(f"{title}: {escape_markdown(', '.join(named[:MOST_WORKERS]))}{more}")


def _show_last_day(counts: dict[str, int], not_recovered: int) -> None:
    """Show how the runs of the last day ended: in red only what no later run has recovered."""
    succeeded = counts.get(RunStatus.SUCCEEDED, 0)
    if not sum(counts.values()):
        st.badge("No runs", icon=":material/bedtime:", color="gray")
        return
    has_failed = any(counts.get(status) for status in overview.FAILING)
    if not_recovered:
        st.badge(f"{pluralize(not_recovered, 'group')} not recovered", icon=":material/error:", color="red")
    elif has_failed:
        st.badge("None failing now", icon=":material/check_circle:", color="green")
    else:
        st.badge("All succeeded", icon=":material/check_circle:", color="green")
    others = [
        f"{number(count)} {run_status.word_of(status)}"
        for status, count in counts.items()
        if count and status != RunStatus.SUCCEEDED
    ]
    rest = f"  \n{', '.join(others).capitalize()}" if others else ""
    st.caption(f"{pluralize(succeeded, 'run')} succeeded{rest}")


def _show_quota(quota: QuotaStatus) -> None:
    budget = quota.budget
    st.progress(min(budget.used / budget.limit, 1.0))
    text = f"{number(budget.used)} of {number(budget.limit)} used"
    if budget.next_at:
        text += f". The next slot opens at {clock(budget.next_at)}."
    elif len(quota.frees_at) > 1:
        first, last = clock(quota.frees_at[0]), clock(quota.frees_at[-1])
        when = f"One is free again at {first}, all of them at {last}" if first != last else f"All are free at {last}"
        text += f" in the last hour. {when}."
    else:
        text += " in the last hour."
    if quota.planned:
        text += f" Recurring syncs need {number(round(quota.planned))} {quota.per}."
    st.caption(text)


def show_attention(bridge: Bridge, person: Actor, attention: Attention) -> None:
    """Show what stopped, why, and the button that fixes it."""
    st.header("Needs attention" if attention.count else "Nothing needs attention", anchor=False)
    answers.show(bridge, person, "overview")
    if not attention.count:
        st.caption("The latest run of every group ended well, and no sync is paused.")
        return
    messages.show_lost(bridge, person, attention.lost, place="overview")
    messages.show_open(person, attention.alerts)
    items = attention.items
    if items.restored:
        show_restored(bridge, person, items.restored)
    show_items(bridge, person, items)


def show_items(bridge: Bridge, person: Actor, items: AttentionItems) -> None:
    """Show the first runs and syncs that need attention, and the others once a person asks for them."""
    boxes = [partial(show_failed_run, bridge, person, run) for run in items.runs[:MOST_ITEMS]]
    boxes += [partial(show_paused, bridge, person, view) for view in items.paused[:MOST_ITEMS]]
    for show_box in boxes[:FIRST_ITEMS]:
        show_box()
    if not boxes[FIRST_ITEMS:]:
        return
    more = len(items.runs) + len(items.paused) - FIRST_ITEMS
    show = partial(_show_others, items, boxes[FIRST_ITEMS:])
    folded.expander(f"{number(more)} more", show, key="overview_more")


def _show_others(items: AttentionItems, boxes: list[partial[None]]) -> None:
    for show_box in boxes:
        show_box()
    for count, noun, page, name, icon in (
        (len(items.runs), "more run", links.HISTORY, "History", "history"),
        (len(items.paused), "more paused sync", links.SYNCS, "Syncs", "sync"),
    ):
        if count > MOST_ITEMS:
            label = f"{pluralize(count - MOST_ITEMS, noun)}: see {name}"
            st.page_link(page, label=label, icon=f":material/{icon}:")


def show_restored(bridge: Bridge, person: Actor, restored: RestoredDatabase) -> None:
    """Show that the database is older than what was delivered, and what writes each group again."""
    count = len(restored.groups)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge("In doubt", icon=":material/help:", color="orange")
            st.markdown(f"**The database may be older than what was delivered**, noticed {age(restored.noticed_at)}")
        st.markdown(
            f"{escape_markdown(restored.reason)} What destinations hold is in doubt for {pluralize(count, 'group')}, "
            "until each is written in full. Active recurring syncs do that with their next run; export the other "
            "groups again."
        )
        by_hand = [doubtful for doubtful in restored.groups if not doubtful.is_synced]
        for doubtful in by_hand[:MOST_ITEMS]:
            _show_doubtful(bridge, person, doubtful)
        if len(by_hand) > MOST_ITEMS:
            more = f"{pluralize(len(by_hand) - MOST_ITEMS, 'more group')}: see Groups"
            st.page_link(links.GROUPS, label=more, icon=":material/patient_list:")


def _show_doubtful(bridge: Bridge, person: Actor, doubtful: DoubtfulGroup) -> None:
    group = doubtful.group
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if person.role >= Role.ANALYST:
            again = partial(run_again.export_again, bridge, person, group.id or 0)
            st.button(
                "Export again",
                key=f"overview_doubtful_{group.id}",
                icon=":material/replay:",
                on_click=perform,
                args=("overview", again, lambda run: f"Run {run.id} is queued."),
            )
        st.markdown(f"**{escape_markdown(group.name)}** at {escape_markdown(doubtful.destination)}", width="content")


def show_failed_run(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show a run that did not succeed, with its cause."""
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            run_status.badge(run)
            st.markdown(
                f"**{escape_markdown(run.group_name)}** at {escape_markdown(run.destination)}, {age(run.finished_at)}"
            )
            run_status.link(run)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(message_text(run.error_message, run.error_advice), width=_CAUSE_PX)
            if run.status == RunStatus.HELD:
                held_run.buttons(bridge, person, run, place="overview", key=f"overview_{run.id}")
            failure_help.show(bridge, person, run, key=f"overview_again_{run.id}", place="overview")


def show_paused(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show a paused sync, with what paused it."""
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(paused_text(view.sync), icon=":material/pause_circle:", color="orange")
            st.markdown(f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)}")
            if person.role >= Role.ANALYST:
                links.view_sync(view.sync.id)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(escape_markdown(pause_reason(view.sync)), width=_CAUSE_PX)
            if person.role >= Role.ANALYST:
                st.button(
                    "Resume",
                    key=f"overview_resume_{view.sync.id}",
                    icon=":material/play_arrow:",
                    on_click=perform,
                    args=(
                        "overview",
                        partial(recurring.resume_sync, bridge, person, view.sync.id or 0),
                        f"{escape_markdown(view.group.name)} is resumed: a run is due now.",
                    ),
                )
            whom_to_ask.show_way_named_in(pause_reason(view.sync), bridge, person)


def show_storage(bridge: Bridge, person: Actor) -> None:
    """Say that members can be neither kept nor read, while that is so."""
    if trouble := storage.find_storage_trouble(bridge, person):
        st.error(escape_markdown(f"{trouble.message} {trouble.advice}"), icon=":material/cloud_off:")


def show_clocks(bridge: Bridge, person: Actor, heartbeats: list[WorkerHeartbeat]) -> None:
    """Warn of machines whose clock is off."""
    for clock_off in clocks.list_clocks_off(bridge, person, heartbeats):
        st.warning(escape_markdown(f"{clock_off.message} {clock_off.advice}"), icon=":material/schedule:")


def show_latest_runs(latest: list[Run]) -> None:
    """Show the newest runs, each of which leads to its detail."""
    st.header("Latest runs", anchor=False)
    states = [state_chips.of_run(run) for run in latest]
    rows = [latest_row(run, state) for run, state in zip(latest, states, strict=True)]
    order = tables.filled(rows, "Members", "Cause")
    tables.rows_to_open(
        rows,
        [run.id for run in latest],
        key="overview",
        order=order,
        label="The newest runs",
        go_to=selection.opener(links.HISTORY, "run"),
        opens="Group",
        opens_width=140 if "Cause" in order else 220,
        columns={
            "State": state_chips.column(states),
            "Members": st.column_config.NumberColumn(format="localized", width=72),
            **tables.texts(rows, Cause=156, Destination=120),
        },
    )


def latest_row(run: Run, states: list[str]) -> dict[str, object]:
    """Format a run for the table."""
    return {
        "Group": run.group_name,
        "State": states,
        "Members": run.members if run.status == RunStatus.SUCCEEDED else None,
        "Cause": causes.of_run(run),
        "Destination": run.destination,
        "When": age(run.finished_at or run.queued_at),
    }


@st.fragment(run_every="5s")
def show(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show all of it, and keep it up to date without a reload."""
    selection.follow()
    page_frame.redraw_if_asked()
    with show_errors():
        heartbeats = overview.workers(bridge, person)
        page_frame.show_worker_notice(bridge, person, heartbeats)
        is_ready = next_step(bridge, person, connections)
        views = [view for view in listing.list_syncs(bridge, person) if view.sync.kind == SyncKind.RECURRING]
        health, items = overview.get_health_and_attention(bridge, person, connections, views)
        show_storage(bridge, person)
        show_clocks(bridge, person, heartbeats)
        show_cards(bridge, person, health, heartbeats, items.not_recovered)
        latest = runs.list_runs(bridge, person, limit=SHOWN)
        attention = get_attention(bridge, person, items)
        if attention.count or (is_ready and (latest or views)):
            show_attention(bridge, person, attention)
        if is_ready and (latest or views):
            freshness_table.show(bridge, person, overview.freshness(bridge, person, views))
        if latest:
            show_latest_runs(latest)
        if resources.note_attention(bridge, attention.count):
            gate.redraw()


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
connections = page_frame.open_page(
    bridge, person, "Overview", "Whether everything is all right, and what comes next.", with_worker_notice=False
)
show(bridge, person, connections)
held_run_dialog.show(bridge, person)
