"""Cohorts: pick one, export it to Apptimize, and see what became of it."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.lookup import choose_mixpanel, choose_project
from core.errors import CohortBridgeError
from core.reports import overview
from core.syncs import cohorts, groups, listing
from core.syncs.cohorts import cohorts_read_at, count_cohorts_left_out, get_query_budget, why_not_exportable
from core.syncs.listing import SyncView
from core.text import parse_id
from core.vendors.mixpanel_answers import Cohort
from data.models import Connection, Group, Run, SyncKind, SyncState
from pages.export import cohort_form, cohort_now, cohort_results, several, several_progress
from pages.parts import held_run_dialog, links, run_details, run_status, tables, whom_to_ask
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import (
    age,
    clock,
    error_text,
    escape_markdown,
    number,
    paused_text,
    percent_number,
    pluralize,
    timing_phrase,
    timing_text,
)
from pages.parts.selection import Selection, read_ids, tell_apart
from pages.shell import gate, page_frame, resources

FAILURE = "cohorts_failure"
_LISTED = "cohorts_listed"
_SYNC = "Sync or note"
# The parameter of the address that names the project of a cohort: several may have one of its number.
PROJECT = "project"
COHORTS = Selection(
    several.CHOSEN,
    key="cohorts_back",
    all_rows="All cohorts",
    unknown="Mixpanel lists no cohort {} in this project.",
    row_params=(cohort_form.TO, PROJECT, several.RUNS, several.SYNCS, *run_details.PARAMS),
)


def load(bridge: Bridge, person: Actor, mixpanel: str) -> list[Cohort]:
    """Return the cohorts as listed recently, or ask Mixpanel once; a failure is not repeated on every redraw."""
    failure = failure_key(mixpanel)
    # Not where a page is there already: its form would move down for it, and up again.
    is_first, spot = not st.session_state.get(_LISTED), st.empty()
    if failure not in st.session_state:
        try:
            with spot, st.spinner("Asking Mixpanel for the cohorts …") if is_first else nullcontext():
                listed = cohorts.list_cohorts(bridge, person, mixpanel=mixpanel, refresh=False)
            st.session_state[_LISTED] = True
            return listed
        except CohortBridgeError as exc:
            st.session_state[failure] = error_text(exc)
    st.error(st.session_state[failure], title="The cohorts could not be read", icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Try again",
            key="cohorts_again",
            icon=":material/refresh:",
            on_click=refresh,
            args=(bridge, person, mixpanel),
        )
        whom_to_ask.show_way_to_connections(bridge, person)
    return st.stop()


def refresh(bridge: Bridge, person: Actor, mixpanel: str) -> None:
    """Ask Mixpanel for the cohorts, even if they were listed recently."""
    toast = st.toast("Asking Mixpanel for the cohorts …", icon="spinner", duration="infinite")
    st.session_state.pop(failure_key(mixpanel), None)
    try:
        listed = cohorts.list_cohorts(bridge, person, mixpanel=mixpanel, refresh=True)
        toast.toast(f"{pluralize(len(listed), 'cohort')} read.", icon=":material/check:")
    except CohortBridgeError as exc:
        st.session_state[failure_key(mixpanel)] = error_text(exc)
        toast.toast("The cohorts could not be read.", icon=":material/error:")


def failure_key(mixpanel: str) -> str:
    """Return where it is kept that the cohorts of a connection could not be read."""
    return f"{FAILURE}_{mixpanel}"


def marks(cohort: Cohort) -> list[str]:
    """Return what is special about a cohort."""
    every = {
        "Hidden": not cohort.is_visible,
        "Group analytics": cohort.of_groups,
        "Incomplete": cohort.odd_field is not None,
    }
    return [mark for mark, holds in every.items() if holds]


def show_list(bridge: Bridge, person: Actor, cohorts: list[Cohort], groups: list[Group], project: Connection) -> None:
    """Show the cohorts with search; hidden ones only on request."""
    filters = Filters("cohorts")
    search, with_hidden = show_filters(bridge, person, cohorts, filters, project.name)
    filters.show_unknown()
    shown = [
        cohort
        for cohort in cohorts
        if (cohort.is_visible or with_hidden or search)
        and search in f"{cohort.name}\n{cohort.description}\n{cohort.id}".casefold()
    ]
    read_at = cohorts_read_at(bridge, person, mixpanel=project.name)
    st.caption(f"{pluralize(len(shown), 'cohort')} of {number(len(cohorts))}, as Mixpanel listed them {age(read_at)}.")
    show_left_out(bridge, person, project.name)
    if not shown:
        if search:
            filters.show_none("No cohort matches the search.")
        else:
            st.info(
                "The project has no cohorts to show. Save one in Mixpanel, then refresh.", icon=":material/search_off:"
            )
        return
    several.offer(cohorts, [cohort.id for cohort in shown], COHORTS.go_to)
    table(
        shown,
        latest_by_cohort(groups),
        overview.match_rates(bridge, person, project.project_id),
        recurring_by_cohort(bridge, person, project),
    )


def show_left_out(bridge: Bridge, person: Actor, mixpanel: str) -> None:
    """Show how many cohorts are missing from the list because they could not be read."""
    if left_out := count_cohorts_left_out(bridge, person, mixpanel=mixpanel):
        entries = "1 entry is" if left_out == 1 else f"{left_out:,} entries are"
        st.warning(
            f"{entries} left out of Mixpanel's list: "
            "a cohort without a usable id of its own cannot be read. The others are not affected.",
            icon=":material/rule:",
        )


def delivered(bridge: Bridge, person: Actor, project: Connection) -> list[Group]:
    """List the groups of a project's cohorts that were delivered."""
    return [group for group in groups.list_groups(bridge, person) if group.project_id == project.project_id]


def latest_by_cohort(groups: list[Group]) -> dict[int, Group]:
    """Return the group of each cohort that was delivered last: it may have one at several destinations."""
    delivered = [group for group in groups if group.delivered_at]
    delivered.sort(key=lambda group: (group.delivered_at or group.created_at, group.id or 0))
    return {group.cohort_id: group for group in delivered}


def show_filters(
    bridge: Bridge, person: Actor, cohorts: list[Cohort], filters: Filters, mixpanel: str
) -> tuple[str, bool]:
    """Show the search and the other filters; return the text, casefolded, and whether hidden ones are asked for."""
    budget = get_query_budget(bridge, person, mixpanel=mixpanel)
    hidden = sum(not cohort.is_visible for cohort in cohorts)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = filters.text(st.text_input, "Search", "search", live=True, placeholder="Name, text or id", width=340)
        with_hidden = False
        if hidden or filters.asks_for("hidden"):
            label = f"Show hidden cohorts ({number(hidden)})"
            with_hidden = filters.switch(st.toggle, label, "hidden", default=False)
        st.button(
            "Refresh",
            key="cohorts_refresh",
            icon=":material/refresh:",
            help=f"Asks Mixpanel. Costs one of {budget.limit:,} queries an hour; used so far: {budget.used:,}.",
            on_click=refresh,
            args=(bridge, person, mixpanel),
        )
    return search.casefold(), with_hidden


def recurring_by_cohort(bridge: Bridge, person: Actor, project: Connection) -> dict[int, list[SyncView]]:
    """Return the recurring syncs of each cohort of a project that has one: another may have the same numbers."""
    views: dict[int, list[SyncView]] = {}
    for view in listing.list_syncs(bridge, person):
        if view.sync.kind == SyncKind.RECURRING and view.sync.project_id == project.project_id:
            views.setdefault(view.sync.cohort_id, []).append(view)
    return views


def match_rate(run: Run | None) -> float | None:
    """Return the share of profiles with a usable id, of the last complete read; None if it had no profiles."""
    return (run.members + run.duplicates) / run.profiles if run and run.profiles else None


def syncs_text(views: list[SyncView]) -> str:
    """Format in a few words how a cohort is kept up to date; what needs a person comes first."""
    if not views:
        return ""
    unresolved = [run_status.state_word(view.unresolved_run) for view in views if view.unresolved_run]
    if len(views) > 1:
        paused = sum(view.sync.state == SyncState.PAUSED for view in views)
        counts = [*Counter(unresolved).items(), *([("paused", paused)] if paused else [])]
        return ", ".join(
            [pluralize(len(views), "sync"), *(f"{number(count)} {word.lower()}" for word, count in counts)]
        )
    sync = views[0].sync
    is_paused = sync.state == SyncState.PAUSED
    if unresolved:
        return f"{unresolved[0]}, {'paused' if is_paused else timing_phrase(sync)}"
    return paused_text(sync) if is_paused else timing_text(sync)


def table(
    shown: list[Cohort], groups: dict[int, Group], reads: dict[int, Run], views: dict[int, list[SyncView]]
) -> None:
    """Show cohorts as rows, each with the button that exports it, to be selected to export several."""
    names = tell_apart({cohort.id: cohort.name for cohort in shown}, lambda cohort_id: f" ({cohort_id})")
    rows = [
        table_row(cohort, names[cohort.id], groups.get(cohort.id), reads.get(cohort.id), views.get(cohort.id, []))
        for cohort in shown
    ]
    tables.rows_to_select(
        rows,
        [cohort.id for cohort in shown],
        key=several.TABLE,
        label="Cohorts of the Mixpanel project",
        go_to=COHORTS.go_to,
        opens="Cohort",
        opens_width=170,
        button_width=75,
        # A column that is empty for every cohort only takes room away from the names.
        order=tables.filled(rows, "Members", "Matched", "Delivered", _SYNC),
        columns={
            **tables.numbers(
                rows,
                Users="As Mixpanel last counted them. An export reads the cohort again.",
                Members="Of its group; with several groups, of the one that was delivered last.",
            ),
            "Matched": st.column_config.ProgressColumn(
                format="%.1f%%",
                min_value=0,
                max_value=100,
                width=82,
                help="Profiles with a usable Apptimize id, when the cohort was last read.",
            ),
            **tables.texts(rows, **{_SYNC: 155, "Delivered": 105}),
            "Description": st.column_config.TextColumn(width=160),
        },
    )


def table_row(
    cohort: Cohort, name: str, group: Group | None, read: Run | None, views: list[SyncView]
) -> dict[str, object]:
    """Format a cohort for the table; one column holds its sync and its marks, for hardly one has both."""
    return {
        "Cohort": name,
        "Users": cohort.count,
        "Members": group.members if group else None,
        "Matched": percent_number(match_rate(read)),
        "": "Open" if why_not_exportable(cohort) else "Export",
        "Delivered": age(group.delivered_at) if group else "",
        _SYNC: ", ".join(filter(None, [*marks(cohort), syncs_text(views)])),
        "Description": cohort.description,
        "Id": str(cohort.id),
    }


def show_syncs(views: list[SyncView]) -> None:
    """Show which recurring syncs keep a group of the cohort up to date."""
    for view in views:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            is_on = view.sync.state == SyncState.ACTIVE
            st.badge(
                "Recurring" if is_on else "Recurring, paused",
                icon=":material/sync:" if is_on else ":material/pause_circle:",
                color="green" if is_on else "orange",
            )
            if view.unresolved_run:
                run_status.badge(view.unresolved_run)
            every = escape_markdown(timing_text(view.sync))
            until = f"Resumes at {clock(view.sync.paused_until)}. " if view.sync.paused_until else ""
            st.caption(f"{until}{every}, to {escape_markdown(view.destination)}.", width="content")
            links.view_sync(view.sync.id)


def show_one(bridge: Bridge, person: Actor, cohort: Cohort, connections: list[Connection], project: Connection) -> None:
    """Show one cohort: what it is, the form that exports it, and below that what became of it.

    Nothing above the form, and of the form, changes by a run: it stands where it is while one comes and goes.
    """
    COHORTS.back_button()
    st.header(escape_markdown(cohort.name), anchor=False)
    show_facts(cohort, "" if project == choose_mixpanel(connections) else f" of Mixpanel project {project.project_id}")
    now = cohort_now.load(bridge, person, cohort, connections, project)
    chosen = None
    if now.destinations:
        chosen = cohort_form.show(bridge, person, now)
    else:
        st.info("Connect Apptimize, or a folder for CSV files, before you export.", icon=":material/cable:")
        whom_to_ask.show_way_to_connections(bridge, person)
    show_syncs(now.syncs)
    cohort_results.show(bridge, person, now, chosen)


def show_facts(cohort: Cohort, of_project: str) -> None:
    """Show what Mixpanel knows of the cohort; `of_project` names its project, if that is not the one of the list."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for mark in marks(cohort):
            st.badge(mark, color="gray")
        counted = "" if cohort.count is None else f" Mixpanel last counted {pluralize(cohort.count, 'user')}."
        st.caption(
            f"Cohort {cohort.id}{of_project}.{counted} Users without a profile are never exported.", width="content"
        )
    if cohort.description:
        st.text(cohort.description)


def asked_project() -> str:
    """Return the project that the address asks for, with its cohort; empty: it asks for the one in use."""
    return st.query_params.get(PROJECT, "") if COHORTS.requested else ""


def find_project(connections: list[Connection]) -> Connection | None:
    """Find the connection to read through."""
    asked = asked_project()
    return choose_project(connections, parse_id(asked)) if asked else choose_mixpanel(connections)


def show_not_connected(bridge: Bridge, person: Actor) -> None:
    """Show that nothing leads to the project, and who can connect it."""
    if asked := asked_project():
        COHORTS.back_button()
        project = escape_markdown(asked[:40])
        st.info(f"This cohort is of Mixpanel project {project}, which is not connected.", icon=":material/link_off:")
    else:
        st.info("Mixpanel is not connected yet.", icon=":material/link_off:")
    whom_to_ask.show_way_to_connections(bridge, person)


person = gate.require(Role.ANALYST)
bridge = resources.bridge()
intro = "" if COHORTS.requested else "Pick a cohort of the Mixpanel project and export it to Apptimize."
connections = page_frame.open_page(bridge, person, "Cohorts", intro)
project = find_project(connections)
if project is None:
    show_not_connected(bridge, person)
    st.stop()
all_cohorts = load(bridge, person, project.name)
if resources.has_other_name(person):
    gate.redraw()  # the list has just been read: before anything of the page is there
with show_errors():
    if not COHORTS.requested:
        show_list(bridge, person, all_cohorts, delivered(bridge, person, project), project)
    elif several_progress.is_asked_for():
        COHORTS.back_button()
        several_progress.show(bridge, person)
    elif COHORTS.requested_id is None and read_ids(COHORTS.requested)[0]:
        COHORTS.back_button()
        several.show(
            bridge, person, COHORTS.requested, all_cohorts, connections, project, delivered(bridge, person, project)
        )
    elif cohort := COHORTS.find({cohort.id: cohort for cohort in all_cohorts}.get):
        show_one(bridge, person, cohort, connections, project)
held_run_dialog.show(bridge, person)
