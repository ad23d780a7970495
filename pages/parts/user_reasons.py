"""Why a user is not in a group: the same words wherever one is looked for."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.invisible import INVISIBLE
from core.reports import user_lookup
from core.reports.absence import explain_absence
from core.reports.user_lookup import InGroup, UserLookup
from pages.parts import user_absence
from pages.parts.excluded_profiles import reason_text
from pages.parts.filters import cut_id
from pages.parts.formatting import error_text, escape_markdown
from pages.parts.links import USERS
from pages.parts.selection import opener


def why_missing(answer: InGroup) -> str:
    """Explain why the user is missing, or under which other profile the user is in the group."""
    if answer.is_member:
        return f"Counted under the profile {answer.instead}, which has the same id" if answer.instead else ""
    if answer.reason == user_lookup.LOST:
        return "The group's members are no longer kept: its next run writes it in full"
    if answer.reason == user_lookup.REMOVED and answer.by_rollback:
        return f"Run {answer.run_id} rolled the group back to members without this id"
    if answer.reason == user_lookup.REMOVED:
        return f"Left the cohort: run {answer.run_id} removed the id"
    if answer.reason:
        return reason_text(answer.reason, answer.kind)
    return "Not in the cohort as last read, or without a profile"


def hint_at_invisible(user_id: str) -> None:
    """Point out invisible characters, where an id was not found."""
    if INVISIBLE.search(user_id):
        st.warning(
            "The id contains an invisible character, as text copied from pages and documents may: "
            "type the id, or paste it as plain text.",
            icon=":material/visibility_off:",
        )


def lookup_field(key: str) -> None:
    """Show the field that leads to all that is known of a user."""
    st.text_input(
        "Look up a user",
        key=key,
        placeholder="Whole Apptimize id or distinct id",
        on_change=_look_up,
        args=(key,),
        width=340,
    )


def _look_up(key: str) -> None:
    if user_id := st.session_state[key]:
        opener(USERS, "id")(cut_id(user_id))


def explain_search(
    bridge: Bridge, person: Actor, group_id: int, search: str, *, title: str = "No member matches the search."
) -> None:
    """Explain that nobody of a group matches a search: if it is a whole id, what became of it, and where to look."""
    try:
        user = user_lookup.look_up_user(bridge, person, search, group_id=group_id)
        _explain(bridge, person, user, group_id, title)
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    hint_at_invisible(search)
    st.page_link(USERS, label="Look it up in all groups", icon=":material/travel_explore:", query_params={"id": search})


def _explain(bridge: Bridge, person: Actor, user: UserLookup, group_id: int, title: str) -> None:
    answer = next(iter(user.groups), None)
    if answer and (answer.is_member or answer.reason):
        reason = escape_markdown(why_missing(answer)) or "The user is a member of the group."
    else:
        reason = (
            "Neither this group nor its cohort as last read has this as a whole id. The user may have no profile, or "
            "be in other cohorts; capital letters count."
        )
    st.info(reason, title=title, icon=":material/search_off:")
    absences = explain_absence(bridge, person, user, group_id=group_id)
    if any(absence.groups for absence in absences):
        user_absence.show(bridge, person, absences)
