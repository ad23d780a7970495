"""Overlap: which groups share members, how many, and who."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports import overlap
from core.reports.overlap import MOST_GROUPS, NotCompared, Overlap, Shared
from core.syncs import groups
from core.text import parse_id, shown
from data.models import Connection, Group
from pages.parts import download, links, member_list, overlap_matrix, run_status
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import escape_markdown, number, percent, pluralize
from pages.parts.group_labels import group_labels
from pages.parts.member_words import words_for
from pages.parts.selection import opener, set_param
from pages.shell import gate, page_frame, resources

# So many groups, of so many members in all, are compared until somebody chooses.
MOST_AT_FIRST, MEMBERS_AT_FIRST = 20, 2_500_000
NAMED = 5
WHY_NOT = {
    NotCompared.IN_DOUBT: "What the destination of {} holds is in doubt, so nothing is counted. The next export writes "
    "the group in full and ends the doubt.",
    NotCompared.LOST: "The members of {} are no longer kept, or their file is damaged, so nothing is counted. Export "
    "the cohort again: that keeps them.",
}


def requested_pair() -> tuple[int, int] | None:
    """Return the two groups that the address asks for; None when it asks for the matrix, or for what is no pair."""
    first, _, second = st.query_params.get("pair", "").partition("-")
    one, other = parse_id(first.strip()), parse_id(second.strip())
    return None if one is None or other is None else (one, other)


def show_no_pair() -> None:
    """Show that what the address asks for is no pair of groups."""
    if asked := st.query_params.get("pair", "").strip():
        st.warning(
            f"{escape_markdown(shown(asked, most=40))} names no two groups: all groups are shown.",
            icon=":material/search_off:",
        )


def open_pair(pair: tuple[int, int] | None) -> None:
    """Open the list of who is in two groups, or the matrix again for None."""
    set_param("pair", f"{pair[0]}-{pair[1]}" if pair else None)


# --- all that were chosen ------------------------------------------------------------------------------------------


def show_all(bridge: Bridge, person: Actor, delivered: list[Group], labels: dict[int, str]) -> None:
    """Show the choice of groups, and what each two of them share."""
    filters = Filters("overlap", overlap_matrix.PAGER)
    chosen = filters.many(st.multiselect, "Groups", "groups", labels, placeholder="Choose groups to compare")
    filters.show_unknown()
    if len(chosen) > MOST_GROUPS:
        st.warning(f"The first {MOST_GROUPS} of these groups are compared.", icon=":material/filter_list:")
    compared = chosen[:MOST_GROUPS] or choose_at_first(delivered)
    if not chosen and len(compared) < len(delivered):
        st.caption(f"The {number(len(compared))} largest of {pluralize(len(delivered), 'group')}, until you choose.")
    with st.spinner("Comparing the members of the groups …"):
        found = overlap.compare_groups(bridge, person, compared)
    explain_not_compared(found, labels)
    explain_other_ids(found, labels)
    if len(found.groups) < 2:
        st.info("Choose at least two groups whose members are known.", icon=":material/grid_on:")
        return
    sharing = found.sharing
    st.markdown(in_words(found, sharing, labels))
    overlap_matrix.show(found, labels, open_pair)
    st.caption(
        "How many members of the group at the left are in the group above too, and which share of the one at the left "
        "that is. Choose a cell to see who."
    )
    if sharing:
        st.subheader("Groups that share members", anchor=False)
        overlap_matrix.show_pairs(found, labels, open_pair)


def choose_at_first(delivered: list[Group]) -> list[int]:
    """Choose what is compared before anybody chose: the largest groups, no more of them than is answered at once."""
    chosen, members = list[int](), 0
    for group in sorted(delivered, key=lambda group: (-group.members, group.id)):
        members += group.members
        if len(chosen) == MOST_AT_FIRST or (members > MEMBERS_AT_FIRST and len(chosen) > 1):
            break
        chosen.append(group.id or 0)
    return chosen


def in_words(found: Overlap, sharing: list[Shared], labels: dict[int, str]) -> str:
    """Tell how many of the groups share members, and which two share most."""
    if not sharing:
        return f"No two of these {number(len(found.groups))} groups share a member."
    most = sharing[0]
    first, second = (escape_markdown(labels[group.id or 0]) for group in (most.first, most.second))
    pairs = pluralize(len(sharing), "pair of groups shares", "pairs of groups share")
    return (
        f"{pairs} members. Most are in both “{first}” and “{second}”: {number(most.members)}, "
        f"{percent(most.share_of(most.first) or 0)} of the first and {percent(most.share_of(most.second) or 0)} of the "
        "second."
    )


def explain_not_compared(found: Overlap, labels: dict[int, str]) -> None:
    """Name the groups of which nothing is known, and say why: in place of a number that may be wrong."""
    for reason, text in WHY_NOT.items():
        names = [labels[group.id or 0] for group, why in found.not_compared if why is reason]
        if names:
            st.warning(text.format(named(names)), title="Not compared", icon=":material/help:")


def explain_other_ids(found: Overlap, labels: dict[int, str]) -> None:
    """Say which groups are not comparable with the others, since they know people by another id."""
    kinds = found.kinds
    if len(kinds) < 2:
        return
    each = [
        f"{words_for(same[0].base_match).name}: {named([labels[group.id or 0] for group in same])}"
        for same in kinds.values()
    ]
    st.info(
        f"Groups are compared where their destinations know people by the same id. {'; '.join(each)}.",
        title="Not all of these groups are comparable",
        icon=":material/badge:",
    )


def named(names: list[str]) -> str:
    """Name some groups, and how many more there are."""
    more = f" and {pluralize(len(names) - NAMED, 'more', 'more')}" if len(names) > NAMED else ""
    return f"{escape_markdown(', '.join(names[:NAMED]))}{more}"


# --- two of them ---------------------------------------------------------------------------------------------------


def show_two(
    bridge: Bridge, person: Actor, pair: tuple[int, int], delivered: list[Group], labels: dict[int, str]
) -> None:
    """Show who is in both of two groups."""
    st.button("All groups", key="overlap_back", icon=":material/arrow_back:", type="tertiary", on_click=open_pair,
              args=(None,))  # fmt: skip
    by_id = {group.id: group for group in delivered}
    first, second = by_id.get(pair[0]), by_id.get(pair[1])
    if first is None or second is None or first is second:
        st.warning("These are not two delivered groups.", icon=":material/search_off:")
        return
    names = [escape_markdown(labels[group.id or 0]) for group in (first, second)]
    st.header(f"In both {names[0]} and {names[1]}", anchor=False)
    with st.spinner("Comparing the members of both groups …"):
        found = overlap.compare_groups(bridge, person, pair)
    explain_not_compared(found, labels)
    explain_other_ids(found, labels)
    shared = found.between(first, second)
    if shared is None:
        return
    run_status.tiles(
        [
            ("In both", number(shared.members), "Members that the two groups share, as last delivered."),
            (f"Of {names[0]}", share_text(shared, first), f"Of its {pluralize(shared.whole_of(first), 'member')}."),
            (f"Of {names[1]}", share_text(shared, second), f"Of its {pluralize(shared.whole_of(second), 'member')}."),
        ],
        width=230,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if shared.members:
            download.offer_csv(
                partial(overlap.shared_csv, bridge, person, *pair),
                file_name=f"groups-{pair[0]}-{pair[1]}-shared.csv",
                key="overlap_csv",
            )
        for group, name in zip((first, second), names, strict=True):
            links.view_group(group.id, label=f"View {name}")
    if not shared.members:
        st.info("The two groups share no member.", icon=":material/grid_on:")
        return
    member_list.show(
        partial(overlap.find_shared, bridge, person, *pair),
        key="overlap_members",
        label="Members",
        empty="The two groups share no member.",
        matched_by=first.base_match,
        open_member=opener(links.USERS, "id"),
    )


def share_text(shared: Shared, group: Group) -> str:
    """Format the share of a group's members that are shared."""
    share = shared.share_of(group)
    return "–" if share is None else percent(share)


def show_nothing(person: Actor, delivered: list[Group]) -> None:
    """Say what is missing for a comparison."""
    st.info(
        "Two groups are needed. Export another cohort, and what the two share appears here."
        if delivered
        else "Export two cohorts, and what their groups share appears here.",
        title="Nothing to compare yet",
        icon=":material/grid_on:",
    )
    if person.role >= Role.ANALYST:
        links.pick_cohort()


def label(delivered: list[Group], connections: list[Connection]) -> dict[int, str]:
    """Label the groups: by the destination too where two have one name, and by the id where people have another."""
    places = {place.id: place.name for place in connections if place.id is not None}
    return group_labels(delivered, places)


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
connections = page_frame.open_page(bridge, person, "Overlap", "Which groups share members, and who is in both.")
with show_errors():
    delivered = groups.list_groups(bridge, person)
    if len(delivered) < 2:
        show_nothing(person, delivered)
    elif pair := requested_pair():
        show_two(bridge, person, pair, delivered, label(delivered, connections))
    else:
        show_no_pair()
        show_all(bridge, person, delivered, label(delivered, connections))
