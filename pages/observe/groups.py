"""Groups: what was delivered, who is in and since when, and what changed."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.reports import comparison, members, user_lookup
from core.reports.comparison import Comparison
from core.reports.members import ChangeKind
from core.reports.memberships import Membership
from core.syncs import groups, listing
from core.syncs.listing import SyncView
from core.vendors.csv_files import csv_name
from data.models import Connection, Group, Run, SyncKind, SyncState
from pages.parts import charts, download, lookback, member_list, run_status, tables
from pages.parts.formatting import EVERY, age, error_text, escape_markdown, in_gray, moment, number, pluralize
from pages.shell import gate, page_frame, resources

COHORTS = "pages/export/cohorts.py"
SYNCS = "pages/export/syncs.py"
HISTORY = run_status.HISTORY
VIEWS = MEMBERS, SIZE, COMPARE = "Members", "Size over time", "Compare two runs"
# How many times more changes are looked through when somebody asks for more.
IN_DOUBT = (
    "A delivery began and was not confirmed to its end, so Apptimize may hold a part of it. What is shown here is the "
    "last delivery that was accepted whole. The next export writes the group in full and ends the doubt."
)


def go_to(group_id: int | None = None, member: str | None = None) -> None:
    """Show a group, a member, or all groups again; the address says which."""
    wanted = {"group": None if group_id is None else str(group_id), "member": member, "view": None}
    for name, value in wanted.items():
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value


# --- all groups ----------------------------------------------------------------------------------------------------


def show_list(
    bridge: Bridge, person: Actor, groups: list[Group], places: dict[int, str], feeding: dict[int, SyncView]
) -> None:
    """Show every group that was delivered, and the way to a member's timeline."""
    if not groups:
        st.info("Export a cohort, and its group appears here.", title="No groups yet", icon=":material/patient_list:")
        if person.role >= Role.ANALYST:
            st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search groups",
            key="groups_search",
            type="search",
            live=True,
            persist_state="page",
            placeholder="Group or cohort",
            width=340,
        )
        st.text_input(
            "Which groups is a user in?",
            key="groups_lookup",
            placeholder="Whole Apptimize id or distinct id",
            on_change=look_up,
            width=340,
        )
    wanted = search.strip().casefold()
    shown = [one for one in groups if wanted in f"{one.name}\n{one.cohort_name}\n{one.cohort_id}".casefold()]
    of = f" of {number(len(groups))}" if len(shown) < len(groups) else ""
    st.caption(f"{pluralize(len(shown), 'group')}{of}. Apptimize shows the names as they are here.")
    if not shown:
        st.info("No group matches the search.", icon=":material/search_off:")
        return
    trend = resources.trends(bridge, person)
    rows = [row(one, places, feeding.get(one.id or 0), trend.get(one.id or 0)) for one in shown]
    tables.rows_to_open(
        rows,
        [one.id for one in shown],
        key="groups",
        label="Delivered groups",
        go_to=go_to,
        # On the first day there is no trend to draw, and a cohort whose name the group bears is named already.
        order=[
            name
            for name in rows[0]
            if (name != "Last 14 days" or any(one[name] for one in rows))
            and (name != "Cohort" or any(name_of(one) != f"Mixpanel: {one.cohort_name}" for one in shown))
        ],
        columns={
            "Group": st.column_config.TextColumn(width=230),
            "Members": st.column_config.NumberColumn(format="localized"),
            "Last 14 days": st.column_config.LineChartColumn(width=110),
        },
    )


def row(one: Group, places: dict[int, str], view: SyncView | None, trend: list[int] | None) -> dict[str, object]:
    """Write a group for the table."""
    return {
        "": "Open",
        "Group": f"Mixpanel: {one.delivered_name or one.name}",
        "Members": one.members,
        "Last 14 days": trend if trend and len(trend) > 1 else None,
        "Last delivery": age(one.delivered_at),
        "Updated": updated(view),
        "State": "In doubt" if one.in_doubt else "As delivered",
        "Destination": places.get(one.destination_id, "Removed"),
        "Cohort": one.cohort_name,
    }


def updated(view: SyncView | None) -> str:
    """Write how a group is kept up to date."""
    if view is None:
        return "Once"
    every = EVERY.get(view.sync.every_minutes or 0, f"Every {view.sync.every_minutes} minutes")
    return f"{every}, paused" if view.sync.state == SyncState.PAUSED else every


def look_up() -> None:
    """Go to the timeline of the user that was entered."""
    if entered := st.session_state["groups_lookup"].strip():
        go_to(member=entered)


# --- one member ----------------------------------------------------------------------------------------------------


def show_member(bridge: Bridge, person: Actor, text: str, group: Group | None) -> None:
    """Show in which groups somebody is and was, since when, and how far back that is known."""
    back_to = f"Mixpanel: {group.delivered_name or group.name}" if group else "All groups"
    st.button(
        escape_markdown(back_to),
        key="groups_back",
        icon=":material/arrow_back:",
        type="tertiary",
        on_click=go_to,
        args=(group.id if group else None,),
    )
    known = user_lookup.look_up_user(
        bridge,
        person,
        text,
        group_id=group.id if group else None,
        look_through=lookback.look_through("groups"),
    )
    histories = {one.apptimize_id: one for one in known.histories if one.has(text)}
    say_what_is_lost(known.lost)
    if not histories:
        st.header(escape_markdown(text), anchor=False)
        where = "in this group" if group else "in any group"
        st.info(
            f"Nobody with this id is {where}, nor came or left lately. Enter the whole id, as Apptimize or Mixpanel "
            "spells it; capital letters count.",
            title="Not found",
            icon=":material/person_search:",
        )
        lookback.show(known.lookback, place="groups")
        if group:
            st.button("Look in all groups", key="groups_everywhere", on_click=go_to, args=(None, text))
        return
    ids = list(histories)
    if len(ids) > 1:
        st.selectbox("This distinct id has several Apptimize ids", ids, key="groups_member_of")
    picked = st.session_state.get("groups_member_of")
    history = histories.get(picked or "") or next(iter(histories.values()))
    picked = history.apptimize_id
    st.header(escape_markdown(picked), anchor=False)
    st.caption(f"Mixpanel distinct id: {escape_markdown(history.distinct_id or 'not known')}.")
    show_stays(history.memberships)
    lookback.show(known.lookback, place="groups")
    if group:
        st.button(
            "Look in all groups",
            key="groups_everywhere",
            icon=":material/travel_explore:",
            on_click=go_to,
            args=(None, picked),
        )


def say_what_is_lost(lost: list[Group]) -> None:
    """Name the groups of which nobody can tell who is in."""
    if lost:
        names = ", ".join(name_of(one) for one in lost[:5]) + (" and others" if len(lost) > 5 else "")
        st.warning(
            f"Nobody can tell who is in {escape_markdown(names)}: the members are no longer kept. Export the cohort again.",
            icon=":material/help:",
        )


def show_stays(stays: list[Membership]) -> None:
    """Show each stay: first the groups that the member is in now."""
    now = [stay for stay in stays if stay.is_in]
    if now:
        st.success(
            "  \n".join(
                f"In **{escape_markdown(name_of(stay.group))}** {escape_markdown(since_text(stay))}"
                for stay in now[:10]
            ),
            title="In a group now" if len(now) == 1 else f"In {number(len(now))} groups now",
            icon=":material/person_check:",
        )
    else:
        st.info("In none of the groups now.", icon=":material/person_off:")
    if not stays:
        return
    st.subheader("When in, and when out", anchor=False)
    tables.rows_to_open(
        [
            {
                "": "Open run",
                "Group": name_of(stay.group),
                "Came in": moment(stay.since) if stay.since else f"Before {moment(stay.kept_since)}",
                "Went out": moment(stay.until) if stay.until else "Still in" if stay.is_in else "Not known",
                "Came with run": str(stay.since_run or ""),
                "Left with run": str(stay.until_run or ""),
            }
            for stay in stays
        ],
        [stay.until_run or stay.since_run or stay.group.base_run_id for stay in stays],
        key="groups_stays",
        label="When the member was in which group",
        go_to=open_run,
        columns={"Group": st.column_config.TextColumn(width="medium")},
        button_width=90,
    )


def open_run(run_id: int | None) -> None:
    """Leave for a run's detail, at the next drawing."""
    if run_id is not None:
        st.session_state["groups_leave_for"] = run_id


def name_of(group: Group) -> str:
    """Write a group's name as Apptimize shows it."""
    return f"Mixpanel: {group.delivered_name or group.name}"


def since_text(stay: Membership) -> str:
    """Write since when somebody is in."""
    if stay.since:
        return f"since {moment(stay.since)} (run {stay.since_run})"
    return f"since before {moment(stay.kept_since)}"


# --- one group -----------------------------------------------------------------------------------------------------


def show_one(bridge: Bridge, person: Actor, group: Group, place: Connection | None, view: SyncView | None) -> None:
    """Show one group: its figures, and its members, its size or what two of its runs differ in."""
    assert group.id is not None
    st.button("All groups", key="groups_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to)
    st.header(escape_markdown(name_of(group)), anchor=False)
    st.caption(
        f"Fed by the cohort {escape_markdown(group.cohort_name)} ({group.cohort_id}), delivered to "
        f"{escape_markdown(place.name if place else 'a removed destination')}, {escape_markdown(updated(view).lower())}."
    )
    if group.in_doubt:
        st.warning(IN_DOUBT, title="What Apptimize holds is in doubt", icon=":material/help:")
    run_status.tiles(
        [
            ("Members", number(group.members), "As of the last delivery that was accepted whole."),
            ("Last delivery", age(group.delivered_at), moment(group.delivered_at)),
            ("Last verified", age(group.verified_at), "When a run last found the group equal to its cohort."),
        ],
        width=230,
    )
    links(bridge, person, group, place, view)
    shown = st.segmented_control(
        "Show", VIEWS, default=first_view(), required=True, format_func=in_gray, key="groups_view",
        on_change=keep_view, label_visibility="collapsed",
    )  # fmt: skip
    if shown == SIZE:
        charts.size_over_time(bridge, person, group.id, key="groups")
    elif shown == COMPARE:
        compare(bridge, person, group)
    else:
        member_list.show(
            partial(members.find_members, bridge, person, group.id),
            key="groups_members",
            label="Members",
            empty="The group is empty: nobody in the cohort had a usable Apptimize id.",
            open_member=partial(go_to, group.id),
        )


def first_view() -> str:
    """Choose the view that the address asks for."""
    asked = st.query_params.get("view", MEMBERS)
    return asked if asked in VIEWS else MEMBERS


def keep_view() -> None:
    """Write the view into the address: Streamlit's own binding would write its colour too."""
    st.query_params["view"] = st.session_state["groups_view"]


def links(bridge: Bridge, person: Actor, group: Group, place: Connection | None, view: SyncView | None) -> None:
    """Show the group's file, and the ways to what it comes from."""
    assert group.id is not None
    with st.container(horizontal=True, vertical_alignment="center"):
        download.offer_csv(
            partial(groups.group_csv, bridge, person, group.id),
            file_name=csv_name(group.delivered_name or group.name, group.cohort_id),
            key="groups_csv",
            label="Download CSV",
            help="The file that Apptimize's Groups page takes: one column, `user_id`.",
        )
        sandbox = page_frame.sandbox_of([place]) if place else None
        if sandbox:
            st.link_button(
                "See it on Apptimize's Groups page",
                f"{sandbox}/apptimize/groups/{group.project_id}/{group.cohort_id}",
                key="groups_sandbox",
                icon=":material/open_in_new:",
            )
        if person.role >= Role.ANALYST:
            st.page_link(
                COHORTS, label="Its cohort", icon=":material/groups:", query_params={"cohort": str(group.cohort_id)}
            )
            if view:
                st.page_link(SYNCS, label="Its sync", icon=":material/sync:", query_params={"sync": str(view.sync.id)})
        if group.base_run_id:
            st.page_link(
                HISTORY,
                label="Its last delivery",
                icon=":material/history:",
                query_params={"run": str(group.base_run_id)},
            )


def compare(bridge: Bridge, person: Actor, group: Group) -> None:
    """Show what any two runs differ in whose members are kept."""
    assert group.id is not None
    kept = {run.id: run for run in members.kept_runs(bridge, person, group.id) if run.id is not None}
    if len(kept) < 2:
        st.info(
            "Two runs that changed the group are needed. The members of the last 30 of them are kept.",
            title="Nothing to compare yet",
            icon=":material/difference:",
        )
        return
    ids = list(kept)
    labels = {run_id: run_label(run) for run_id, run in kept.items()}
    with st.container(horizontal=True):
        before = st.selectbox(
            "From", ids, index=1, format_func=labels.__getitem__, key="groups_before", on_change=from_first, width=400
        )
        after = st.selectbox(
            "To", ids, index=0, format_func=labels.__getitem__, key="groups_after", on_change=from_first, width=400
        )
    if before == after:
        st.info("Choose two different runs.", icon=":material/difference:")
        return
    with st.spinner("Comparing the members of both runs …"):
        found = comparison.compare_runs(bridge, person, before, after)
    show_comparison(bridge, person, found)


def run_label(run: Run) -> str:
    """Write a run for a choice."""
    return f"Run {run.id}, {moment(run.finished_at)}: {pluralize(run.members, 'member')}"


def from_first() -> None:
    """Begin at the first page of another comparison."""
    for way in ("added", "removed"):
        st.session_state[f"groups_compare_{way}_page"] = 1


def show_comparison(bridge: Bridge, person: Actor, found: Comparison) -> None:
    """Show counts, and who came and left."""
    run_status.tiles(
        [
            ("Added", number(found.added), "In the later choice, not in the earlier one."),
            ("Removed", number(found.removed), "In the earlier choice, not in the later one."),
            ("In both", number(found.unchanged), ""),
        ]
    )
    if not (found.added or found.removed):
        st.success("Both hold the same members.", icon=":material/check_circle:")
        return
    before, after = found.before.id or 0, found.after.id or 0
    download.offer_csv(
        partial(comparison.compared_csv, bridge, person, before, after),
        file_name=f"runs-{before}-{after}.csv",
        key="groups_compared",
    )
    ways: list[tuple[ChangeKind, int]] = [("added", found.added), ("removed", found.removed)]
    for column, (way, count) in zip(st.columns(2), ways, strict=True):
        with column:
            st.subheader(f"{way.capitalize()} ({number(count)})", anchor=False)
            member_list.show(
                partial(comparison.find_compared, bridge, person, before, after, way),
                key=f"groups_compare_{way}",
                label=f"Members {way}",
                empty="Nobody.",
            )


def feeding_syncs(bridge: Bridge, person: Actor) -> dict[int, SyncView]:
    """Return the recurring sync of each group that has one."""
    views = listing.list_syncs(bridge, person)
    return {view.group.id: view for view in views if view.sync.kind == SyncKind.RECURRING and view.group.id}


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
if leave_for := st.session_state.pop("groups_leave_for", None):
    st.switch_page(HISTORY, query_params={"run": str(leave_for)})
found = page_frame.open_page(bridge, person, "Groups", "What was delivered to Apptimize, who is in, and since when.")
try:
    all_groups = groups.list_groups(bridge, person)
    asked, member = st.query_params.get("group"), st.query_params.get("member")
    picked = next((one for one in all_groups if str(one.id) == asked), None)
    if asked and not picked:
        st.warning(
            f"There is no delivered group {escape_markdown(asked)}: it appears once its cohort was exported.",
            icon=":material/search_off:",
        )
        st.button("All groups", key="groups_back", icon=":material/arrow_back:", on_click=go_to)
    elif member:
        show_member(bridge, person, member, picked)
    else:
        feeding = feeding_syncs(bridge, person)
        if picked:
            place = next((one for one in found if one.id == picked.destination_id), None)
            show_one(bridge, person, picked, place, feeding.get(picked.id or 0))
        else:
            show_list(bridge, person, all_groups, {one.id: one.name for one in found if one.id is not None}, feeding)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
