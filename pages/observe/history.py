"""History: every run, and what each of them did."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError, NotFound
from core.reports import overview
from core.syncs import runs
from core.syncs.runs import count_runs, list_runs
from data.models import Run, RunFilter, RunStatus, utc_now
from pages.parts import download, held_run, membership_changes, run_log, run_status, tables
from pages.parts.formatting import age, clock, error_text, escape_markdown, moment, number, pluralize, zone
from pages.shell import gate, page_frame, resources

COHORTS = "pages/export/cohorts.py"
SYNCS = "pages/export/syncs.py"
PAGE_ROWS = 25
PERIODS = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
CHOSEN_DAYS = "Chosen days"


def go_to(run_id: int | None) -> None:
    """Show one run, or all of them again; the address says which."""
    if run_id is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = str(run_id)


def to_first_page() -> None:
    """Begin at the first page when something else is asked for."""
    st.session_state["history_page"] = 1


def filters(bridge: Bridge, person: Actor) -> RunFilter:
    """Show the filters and return what they ask for."""
    text_column, status_column, period_column = st.columns([3, 3, 2])
    text = text_column.text_input(
        "Cohort or group",
        key="history_text",
        type="search",
        live="400ms",
        persist_state="page",
        placeholder="Part of the name",
        on_change=to_first_page,
    )
    statuses = status_column.multiselect(
        "State",
        list(run_status.BADGES),
        format_func=run_status.word_of,
        key="history_status",
        persist_state="page",
        placeholder="All",
        on_change=to_first_page,
    )
    period = period_column.selectbox(
        "Time", [*PERIODS, CHOSEN_DAYS], key="history_period", persist_state="page", on_change=to_first_page
    )
    trigger_column, sync_column, actor_column = st.columns([3, 3, 2])
    triggers = trigger_column.multiselect(
        "Started",
        list(run_status.TRIGGERS),
        format_func=run_status.TRIGGERS.__getitem__,
        key="history_trigger",
        persist_state="page",
        placeholder="In any way",
        on_change=to_first_page,
    )
    sync_id = _sync_filter(bridge, person, sync_column)
    actor = actor_column.selectbox(
        "By",
        overview.who_started_runs(bridge, person),
        index=None,
        key="history_actor",
        persist_state="page",
        placeholder="Anybody",
        on_change=to_first_page,
    )
    with_dry_runs = st.toggle(
        "With previews", value=True, key="history_dry", persist_state="page", on_change=to_first_page
    )
    since, until = None, None
    if period == CHOSEN_DAYS:
        days = period_column.date_input(
            "From and to", value=[], key="history_days", persist_state="page", on_change=to_first_page
        )
        since, until = between(days)
    elif PERIODS[period]:
        since = utc_now() - PERIODS[period]
    return RunFilter(
        sync_id=sync_id,
        statuses=statuses,
        triggers=triggers,
        actor=actor or "",
        text=text.strip(),
        since=since,
        until=until,
        with_dry_runs=with_dry_runs,
    )


def _sync_filter(bridge: Bridge, person: Actor, column: DeltaGenerator) -> int | None:
    """Show the choice of a sync; the address may have made it, and keeps it."""
    names = overview.sync_names(bridge, person)
    asked = st.query_params.get("sync", "")
    picked = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 19 and int(asked) in names else None
    if st.session_state.get("history_asked") != asked:
        st.session_state["history_asked"], st.session_state["history_sync"] = asked, picked
    return column.selectbox(
        "Sync",
        list(names),
        index=None,
        # A look-up, not a function of our own: what a session keeps must be plain data.
        format_func={one: f"{name} (sync {one})" for one, name in names.items()}.__getitem__,
        key="history_sync",
        persist_state="page",
        placeholder="Any",
        on_change=_keep_sync_in_address,
    )


def _keep_sync_in_address() -> None:
    to_first_page()
    picked = st.session_state["history_sync"]
    st.session_state["history_asked"] = "" if picked is None else str(picked)
    if picked is None:
        st.query_params.pop("sync", None)
    else:
        st.query_params["sync"] = str(picked)


def between(days: date | tuple[date, ...] | None) -> tuple[datetime | None, datetime | None]:
    """Turn chosen days of the reader's zone into a time from and a time to; one day alone has no end yet."""
    chosen = days if isinstance(days, tuple) else (days,) if days else ()
    since = datetime.combine(chosen[0], time.min, zone()) if chosen else None
    until = datetime.combine(chosen[1] + timedelta(days=1), time.min, zone()) if len(chosen) > 1 else None
    return since, until


def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the runs that the filters ask for, a page at a time."""
    wanted = filters(bridge, person)
    total = count_runs(bridge, person, wanted)
    if not total:
        _say_none(person, is_filtered=bool(list_runs(bridge, person, limit=1)))
        return
    pages = -(-total // PAGE_ROWS)
    page = min(st.session_state.get("history_page", 1), pages)
    runs = list_runs(bridge, person, wanted, limit=PAGE_ROWS, offset=(page - 1) * PAGE_ROWS)
    first = (page - 1) * PAGE_ROWS + 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(
            f"{number(first)}–{number(first + len(runs) - 1)} of {pluralize(total, 'run')}, the newest first",
            width="content",
        )
        download.offer_csv(
            partial(overview.runs_csv, bridge, person, wanted),
            file_name="runs.csv",
            key="history_download",
            help="All runs that the filters ask for, with all their counts; times are in UTC.",
        )
    tables.rows_to_open(
        [row(run) for run in runs],
        [run.id for run in runs],
        key="history",
        label="Runs",
        go_to=go_to,
        columns={
            "Group": st.column_config.TextColumn(width="medium"),
            **{name: st.column_config.NumberColumn(format="localized") for name in ("Members", "Added", "Removed")},
        },
    )
    if pages > 1:
        st.pagination(pages, key="history_page")


def _say_none(person: Actor, *, is_filtered: bool) -> None:
    if is_filtered:
        st.info("No run matches the filters.", icon=":material/search_off:")
        return
    st.info("Every export is listed here, with what it did.", title="No runs yet", icon=":material/history:")
    if person.role >= Role.ANALYST:
        st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")


def row(run: Run) -> dict[str, object]:
    """Write a run for the table."""
    is_good = run.status == RunStatus.SUCCEEDED
    return {
        "": "Open",
        "Run": str(run.id),
        "State": run_status.status_text(run),
        "Group": run.group_name,
        "Members": run.members if is_good else None,
        "Added": run.added if is_good else None,
        "Removed": run.removed if is_good else None,
        "Queued": when(run.queued_at),
        "Took": run_status.took(run),
        "Destination": run.destination,
        "Started": run_status.TRIGGERS.get(run.trigger, run.trigger),
        "By": run.actor,
    }


def when(at: datetime) -> str:
    """Write when a run was queued: how long ago today, the time of day before."""
    return age(at) if utc_now() - at < timedelta(hours=12) else clock(at)


def show_one(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show all that is known of one run."""
    assert run.id is not None
    st.button(
        "All runs", key="history_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.header(f"Run {run.id}: {escape_markdown(run.group_name)}", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        run_status.badge(run)
        at = run.finished_at or run.queued_at
        st.caption(
            f"{moment(at)}, {age(at)}. To {escape_markdown(run.destination)}, by {escape_markdown(run.actor)}.",
            width="content",
        )
    page_frame.show_answer("history")
    may_act = person.role >= Role.ANALYST
    if run_status.is_active(run):
        run_status.progress(bridge, person, run.id)
    else:
        run_status.outcome(run)
        held_run.held(bridge, person, run, place="history")
        if may_act:
            with st.container(horizontal=True):
                held_run.show_undo(bridge, person, run, place="history")
                if run.status in (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.CANCELLED):
                    run_status.run_again(bridge, person, run, key="history_again", place="history")
    if run.status == RunStatus.SUCCEEDED or (run.status == RunStatus.HELD and run.profiles):
        st.subheader("From profiles to members", anchor=False)
        run_status.funnel(run)
        # A run that was held before it was compared tells of no change.
        if run.status != RunStatus.HELD or run.removed:
            would = run.dry_run or run.status == RunStatus.HELD
            st.subheader("What would have changed" if would else "What changed", anchor=False)
            run_status.changes(run)
            membership_changes.show(bridge, person, run, key="history_difference")
    log = overview.list_run_rows(bridge, person, run.id)
    st.subheader("Steps", anchor=False)
    with st.container(width=720):
        st.table(run_log.steps(run, log), hide_index=True, border="horizontal")
    st.subheader("What it asked and sent", anchor=False)
    run_status.tiles(
        [
            ("Queries", number(run.queries), "Counted against the Mixpanel project's limit of an hour."),
            ("Requests", number(run.requests), "To Mixpanel, retries included."),
            ("Messages", number(run.messages), "To the destination; none for a CSV folder."),
        ]
    )
    run_log.calls(log)
    links(person, run)


def links(person: Actor, run: Run) -> None:
    """Show the ways from a run to what it belongs to."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if person.role >= Role.ANALYST:
            st.page_link(
                COHORTS, label="Its cohort", icon=":material/groups:", query_params={"cohort": str(run.cohort_id)}
            )
            st.page_link(SYNCS, label="Its sync", icon=":material/sync:", query_params={"sync": str(run.sync_id)})
        st.page_link(
            "pages/observe/groups.py",
            label="Its group",
            icon=":material/patient_list:",
            query_params={"group": str(run.group_id)},
        )


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
page_frame.open_page(bridge, person, "History", "Every run, what it did, and why it stopped where it did.")
try:
    asked = st.query_params.get("run")
    if asked and asked.isascii() and asked.isdigit() and len(asked) < 19:
        try:
            show_one(bridge, person, runs.get_run(bridge, person, int(asked)))
        except NotFound:
            st.warning(f"There is no run {escape_markdown(asked)}.", icon=":material/search_off:")
            st.button("All runs", key="history_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(bridge, person)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
