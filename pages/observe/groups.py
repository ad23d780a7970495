"""Groups: what was delivered, who is in, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports import comparison, members, members_since
from core.reports.comparison import Comparison
from core.reports.group_state import GroupNow, GroupState, group_states
from core.syncs import groups, listing
from core.vendors.csv_files import TAKES_EFFECT, csv_name
from data.models import Connection, DoubtCause, Group, MembershipChange, Run, Sync, SyncKind, SyncState
from pages.parts import charts, download, joined_left, links, member_list, run_status, state_chips, tables, user_reasons
from pages.parts.actions import show_errors
from pages.parts.connections import sandbox_link
from pages.parts.connections.wording import CANNOT_HEAL, is_written_for_apptimize
from pages.parts.filters import Filters
from pages.parts.formatting import (
    age,
    escape_markdown,
    group_name,
    in_gray,
    moment,
    number,
    paused_text,
    pluralize,
    timing_phrase,
)
from pages.parts.member_words import words_for
from pages.parts.pager import Pager
from pages.parts.selection import Selection, opener
from pages.shell import gate, page_frame, resources

GROUPS = Selection(
    "group",
    key="groups_back",
    all_rows="All groups",
    unknown="There is no delivered group {}: it appears once its cohort was exported.",
    row_params=("view", "before", "after", *joined_left.PARAMS),
)
VIEWS = MEMBERS, JOINED, SIZE, COMPARE = "Members", "Joined and left", "Size over time", "Compare two runs"
IN_DOUBT = {
    DoubtCause.DELIVERY: "A delivery began and was not confirmed to its end, so the destination may hold a part of it.",
    DoubtCause.RESTORED: "The database may be older than what was delivered; the destination may hold something else.",
    DoubtCause.FORGOTTEN: "Somebody whom it was given was forgotten here, and the destination may still hold them.",
    DoubtCause.CONNECTION: "Its connection was replaced since, so the destination may hold something else.",
}
SHOWN_IN_DOUBT = "What is shown here is the last delivery that is known to have been accepted whole."
ENDS_DOUBT = "The next export writes the group in full and ends the doubt."


# --- all groups ----------------------------------------------------------------------------------------------------


def show_list(bridge: Bridge, person: Actor, delivered: list[Group], connections: list[Connection]) -> None:
    """Show every group that was delivered, and the field that looks a user up."""
    if not delivered:
        st.info("Export a cohort, and its group appears here.", title="No groups yet", icon=":material/patient_list:")
        if person.role >= Role.ANALYST:
            links.pick_cohort()
        return
    filters = Filters("groups")
    search = _show_search(filters).casefold()
    shown = [group for group in delivered if search in _searched(group)]
    of = f" of {number(len(delivered))}" if len(shown) < len(delivered) else ""
    as_shown = "Apptimize shows each name with “Mixpanel: ” before it."
    only_others = connections and not any(map(is_written_for_apptimize, connections))
    st.caption(f"{pluralize(len(shown), 'group')}{of}. {'' if only_others else as_shown}".strip())
    if not shown:
        filters.show_none("No group matches the search.")
        return
    feeding = feeding_syncs(bridge, person)
    places = {connection.id: connection.name for connection in connections}
    trends, states = resources.trends(bridge, person), group_states(bridge, person)
    _show_table(
        shown,
        [
            table_row(
                group,
                places.get(group.destination_id, "Removed"),
                feeding.get(group.id or 0),
                trends.get(group.id or 0),
                states.get(group.id or 0),
            )
            for group in shown
        ],
    )


def _show_search(filters: Filters) -> str:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = filters.text(
            st.text_input, "Search groups", "search", live=True, placeholder="Group or cohort", width=340
        )
        user_reasons.lookup_field("groups_lookup")
    return search


def _show_table(shown: list[Group], rows: list[dict[str, Any]]) -> None:
    hidden: set[str] = set()
    # On the first day there is no trend to draw, and a cohort whose name the group bears is named already.
    if not any(row["Last 14 days"] for row in rows):
        hidden.add("Last 14 days")
    if all(group_name(group) == group.cohort_name for group in shown):
        hidden.add("Cohort")
    tables.rows_to_open(
        rows,
        [group.id for group in shown],
        key="groups",
        label="Delivered groups",
        go_to=GROUPS.go_to,
        order=[name for name in rows[0] if name not in hidden],
        opens="Group",
        opens_width=150,
        columns={
            "State": state_chips.column([row["State"] for row in rows]),
            "Members": st.column_config.NumberColumn(format="localized", width=72),
            **tables.texts(rows, **{"Destination": 120, "Schedule": 165, "Last delivery": 105}),
            "Last 14 days": st.column_config.LineChartColumn(width=110),
        },
    )


def table_row(
    group: Group, place: str, sync: Sync | None, trend: list[int] | None, now: GroupNow | None
) -> dict[str, object]:
    """Format a group for the table."""
    return {
        "Group": group_name(group),
        "State": [str(now.state)] if now else [],
        "Members": group.members,
        "Destination": place,
        "Schedule": update_text(sync),
        "Last delivery": age(group.delivered_at),
        "Last 14 days": trend if trend and len(trend) > 1 else None,
        "Cohort": group.cohort_name,
    }


def update_text(sync: Sync | None) -> str:
    """Format how a group is kept up to date."""
    text = update_phrase(sync)
    return text[0].upper() + text[1:]


def update_phrase(sync: Sync | None) -> str:
    """Format how a group is kept up to date within a sentence: names of days and zones keep their capitals."""
    if sync is None:
        return "once"
    every = timing_phrase(sync)
    return f"{every}, p{paused_text(sync)[1:]}" if sync.state == SyncState.PAUSED else every


# --- one group -----------------------------------------------------------------------------------------------------


def show_one(bridge: Bridge, person: Actor, group: Group, connections: list[Connection]) -> None:
    """Show one group: its figures, and its members, its size or what two of its runs differ in."""
    assert group.id is not None
    place = next((connection for connection in connections if connection.id == group.destination_id), None)
    sync = feeding_syncs(bridge, person, of_groups=[group.id]).get(group.id)
    GROUPS.back_button()
    _show_figures(group, place, sync, group_states(bridge, person, only=[group.id]).get(group.id))
    show_links(bridge, person, group, place, sync)
    shown = st.segmented_control(
        "Show", VIEWS, default=first_view(), required=True, format_func=in_gray, key="groups_view",
        on_change=keep_view, label_visibility="collapsed",
    )  # fmt: skip
    if shown == SIZE:
        charts.size_over_time(bridge, person, group.id, key="groups")
    elif shown == JOINED:
        joined_left.show(bridge, person, group)
    elif shown == COMPARE:
        compare(bridge, person, group)
    else:
        member_list.show(
            partial(members.find_members, bridge, person, group.id),
            key="groups_members",
            label="Members",
            empty=f"The group is empty: no profile of the cohort had a usable {words_for(group.base_match).name}.",
            matched_by=group.base_match,
            open_member=opener(links.USERS, "id", group=group.id),
            explain=partial(user_reasons.explain_search, bridge, person, group.id),
            since=partial(members_since.list_since, bridge, person, group.id),
        )


def _show_figures(group: Group, place: Connection | None, sync: Sync | None, now: GroupNow | None) -> None:
    name, destination = group_name(group), escape_markdown(place.name if place else "a removed destination")
    shown_as = f"Apptimize shows it as “Mixpanel: {escape_markdown(name)}”."
    shown_as = shown_as if words_for(group.base_match).is_apptimize else ""
    st.header(escape_markdown(name), anchor=False)
    st.caption(
        f"Made of the cohort {escape_markdown(group.cohort_name)} ({group.cohort_id}), delivered to {destination}, "
        f"{escape_markdown(update_phrase(sync))}. {shown_as}".strip()
    )
    if group.in_doubt:
        cause = IN_DOUBT[DoubtCause(group.doubt_cause or DoubtCause.DELIVERY)]
        is_held = place is not None and place.adds_only and group.untraced is not None
        ends = "Not everybody is known whom it may hold: the next export is held until it is applied once."
        st.warning(
            f"{cause} {SHOWN_IN_DOUBT} {ends if is_held else ENDS_DOUBT}",
            title="What the destination holds is in doubt",
            icon=":material/help:",
        )
    elif now and now.state is GroupState.ROLLED_BACK and now.settled_by:
        st.info(
            f"Run {now.settled_by.id} gave the group the members of an earlier run. It follows its cohort again once "
            "its sync is resumed, or the cohort is exported.",
            title="Rolled back",
            icon=":material/undo:",
        )
    if place and place.adds_only:
        st.caption(CANNOT_HEAL)
    run_status.tiles(
        [
            ("Members", number(group.members), "As of the last delivery that was accepted whole."),
            ("Last delivery", age(group.delivered_at), moment(group.delivered_at)),
            (
                "Last verified",
                age(group.verified_at),
                "When a run last found every user with a usable id in the group, and no one else.",
            ),
        ],
        width=230,
    )


def first_view() -> str:
    """Choose the view that the address asks for."""
    asked = st.query_params.get("view", MEMBERS)
    return asked if asked in VIEWS else MEMBERS


def keep_view() -> None:
    """Keep the view in the address: Streamlit's own binding would write its color too."""
    st.query_params["view"] = st.session_state["groups_view"]


def show_links(bridge: Bridge, person: Actor, group: Group, place: Connection | None, sync: Sync | None) -> None:
    """Offer the group's file, and link to what it comes from."""
    assert group.id is not None
    words = words_for(group.base_match)
    with st.container(horizontal=True, vertical_alignment="center"):
        download.offer_csv(
            partial(groups.group_csv, bridge, person, group.id),
            file_name=csv_name(group.delivered_name or group.name, group.cohort_id),
            key="groups_csv",
            label="Download CSV",
            help="The file that Apptimize's Groups page takes: one column, `user_id`."
            if words.is_apptimize
            else f"One column, `{words.column}`. Apptimize's Groups page does not take it.",
        )
        sandbox_link.show(place, group.project_id, group.cohort_id, key="groups_sandbox")
        if person.role >= Role.ANALYST:
            links.view_cohort(group.cohort_id, project_id=group.project_id, to=place.name if place else "")
            if sync:
                links.view_sync(sync.id)
        if group.base_run_id:
            links.view_run(group.base_run_id, label="View last delivery")
        st.page_link(links.OVERLAP, label="Overlap with other groups", icon=":material/grid_on:")
    st.caption(f"**The CSV:** {TAKES_EFFECT}" if words.is_apptimize else words.note)


def compare(bridge: Bridge, person: Actor, group: Group) -> None:
    """Show what any two runs differ in whose members are kept."""
    assert group.id is not None
    runs = {run.id: run for run in members.kept_runs(bridge, person, group.id) if run.id is not None}
    if len(runs) < 2:
        st.info(
            "Two runs that changed the group are needed. The members of the last 30 of them are kept.",
            title="Nothing to compare yet",
            icon=":material/difference:",
        )
        return
    ids = list(runs)
    labels = {run_id: run_label(run) for run_id, run in runs.items()}
    filters = Filters("groups", *(Pager(f"groups_compare_{kind}_page") for kind in ("added", "removed")))
    gone = "The members of a run {} of this group are not kept: others are compared."
    with st.container(horizontal=True):
        before: int = filters.one(st.selectbox, "From", "before", labels, default=ids[1], unknown=gone, width=400)
        after: int = filters.one(st.selectbox, "To", "after", labels, default=ids[0], unknown=gone, width=400)
    filters.show_unknown()
    if before == after:
        st.info("Choose two different runs.", icon=":material/difference:")
        return
    with st.spinner("Comparing the members of both runs …"):
        difference = comparison.compare_runs(bridge, person, before, after)
    show_comparison(bridge, person, difference)


def run_label(run: Run) -> str:
    """Format a run for a choice."""
    how = ", rolled back" if run.trigger == "undo" else ""
    return f"Run {run.id}, {moment(run.finished_at)}: {pluralize(run.members, 'member')}{how}"


def show_comparison(bridge: Bridge, person: Actor, difference: Comparison) -> None:
    """Show how many members were added and removed between two runs, and which."""
    run_status.tiles(
        [
            ("Added", number(difference.added), "In the later choice, not in the earlier one."),
            ("Removed", number(difference.removed), "In the earlier choice, not in the later one."),
            ("In both", number(difference.unchanged), ""),
        ]
    )
    if not (difference.added or difference.removed):
        st.success("Both hold the same members.", icon=":material/check_circle:")
        return
    before, after = difference.before.id or 0, difference.after.id or 0
    download.offer_csv(
        partial(comparison.compared_csv, bridge, person, before, after),
        file_name=f"runs-{before}-{after}.csv",
        key="groups_compared",
    )
    kinds: list[tuple[MembershipChange, int]] = [("added", difference.added), ("removed", difference.removed)]
    for column, (kind, count) in zip(st.columns(2), kinds, strict=True):
        with column:
            st.subheader(f"{kind.capitalize()} ({number(count)})", anchor=False)
            member_list.show(
                partial(comparison.find_compared, bridge, person, before, after, kind),
                key=f"groups_compare_{kind}",
                label=f"Members {kind}",
                empty="None.",
                matched_by=difference.after.matched_by,
            )


def _searched(group: Group) -> str:
    """Return what a group is found by: the name that is shown, that of its next delivery, and its cohort."""
    return f"{group_name(group)}\n{group.name}\n{group.cohort_name}\n{group.cohort_id}".casefold()


def feeding_syncs(bridge: Bridge, person: Actor, *, of_groups: Sequence[int] | None = None) -> dict[int, Sync]:
    """Return the recurring sync of each group that has one, of all or of these."""
    placed = listing.list_placed(bridge, person, of_groups=of_groups)
    return {sync.group_id: sync for sync, _ in placed if sync.kind == SyncKind.RECURRING}


def lead_to_user() -> None:
    """Lead on to the screen that looks a user up, where an address of this one once showed a member."""
    if user_id := st.query_params.get("member"):
        group_id = st.query_params.get("group")
        st.switch_page(links.USERS, query_params={"id": user_id} | ({"group": group_id} if group_id else {}))


person = gate.require(Role.VIEWER)
lead_to_user()
bridge = resources.bridge()
connections = page_frame.open_page(bridge, person, "Groups", "What was delivered, and who is in.")
with show_errors():
    delivered = groups.list_groups(bridge, person)
    if not GROUPS.requested:
        show_list(bridge, person, delivered, connections)
    elif group := GROUPS.find({group.id: group for group in delivered}.get):
        show_one(bridge, person, group, connections)
