"""Cohorts: pick one, export it to Apptimize, and see what became of it."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.connect import MIXPANEL_SIDE
from core.errors import CohortBridgeError
from core.reports import overview
from core.syncs import cohorts, groups, listing, one_time, recurring, runs
from core.syncs.cohorts import cohorts_read_at, get_query_budget
from core.syncs.listing import SyncView
from core.vendors.mixpanel_answers import Cohort
from data.models import Connection, ConnectionKind, Group, Run, RunFilter, RunStatus, SyncKind, SyncState
from pages.parts import held_run, membership_changes, run_status, tables
from pages.parts.formatting import EVERY, age, error_text, escape_markdown, number, percent, percent_of, pluralize
from pages.shell import gate, page_frame, resources

GROUPS = "pages/observe/groups.py"
FAILURE = "cohorts_failure"
ONE_TIME, RECURRING = "One-time", "Recurring (dynamic)"
SYNCS = "pages/export/syncs.py"


def load(bridge: Bridge, person: Actor) -> list[Cohort]:
    """Return the cohorts as shared lately, or ask Mixpanel once; a failure is not repeated on every redraw."""
    if FAILURE not in st.session_state:
        try:
            with st.spinner("Asking Mixpanel for the cohorts …"):
                return cohorts.list_cohorts(bridge, person, afresh=False)
        except CohortBridgeError as exc:
            st.session_state[FAILURE] = error_text(exc)
    st.error(st.session_state[FAILURE], title="The cohorts could not be read", icon=":material/error:")
    st.button("Try again", key="cohorts_again", icon=":material/refresh:", on_click=refresh, args=(bridge, person))
    return st.stop()


def refresh(bridge: Bridge, person: Actor) -> None:
    """Ask Mixpanel for the cohorts, whatever was shared before."""
    toast = st.toast("Asking Mixpanel for the cohorts …", icon="spinner", duration="infinite")
    st.session_state.pop(FAILURE, None)
    try:
        found = cohorts.list_cohorts(bridge, person, afresh=True)
        toast.toast(f"{pluralize(len(found), 'cohort')} read.", icon=":material/check:")
    except CohortBridgeError as exc:
        st.session_state[FAILURE] = error_text(exc)
        toast.toast("The cohorts could not be read.", icon=":material/error:")


def go_to(cohort_id: int | None) -> None:
    """Show one cohort, or all of them again; the address says which."""
    if cohort_id is None:
        st.query_params.pop("cohort", None)
    else:
        st.query_params["cohort"] = str(cohort_id)


def marks(cohort: Cohort) -> str:
    """Write what is special about a cohort."""
    return ", ".join(
        mark for mark, holds in (("Hidden", not cohort.is_visible), ("Group analytics", cohort.of_groups)) if holds
    )


def show_list(bridge: Bridge, person: Actor, cohorts: list[Cohort], groups: list[Group]) -> None:
    """Show the cohorts with search; hidden ones are set aside."""
    budget = get_query_budget(bridge, person)
    hidden = sum(not one.is_visible for one in cohorts)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            key="cohorts_search",
            type="search",
            live=True,
            persist_state="page",
            placeholder="Name, text or id",
            width=340,
        )
        with_hidden = st.toggle(
            f"Show hidden cohorts ({number(hidden)})", key="cohorts_hidden", persist_state="page", disabled=not hidden
        )
        st.button(
            "Refresh",
            key="cohorts_refresh",
            icon=":material/refresh:",
            help=f"Asks Mixpanel. Costs one of {budget.limit:,} queries an hour; used so far: {budget.used:,}.",
            on_click=refresh,
            args=(bridge, person),
        )
    wanted = search.strip().casefold()
    shown = [
        one
        for one in cohorts
        if (one.is_visible or with_hidden or wanted)
        and (not wanted or wanted in f"{one.name}\n{one.description}\n{one.id}".casefold())
    ]
    read_at = cohorts_read_at(bridge, person)
    st.caption(f"{pluralize(len(shown), 'cohort')} of {number(len(cohorts))}, as Mixpanel listed them {age(read_at)}.")
    if not shown:
        st.info(
            "No cohort matches the search."
            if wanted
            else "The project has no cohorts to show. Save one in Mixpanel, then refresh.",
            icon=":material/search_off:",
        )
        return
    table(
        shown,
        {group.cohort_id: group for group in groups},
        overview.match_rates(bridge, person),
        recurring_by_cohort(bridge, person),
    )


def recurring_by_cohort(bridge: Bridge, person: Actor) -> dict[int, list[SyncView]]:
    """Return the recurring syncs of each cohort that has one."""
    found: dict[int, list[SyncView]] = {}
    for view in listing.list_syncs(bridge, person):
        if view.sync.kind == SyncKind.RECURRING:
            found.setdefault(view.sync.cohort_id, []).append(view)
    return found


def match_rate(run: Run | None) -> float | None:
    """Return the share of profiles with a usable id, of the last read that was whole; None if there were none."""
    return (run.members + run.duplicates) / run.profiles if run and run.profiles else None


def syncs_text(views: list[SyncView]) -> str:
    """Write in a few words how a cohort is kept up to date."""
    if not views:
        return ""
    if len(views) > 1:
        paused = sum(one.sync.state == SyncState.PAUSED for one in views)
        return pluralize(len(views), "sync") + (f", {number(paused)} paused" if paused else "")
    every = EVERY.get(views[0].sync.every_minutes or 0, "Recurring")
    return "Paused" if views[0].sync.state == SyncState.PAUSED else every


def table(
    shown: list[Cohort], groups: dict[int, Group], reads: dict[int, Run], views: dict[int, list[SyncView]]
) -> None:
    """Show cohorts as rows, each with the button that exports it."""
    tables.rows_to_open(
        [
            {
                "": "Look" if one.of_groups else "Export",
                "Cohort": one.name,
                "Users": one.count,
                "Matched": percent_of(match_rate(reads.get(one.id))),
                "Members": groups[one.id].members if one.id in groups else None,
                "Sync": syncs_text(views.get(one.id, [])),
                "Delivered": age(groups[one.id].delivered_at) if one.id in groups else "",
                "Note": marks(one),
                "Description": one.description,
                "Id": str(one.id),
            }
            for one in shown
        ],
        [one.id for one in shown],
        key="cohorts",
        label="Cohorts of the Mixpanel project",
        go_to=go_to,
        button_width=75,
        # A column that says nothing of any cohort only takes room away from the names.
        order=["", "Cohort", "Users"]
        + (["Matched", "Members", "Sync", "Delivered"] if groups or reads or views else [])
        + (["Note"] if any(map(marks, shown)) else [])
        + ["Description", "Id"],
        columns={
            "Cohort": st.column_config.TextColumn(width="medium"),
            "Users": st.column_config.NumberColumn(
                format="localized", help="As Mixpanel last counted them. An export reads the cohort anew."
            ),
            "Matched": st.column_config.ProgressColumn(
                format="%.1f%%",
                min_value=0,
                max_value=100,
                width=100,
                help="Profiles with a usable Apptimize id, when the cohort was last read.",
            ),
            "Members": st.column_config.NumberColumn(format="localized", help="Of the group that it was exported to."),
            "Sync": st.column_config.TextColumn(width=115),
            "Delivered": st.column_config.TextColumn(width=105),
            "Note": st.column_config.TextColumn(width=135),
            "Description": st.column_config.TextColumn(width="medium"),
        },
    )


def start(
    bridge: Bridge,
    person: Actor,
    cohort_id: int,
    present_names: dict[str, str],
    usual_name: str,
    preview: bool = False,  # noqa: FBT001, FBT002  (Streamlit hands arguments over by place)
) -> None:
    """Queue what was entered. A name that was left as it is stays whatever it is by the time the run starts."""
    entered = st.session_state
    name, to = entered[f"cohorts_group_{cohort_id}"], entered[f"cohorts_to_{cohort_id}"]
    group = None if name.strip() == present_names.get(to, usual_name) else name
    if entered[f"cohorts_kind_{cohort_id}"] == RECURRING and not preview:
        start_recurring(bridge, person, cohort_id, group=group, to=to)
        return
    try:
        run = one_time.start_export(bridge, person, cohort_id, group=group, to=to, dry_run=preview)
    except CohortBridgeError as exc:
        page_frame.answer("cohorts", error_text(exc), failed=True)
        return
    page_frame.forget_answer()
    st.toast(f"Run {run.id} is queued.", icon=":material/schedule:")


def start_recurring(bridge: Bridge, person: Actor, cohort_id: int, *, group: str | None, to: str) -> None:
    """Start a sync that keeps the group equal to the cohort."""
    entered = st.session_state
    brake = entered[f"cohorts_brake_{cohort_id}"] if entered[f"cohorts_has_brake_{cohort_id}"] else None
    every = entered[f"cohorts_every_{cohort_id}"]
    try:
        sync = recurring.add_sync(bridge, person, cohort_id, every_minutes=every, group=group, to=to, max_shrink=brake)
    except CohortBridgeError as exc:
        page_frame.answer("cohorts", error_text(exc), failed=True)
        return
    page_frame.answer("cohorts", f"Sync {sync.id} is active: its first run is due now.")


def show_form(
    bridge: Bridge, person: Actor, cohort: Cohort, destinations: list[Connection], groups: list[Group]
) -> None:
    """Show what an export needs: the group's name, where it goes, and how often."""
    st.subheader("Export to Apptimize", anchor=False)
    if cohort.of_groups:
        st.info(
            "This is a group-analytics cohort: it holds companies or accounts, not users, so there is nobody to "
            "target with it. Choose a cohort of users.",
            title="It cannot be exported",
            icon=":material/domain:",
        )
        return
    names = [one.name for one in destinations]
    places = {one.id: one.name for one in destinations}
    own = [group for group in groups if group.cohort_id == cohort.id and group.destination_id in places]
    present = own[0] if own else None
    present_names = {places[group.destination_id]: group.name for group in own}
    with st.container(border=True):
        left, right = st.columns(2)
        left.text_input(
            "Group name",
            value=present.name if present else cohort.name,
            max_chars=200,
            key=f"cohorts_group_{cohort.id}",
            help="Apptimize shows it as “Mixpanel: ” and this name, to everyone in the organisation. A group that was "
            "delivered keeps its name.",
        )
        right.selectbox(
            "Export to",
            names,
            index=names.index(places[present.destination_id]) if present else _default(destinations),
            format_func={one.name: f"{one.name} ({kind_of(one)})" for one in destinations}.__getitem__,
            key=f"cohorts_to_{cohort.id}",
        )
        kind = st.radio(
            "Kind of export",
            [ONE_TIME, RECURRING],
            captions=[
                "Overwrites the group with the users who are in the cohort now. It is not updated afterwards.",
                "Keeps the group equal to the cohort, again and again.",
            ],
            key=f"cohorts_kind_{cohort.id}",
            horizontal=True,
        )
        if kind == RECURRING:
            _how_often(cohort.id)
        arguments = (bridge, person, cohort.id, present_names, cohort.name)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Start sync",
                key=f"cohorts_start_{cohort.id}",
                type="primary",
                icon=":material/play_arrow:",
                on_click=start,
                args=arguments,
            )
            st.button(
                "Preview",
                key=f"cohorts_preview_{cohort.id}",
                icon=":material/experiment:",
                help="Reads the cohort and shows who would come and who would leave. Writes nothing; costs "
                "one query, as an export does.",
                on_click=start,
                args=(*arguments, True),
            )
    page_frame.show_answer("cohorts")


def _how_often(cohort_id: int) -> None:
    """Show interval and brake of a recurring sync."""
    left, right = st.columns(2, vertical_alignment="bottom")
    left.selectbox("Interval", list(EVERY), format_func=EVERY.__getitem__, key=f"cohorts_every_{cohort_id}")
    has_brake = st.checkbox(
        "Hold a run that would take more members away than that",
        key=f"cohorts_has_brake_{cohort_id}",
        help="Nothing is written then until somebody has looked at it.",
    )
    right.number_input(
        "Most that may leave at once, in percent",
        min_value=0,
        max_value=100,
        value=20,
        key=f"cohorts_brake_{cohort_id}",
        disabled=not has_brake,
    )


def _default(destinations: list[Connection]) -> int:
    """Offer an endpoint before a folder: it needs nothing done by hand."""
    return next((number for number, one in enumerate(destinations) if one.kind == ConnectionKind.ENDPOINT), 0)


def kind_of(one: Connection) -> str:
    """Say in a word what a destination is."""
    practice = ", practice" if one.practice else ""
    return ("CSV folder" if one.kind == ConnectionKind.CSV else "Apptimize") + practice


def show_run(bridge: Bridge, person: Actor, run: Run, destinations: list[Connection], project_id: int) -> None:
    """Show how the cohort's latest run ended, and where its users are now."""
    st.subheader("Preview" if run.dry_run else "Latest export", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        run_status.badge(run)
        st.caption(f"{age(run.finished_at)}, took {run_status.took(run) or 'no time'}", width="content")
        run_status.link(run)
    run_status.outcome(run)
    held_run.held(bridge, person, run, place="cohorts")
    if run.dry_run or (run.status == RunStatus.HELD and run.removed):
        run_status.changes(run)
        membership_changes.show(bridge, person, run, key="cohorts_difference")
    if run.status == RunStatus.SUCCEEDED:
        where_to_look(run, destinations, project_id)
        run_status.funnel(run)
        if not run.dry_run:
            run_status.changes(run)


def where_to_look(run: Run, destinations: list[Connection], project_id: int) -> None:
    """Lead to the group: here, and on the sandbox's own page in practice mode."""
    if run.dry_run:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        destination = next((one for one in destinations if one.name == run.destination), None)
        sandbox = page_frame.sandbox_of([destination]) if destination else None
        if sandbox:
            st.link_button(
                "See it on Apptimize's Groups page",
                f"{sandbox}/apptimize/groups/{project_id}/{run.cohort_id}",
                key="cohorts_sandbox",
                icon=":material/open_in_new:",
                type="primary",
            )
        st.page_link(GROUPS, label="Members", icon=":material/patient_list:", query_params={"group": str(run.group_id)})


def show_syncs(views: list[SyncView]) -> None:
    """Say which recurring syncs keep a group of the cohort up to date."""
    for view in views:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            is_on = view.sync.state == SyncState.ACTIVE
            st.badge(
                "Recurring" if is_on else "Recurring, paused",
                icon=":material/sync:" if is_on else ":material/pause_circle:",
                color="green" if is_on else "orange",
            )
            st.caption(
                f"{EVERY[view.sync.every_minutes or 15]}, to {escape_markdown(view.destination)}.", width="content"
            )
            st.page_link(SYNCS, label="Its sync", icon=":material/sync:", query_params={"sync": str(view.sync.id)})


def show_one(bridge: Bridge, person: Actor, cohort: Cohort, found: list[Connection], groups: list[Group]) -> None:
    """Show one cohort: what it is, its export, and its runs that go on or ended last."""
    destinations = [one for one in found if one.side != MIXPANEL_SIDE]
    st.button(
        "All cohorts", key="cohorts_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.header(escape_markdown(cohort.name), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for mark in filter(None, marks(cohort).split(", ")):
            st.badge(mark, color="gray")
        matched = match_rate(overview.match_rates(bridge, person).get(cohort.id))
        rate = "" if matched is None else f" At the last read {percent(matched)} of the profiles had a usable id."
        st.caption(
            f"Cohort {cohort.id}. Mixpanel last counted {pluralize(cohort.count, 'user')}; those without a profile are "
            f"never exported.{rate}",
            width="content",
        )
    if cohort.description:
        st.text(cohort.description)
    show_syncs(recurring_by_cohort(bridge, person).get(cohort.id, []))
    active = runs.active_runs(bridge, person, cohort.id)
    for run in active:
        assert run.id is not None
        run_status.progress(bridge, person, run.id)
    if not destinations:
        st.info("Connect Apptimize, or a folder for CSV files, before you export.", icon=":material/cable:")
        page_frame.way_to_connect(person)
        return
    if not active:
        mine = runs.list_runs(bridge, person, RunFilter(cohort_id=cohort.id), limit=1)
        run_status.watch(bridge, person, RunFilter(cohort_id=cohort.id), mine[0].id if mine else None)
        for run in mine:
            show_run(
                bridge, person, run, destinations, next(one.project_id for one in found if one.side == MIXPANEL_SIDE)
            )
        show_form(bridge, person, cohort, destinations, groups)


def unknown(asked: str) -> None:
    """Say that the address names no cohort of this project."""
    st.warning(f"Mixpanel lists no cohort {escape_markdown(asked)} in this project.", icon=":material/search_off:")
    st.button("All cohorts", key="cohorts_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))


person = gate.require(Role.ANALYST)
bridge = resources.bridge()
found = page_frame.open_page(
    bridge, person, "Cohorts", "Pick a cohort of the Mixpanel project and export it to Apptimize."
)
if not any(one.side == MIXPANEL_SIDE for one in found):
    st.info("Mixpanel is not connected yet.", icon=":material/link_off:")
    page_frame.way_to_connect(person)
    st.stop()
all_cohorts = load(bridge, person)
try:
    all_groups = groups.list_groups(bridge, person)
    asked = st.query_params.get("cohort")
    picked = next((one for one in all_cohorts if str(one.id) == asked), None)
    if picked:
        show_one(bridge, person, picked, found, all_groups)
    elif asked:
        unknown(asked)
    else:
        show_list(bridge, person, all_cohorts, all_groups)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
