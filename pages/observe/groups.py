"""Groups: what was delivered, and who is in."""

from __future__ import annotations

import io
from functools import partial

import streamlit as st

from core import syncs
from core.access import Actor, Role
from core.apptimize import csv_name
from core.bridge import Bridge
from core.errors import CohortBridgeError
from data.models import Connection, Group
from pages.shared import guard, listing, notices, resources, run_view
from pages.shared.text import age, counted, moment, number, plain, said

COHORTS = "pages/export/cohorts.py"
PAGE_ROWS = 50
IN_DOUBT = (
    "A delivery began and was not confirmed to its end, so Apptimize may hold a part of it. What is shown here is the "
    "last delivery that was accepted whole. The next export writes the group in full and ends the doubt."
)


def go_to(group_id: int | None) -> None:
    """Show one group, or all of them again; the address says which."""
    if group_id is None:
        st.query_params.pop("group", None)
    else:
        st.query_params["group"] = str(group_id)


def show_list(groups: list[Group], places: dict[int, str]) -> None:
    """Show every group that was delivered."""
    if not groups:
        st.info("Export a cohort, and its group appears here.", title="No groups yet", icon=":material/patient_list:")
        st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
        return
    search = st.text_input(
        "Search", key="groups_search", type="search", live=True, persist_state="page", placeholder="Group or cohort"
    )
    wanted = search.strip().casefold()
    shown = [one for one in groups if wanted in f"{one.name}\n{one.cohort_name}\n{one.cohort_id}".casefold()]
    st.caption(f"{counted(len(shown), 'group')} of {number(len(groups))}. Apptimize shows the names as they are here.")
    if not shown:
        st.info("No group matches the search.", icon=":material/search_off:")
        return
    listing.rows_to_open(
        [
            {
                "": "Open",
                "Group": f"Mixpanel: {one.delivered_name or one.name}",
                "Members": one.members,
                "Last delivery": age(one.delivered_at),
                "State": "In doubt" if one.in_doubt else "As delivered",
                "Destination": places.get(one.destination_id, "Removed"),
                "Cohort": str(one.cohort_id),
            }
            for one in shown
        ],
        [one.id for one in shown],
        key="groups",
        label="Delivered groups",
        go_to=go_to,
        columns={
            "Group": st.column_config.TextColumn(width="large"),
            "Members": st.column_config.NumberColumn(format="localized"),
        },
    )


def csv_bytes(bridge: Bridge, person: Actor, group_id: int) -> io.BytesIO:
    """Collect the group's CSV when it is asked for, and not before."""
    data = io.BytesIO()
    for line in syncs.group_csv(bridge, person, group_id):
        data.write(line.encode())
    data.seek(0)
    return data


def show_one(bridge: Bridge, person: Actor, group: Group, place: Connection | None) -> None:
    """Show one group: its figures, its members, and the file that Apptimize takes."""
    assert group.id is not None
    st.button(
        "All groups", key="groups_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    name = group.delivered_name or group.name
    st.header(f"Mixpanel: {plain(name)}", anchor=False)
    st.caption(
        f"Fed by cohort {group.cohort_id}, delivered to {plain(place.name if place else 'a removed destination')}."
    )
    if group.in_doubt:
        st.warning(IN_DOUBT, title="What Apptimize holds is in doubt", icon=":material/help:")
    run_view.tiles(
        [
            ("Members", number(group.members), "As of the last delivery that was accepted whole."),
            ("Last delivery", age(group.delivered_at), moment(group.delivered_at)),
        ],
        width=230,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV",
            partial(csv_bytes, bridge, person, group.id),
            file_name=csv_name(name, group.cohort_id),
            mime="text/csv",
            key="groups_csv",
            icon=":material/download:",
            help="The file that Apptimize's Groups page takes: one column, `user_id`.",
            on_click="ignore",
        )
        sandbox = notices.sandbox_of([place]) if place else None
        if sandbox:
            st.link_button(
                "See it on Apptimize's Groups page",
                f"{sandbox}/apptimize/groups/{group.project_id}/{group.cohort_id}",
                key="groups_sandbox",
                icon=":material/open_in_new:",
            )
        st.page_link(
            COHORTS, label="Its cohort", icon=":material/groups:", query_params={"cohort": str(group.cohort_id)}
        )
        if group.base_run_id:
            st.page_link(
                run_view.HISTORY,
                label="Its last delivery",
                icon=":material/history:",
                query_params={"run": str(group.base_run_id)},
            )
    members(bridge, person, group.id)


def to_first_page() -> None:
    """Begin at the first page when something else is searched for."""
    st.session_state["groups_page"] = 1


@st.fragment
def members(bridge: Bridge, person: Actor, group_id: int) -> None:
    """Page and search through the members; the rest of the page stays where it is."""
    st.subheader("Members", anchor=False)
    search = st.text_input(
        "Search members",
        key="groups_members_search",
        type="search",
        live="400ms",
        placeholder="Part of an Apptimize id or a distinct id",
        on_change=to_first_page,
    )
    try:
        page = st.session_state.get("groups_page", 1)
        found = syncs.group_members(
            bridge, person, group_id, search=search.strip(), offset=(page - 1) * PAGE_ROWS, limit=PAGE_ROWS
        )
    except CohortBridgeError as exc:
        st.error(said(exc), icon=":material/error:")
        return
    if not found.total:
        st.info(
            "No member matches the search."
            if search.strip()
            else "The group is empty: nobody in the cohort had a usable Apptimize id.",
            icon=":material/search_off:",
        )
        return
    first = (page - 1) * PAGE_ROWS + 1
    st.caption(f"{number(first)}–{number(first + len(found.rows) - 1)} of {counted(found.total, 'member')}")
    st.dataframe(
        [
            {"Apptimize id": apptimize_id, "Mixpanel distinct id": distinct_id}
            for apptimize_id, distinct_id in found.rows
        ],
        key="groups_members",
        hide_index=True,
        height=min(len(found.rows), 12) * 35 + 38,
        alt="Members of the group",
    )
    pages = -(-found.total // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key="groups_page")


person = guard.require(Role.VIEWER)
bridge = resources.bridge()
found = notices.open_page(bridge, person, "Groups", "What was delivered to Apptimize, and who is in.")
try:
    groups = syncs.list_groups(bridge, person)
    asked = st.query_params.get("group")
    picked = next((one for one in groups if str(one.id) == asked), None)
    if picked:
        show_one(bridge, person, picked, next((one for one in found if one.id == picked.destination_id), None))
    elif asked:
        st.warning(f"There is no delivered group {plain(asked)}.", icon=":material/search_off:")
        st.button("All groups", key="groups_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(groups, {one.id: one.name for one in found if one.id is not None})
except CohortBridgeError as exc:
    st.error(said(exc), icon=":material/error:")
