"""Look up a user: which ids belong together, in which groups the user is and was, and why not in the others."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections import lookup
from core.invisible import revealed
from core.reports import user_lookup
from core.reports.absence import PLANNED, explain_absence
from core.reports.memberships import Membership
from core.reports.user_lookup import InGroup, MembershipHistory, UserLookup
from core.syncs import groups
from data.models import Group
from pages.parts import forget_dialog, links, lookback, state_chips, tables, user_absence
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import age, escape_markdown, group_name, moment, number, pluralize
from pages.parts.group_labels import group_labels
from pages.parts.selection import opener, set_param
from pages.parts.user_reasons import hint_at_invisible, why_missing
from pages.shell import gate, page_frame, resources

MOST_IDS, MOST_GROUPS = 20, 10
_WHY = "Since, or why not"


def show_search(delivered: list[Group], destinations: dict[int, str]) -> tuple[str, Group | None]:
    """Show the fields for whom to look up, and in which group; the address keeps both."""
    filters = Filters("users")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        user_id = filters.user_id(
            st.text_input, "Distinct id or Apptimize id", "id", width=440,
            placeholder="The whole id, as Mixpanel or Apptimize spells it",
            help="Or the id that another destination knows the user by.",
        )  # fmt: skip
        group_id = filters.one(
            st.selectbox,
            "Group",
            "group",
            group_labels(delivered, destinations),
            placeholder="All groups",
            width=300,
            unknown="There is no delivered group {}: all groups are searched.",
        )
    filters.show_unknown()
    return user_id, next((group for group in delivered if group.id == group_id), None)


def show_user(bridge: Bridge, person: Actor, user_id: str, group: Group | None) -> None:
    """Show all that is known of one user."""
    group_id = group.id if group else None
    with st.spinner("Searching the groups …"):
        user = user_lookup.look_up_user(
            bridge,
            person,
            user_id,
            group_id=group_id,
            look_through=lookback.look_through("users"),
        )
    st.header(escape_markdown(revealed(user_id)), anchor=False)
    show_lost(user.lost)
    if user.is_known:
        is_in_one = any(answer.is_member for answer in user.groups)
        if group and not is_in_one:
            show_absent(group, _elsewhere(bridge, person, user_id))
        else:
            show_present(user)
        if not is_in_one:
            user_absence.show(bridge, person, explain_absence(bridge, person, user, group_id=group_id))
        show_ids(user)
        show_groups(user)
        show_history(user)
    else:
        elsewhere = _elsewhere(bridge, person, user_id) if group else []
        absences = explain_absence(bridge, person, user, group_id=group_id)
        show_unknown(group, elsewhere, is_planned=any(absence.cause in PLANNED for absence in absences))
        hint_at_invisible(user_id)
        if not elsewhere:
            user_absence.show(bridge, person, absences)
    lookback.show(user.lookback, place="users")
    forget_dialog.show_button(bridge, person, user_id)
    if group:
        st.button(
            "Look in all groups",
            key="users_everywhere",
            icon=":material/travel_explore:",
            on_click=set_param,
            args=("group", None),
        )


def _elsewhere(bridge: Bridge, person: Actor, user_id: str) -> list[InGroup]:
    """Return what all groups know of an id that one group does not know."""
    user = user_lookup.look_up_user(bridge, person, user_id, look_through=lookback.look_through("users"))
    return user.groups if user.is_known else []


def show_unknown(group: Group | None, elsewhere: list[InGroup], *, is_planned: bool) -> None:
    """Explain that no group has the id, or that one does not and what others know of it.

    `is_planned`: a run would add it that was held, or that previewed a cohort.
    """
    if is_planned and not elsewhere:
        st.info("No group has this id so far.", title="In no group now", icon=":material/person_off:")
        return
    where = "No group has this id, and neither does any cohort as it was last read."
    if group:
        where = "This group does not have this id, and neither does its cohort as it was last read."
    if elsewhere:
        others = _present_in_words(elsewhere) or "known from other cohorts, and in no group"
        st.info(
            f"{where} The user is {others}: look in all groups to see why.",
            title="Not in this group",
            icon=":material/person_search:",
        )
        return
    st.info(where, title="Not found", icon=":material/person_search:")


def show_absent(group: Group, elsewhere: list[InGroup]) -> None:
    """Show that a user whom a group knows is not in it now, and in which others the user is."""
    others = _present_in_words(elsewhere)
    where = f"The user is {others}." if others else "Nor is the user in any other group."
    st.info(
        f"Not in {escape_markdown(group_name(group))}. {where}",
        title="Not in this group now",
        icon=":material/person_off:",
    )


def _present_in_words(answers: list[InGroup]) -> str:
    """Name the groups that a user is in: `in Everyone, Power users`; empty for none."""
    present = [escape_markdown(group_name(answer.group)) for answer in answers if answer.is_member]
    more = f" and {pluralize(len(present) - MOST_GROUPS, 'more group')}" if len(present) > MOST_GROUPS else ""
    return f"in {', '.join(present[:MOST_GROUPS])}{more}" if present else ""


def show_lost(lost: list[Group]) -> None:
    """Name the groups whose members are no longer kept."""
    if lost:
        names = ", ".join(group_name(group) for group in lost[:5]) + (" and others" if len(lost) > 5 else "")
        st.warning(
            f"It is not known who is in {escape_markdown(names)}: the members are no longer kept. Export the cohort "
            "again.",
            icon=":material/help:",
        )


def show_present(user: UserLookup) -> None:
    """Show the groups that the user is in now, and since when."""
    present = [answer for answer in user.groups if answer.is_member]
    if not present:
        where = "in none of the groups whose members are kept" if user.lost else "in none of the groups"
        st.info(f"The user is {where} now.", title="In no group now", icon=":material/person_off:")
        return
    lines = [
        f"In **{escape_markdown(group_name(answer.group))}**{_at(user, answer)} {escape_markdown(since_text(answer))}"
        for answer in present[:MOST_GROUPS]
    ]
    if len(present) > MOST_GROUPS:
        lines.append(f"and {pluralize(len(present) - MOST_GROUPS, 'more', 'more')}, listed below")
    st.success(
        "  \n".join(lines),
        title="In a group now" if len(present) == 1 else f"In {number(len(present))} groups now",
        icon=":material/person_check:",
    )
    if any(answer.group.in_doubt for answer in present):
        st.caption(
            "What a destination holds of a group in doubt is not known until it is written again: shown is its last "
            "delivery that was accepted whole."
        )


def _at(user: UserLookup, answer: InGroup) -> str:
    return f" at {escape_markdown(answer.destination)}" if has_several_places(user) else ""


def has_several_places(user: UserLookup) -> bool:
    """Return whether the groups are at more than one destination: else its name would only take room."""
    return len({answer.destination for answer in user.groups}) > 1


def since_text(answer: InGroup) -> str:
    """Format since when the user is in a group."""
    if answer.since:
        return f"since {moment(answer.since)} (run {answer.run_id})"
    return f"since before {moment(answer.kept_since)}"


def show_ids(user: UserLookup) -> None:
    """Show the ids that belong together, and which of them were associated by hand."""
    kinds = {"Mixpanel distinct ids": user.distinct_ids, "Apptimize ids": user.apptimize_ids}
    if user.other_ids:
        kinds["Ids at other destinations"] = user.other_ids
    for column, (label, ids) in zip(st.columns(len(kinds)), kinds.items(), strict=True):
        with column.container(border=True):
            st.caption(label)
            for user_id in ids[:MOST_IDS]:
                st.text(revealed(user_id))
            if not ids:
                st.text("None known")
            if len(ids) > MOST_IDS:
                st.caption(f"and {pluralize(len(ids) - MOST_IDS, 'more', 'more')}")
    if user.is_cut_short:
        st.caption("More ids belong together than are followed here: not all of them are shown.")
    for association, member in user.associated:
        st.caption(
            f"{escape_markdown(revealed(member.apptimize_id))} was set on "
            f"{escape_markdown(revealed(member.distinct_id))} by hand: "
            f"{escape_markdown(association.confirmed_by)}, {age(association.finished_at or association.started_at)}."
        )
    if user.associated and not all(answer.is_member for answer in user.groups):
        st.caption("A group holds an id that was set by hand from its next run on: below is what its last one knew.")


def show_groups(user: UserLookup) -> None:
    """Show what every group knows of the user, and why the user is missing."""
    st.subheader("Groups", anchor=False)
    if not user.groups:
        st.caption("No group was delivered yet.")
        return
    answers = sorted(user.groups, key=lambda answer: not answer.is_member)
    rows = [group_row(answer) for answer in answers]
    tables.rows_to_open(
        rows,
        [answer.group.id for answer in answers],
        key="users_groups",
        label="The user's groups",
        go_to=opener(links.GROUPS, "group"),
        opens="Group",
        opens_width=180,
        order=tables.filled(rows),
        columns={
            "State": state_chips.column([row["State"] for row in rows]),
            **tables.texts(rows, **{_WHY: 380, "Destination": 100}),
        },
    )


def group_row(answer: InGroup) -> dict[str, Any]:
    """Format what one group knows of the user."""
    return {
        "Group": group_name(answer.group),
        "State": [state_text(answer)],
        "Destination": answer.destination,
        _WHY: why_text(answer),
    }


def why_text(answer: InGroup) -> str:
    """Format since when the user is in the group, or why not: one column, for a row has the one or the other."""
    if not answer.is_member:
        return why_missing(answer)
    since = f"Since {moment(answer.since)}" if answer.since else f"Since before {moment(answer.kept_since)}"
    return ". ".join(filter(None, (since, why_missing(answer))))


def state_text(answer: InGroup) -> str:
    """Format whether the user is in the group."""
    if answer.is_member:
        return "In the group, in doubt" if answer.group.in_doubt else "In the group"
    return "Not known" if answer.reason == user_lookup.LOST else "Not in the group"


def show_history(user: UserLookup) -> None:
    """Show when the ids that groups know the user by were in which group: first those that the user is in now."""
    memberships = [(history, membership) for history in user.histories for membership in history.memberships]
    if not memberships:
        return
    st.subheader("Membership history", anchor=False)
    title = "Id" if any(answer.kind for answer in user.groups) else "Apptimize id"
    places = {answer.group.id: answer.destination for answer in user.groups}
    tables.rows_to_open(
        [
            membership_row(history, membership, title) | {"Destination": places.get(membership.group.id, "")}
            for history, membership in memberships
        ],
        [membership.until_run or membership.since_run or membership.group.base_run_id for _, membership in memberships],
        key="users_history",
        label="Membership history",
        go_to=opener(links.HISTORY, "run"),
        opens="Group",
        opens_width=170,
        order=[
            "Group", "Destination", "Joined", "Left", "Joined with run", "Left with run",
            *([title] if len(user.histories) > 1 else []),
        ],
    )  # fmt: skip


def membership_row(history: MembershipHistory, membership: Membership, title: str) -> dict[str, object]:
    """Format one time that an id was in a group; `title` is what the id is called."""
    before = f"Before {moment(membership.kept_since)}"
    return {
        "Group": group_name(membership.group),
        "Joined": moment(membership.since) if membership.since else before,
        "Left": moment(membership.until) if membership.until else "Still in" if membership.is_in else "Not known",
        "Joined with run": str(membership.since_run or ""),
        "Left with run": str(membership.until_run or ""),
        title: revealed(history.apptimize_id),
    }


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
page_frame.open_page(
    bridge, person, "Look up a user", "In which groups a user is and was, since when, and why not in the others."
)
with show_errors():
    destinations = {place.id: place.name for place in lookup.list_connections(bridge, person) if place.id is not None}
    user_id, group = show_search(groups.list_groups(bridge, person), destinations)
    page_frame.show_answer(forget_dialog.PLACE)
    if group:
        st.page_link(
            links.GROUPS,
            label=escape_markdown(group_name(group)),
            icon=":material/arrow_back:",
            query_params={"group": str(group.id)},
        )
    if user_id:
        show_user(bridge, person, user_id, group)
    else:
        st.caption("What is known comes from cohort reads and associations; Mixpanel is not asked.")
