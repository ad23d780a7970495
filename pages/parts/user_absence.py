"""Why a user is in no group, or not in one, with the step that fixes it: the same box wherever one is looked up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.access import roles
from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports.absence import Absence, Cause
from core.rules.id_words import id_words
from core.rules.matching import Reason
from data.models import Group, SyncState
from pages.parts import links, whom_to_ask
from pages.parts.excluded_profiles import reason_text
from pages.parts.formatting import age, clock, escape_markdown, group_name, moment, paused_text, pluralize

# So many reasons are told, of each so many groups.
_MOST, _MOST_GROUPS = 3, 3
_MOST_ADMINS = 3
_ASSOCIATE = {"view": "associate"}


def show(bridge: Bridge, person: Actor, absences: Sequence[Absence]) -> None:
    """Show why a user is missing, what tells most first, and the steps that this person can take."""
    if not absences:
        return
    with st.container(border=True, gap="small"):
        st.markdown("**Why, and what to do**")
        for absence in absences[:_MOST]:
            st.markdown(f"{_CAUSES[absence.cause](absence)} {_next_step(absence)}".strip())
            _show_step(absence, bridge, person)
        if len(absences) > _MOST:
            st.caption(f"Other groups have {pluralize(len(absences) - _MOST, 'other reason')}.")


# --- why -----------------------------------------------------------------------------------------------------------


def _held(absence: Absence) -> str:
    return f"Run {absence.run_id} would add the user to {_names(absence)}. It is held until somebody decides on it."


def _previewed(absence: Absence) -> str:
    cohort = escape_markdown(absence.group.cohort_name) if absence.group else ""
    return f"In the cohort {cohort}, which was only previewed, by run {absence.run_id}: it has no group yet."


def _set_by_hand(absence: Absence) -> str:
    read = "was" if len(absence.groups) == 1 else "were"
    return f"The id was set by hand {age(absence.at)}, after {_cohorts(absence)} {read} last read."


def _excluded(absence: Absence) -> str:
    why = reason_text(absence.reason, absence.kind).partition(": ")
    because = escape_markdown(why[2] or why[0])
    return f"In {_cohorts(absence)}, and excluded: {because[0].lower()}{because[1:]}."


def _rolled_back(absence: Absence) -> str:
    return (
        f"Run {absence.run_id} rolled {_names(absence)} back to members without this id, on {_when(absence)}. It "
        "follows its cohort again once its sync is resumed, or the cohort is exported."
    )


def _left(absence: Absence) -> str:
    return (
        f"Left the cohort of {_names(absence)}: run {absence.run_id} removed the id on {_when(absence)}. If the user "
        "should be in, look at the cohort's conditions in Mixpanel."
    )


def _lost(absence: Absence) -> str:
    return f"It is not known who is in {_names(absence)}: the members are no longer kept."


def _not_in_cohort(absence: Absence) -> str:
    read_at = absence.group.verified_at if absence.group and len(absence.groups) == 1 else None
    read = f" {age(read_at)}" if read_at else ""
    as_read = "as it was" if len(absence.groups) == 1 else "as they were"
    return (
        f"Not in {_cohorts(absence)} {as_read} last read{read}, or without a profile then. In Mixpanel, check that the "
        "user has a profile and is in the cohort."
    )


_CAUSES: dict[Cause, Callable[[Absence], str]] = {
    Cause.HELD: _held,
    Cause.PREVIEWED: _previewed,
    Cause.SET_BY_HAND: _set_by_hand,
    Cause.EXCLUDED: _excluded,
    Cause.ROLLED_BACK: _rolled_back,
    Cause.LEFT: _left,
    Cause.LOST: _lost,
    Cause.NOT_IN_COHORT: _not_in_cohort,
    Cause.NOT_CONNECTED: lambda _: "Mixpanel is not connected, so no cohort was read.",
    Cause.NOTHING_READ: lambda _: "No cohort was exported or previewed so far, so no user is known.",
    Cause.UNKNOWN: lambda _: (
        "No cohort that was exported or previewed had this id: the user may have no profile, or be in other cohorts. "
        "Enter the whole id, as Mixpanel or Apptimize spells it; capital letters count."
    ),
}


def _cohorts(absence: Absence) -> str:
    return f"the {'cohort' if len(absence.groups) == 1 else 'cohorts'} of {_names(absence)}"


def _names(absence: Absence) -> str:
    return _name_groups(absence.groups)


def _name_groups(groups: Sequence[Group]) -> str:
    names = [f"**{escape_markdown(group_name(group))}**" for group in groups[:_MOST_GROUPS]]
    more = len(groups) - len(names)
    return ", ".join(names) + (f" and {pluralize(more, 'more group')}" if more else "")


def _when(absence: Absence) -> str:
    return moment(absence.at)


# --- what to do ----------------------------------------------------------------------------------------------------

# After these the user is in the group with its next run.
_NEEDS_RUN = (Cause.SET_BY_HAND, Cause.LOST, Cause.NOT_IN_COHORT, Cause.EXCLUDED, Cause.LEFT)


def _next_step(absence: Absence) -> str:
    """Format what comes next: when the next run is, and what an id has to be before."""
    texts = [_fix_id(absence)] if absence.cause is Cause.EXCLUDED else []
    if absence.cause in _NEEDS_RUN and absence.group:
        texts.append(_next_run(absence))
    return " ".join(texts)


def _fix_id(absence: Absence) -> str:
    words = id_words(absence.kind)
    if not words.is_apptimize:
        return f"Have your app or import set {escape_markdown(words.name)} on the profile."
    if absence.reason == Reason.UNMATCHED:
        return "Set the id by hand, or have the app set it."
    if absence.reason in [*Reason]:
        return "Set the right id by hand, or correct what sets it in your app or import."
    return ""


def _next_run(absence: Absence) -> str:
    sync, is_one = absence.sync, len(absence.groups) == 1
    if sync is None and is_one:
        return "No sync keeps the group: it changes when the cohort is exported again."
    if sync is None:  # what a sync keeps comes first: none of them has one
        return "No sync keeps these groups: they change when their cohorts are exported again."
    name = f"**{escape_markdown(group_name(absence.groups[0]))}**"
    if sync.state == SyncState.PAUSED:
        whose = "its sync" if is_one else f"the sync of {name}"
        return f"{paused_text(sync)}: {whose} changes nothing until it is resumed."
    of = "" if is_one else f" of {name}"
    return f"The next run{of} is due at {clock(sync.next_run_at)}." if sync.next_run_at else ""


# What those can do who may change something.
_ASKED = {
    Cause.HELD: "let the run through, or discard it",
    Cause.PREVIEWED: "export the cohort",
    Cause.SET_BY_HAND: "export the cohort sooner",
    Cause.EXCLUDED: "set the id by hand",
    Cause.ROLLED_BACK: "resume its sync, or export the cohort",
    Cause.LEFT: "look at the cohort",
    Cause.LOST: "export the cohort again",
    Cause.NOT_IN_COHORT: "look at the cohort",
    Cause.NOTHING_READ: "export a cohort",
    Cause.UNKNOWN: "export a cohort that the user is in",
}


def _show_step(absence: Absence, bridge: Bridge, person: Actor) -> None:
    """Show the links to the step, or whom to ask for it."""
    if absence.cause is Cause.NOT_CONNECTED:
        whom_to_ask.show_way_to_connections(bridge, person)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if absence.run_id:
            links.view_run(absence.run_id, label=f"View run {absence.run_id}")
        if person.role >= Role.ANALYST:
            _show_links(absence)
        else:
            st.caption(_whom_to_ask(absence, bridge))


def _is_set_by_hand(absence: Absence) -> bool:
    """Return whether the id that an excluded profile lacks is one that can be set by hand."""
    return not absence.kind and absence.reason in [*Reason]


def _show_links(absence: Absence) -> None:
    if absence.cause in (Cause.NOTHING_READ, Cause.UNKNOWN):
        links.pick_cohort()
    elif absence.cause is Cause.EXCLUDED and _is_set_by_hand(absence):
        st.page_link(links.MATCHING, label="Associate by hand", icon=":material/join:", query_params=_ASSOCIATE)
    elif absence.sync and absence.sync.state == SyncState.PAUSED:
        links.view_sync(absence.sync.id)
    elif absence.group and absence.cause is not Cause.HELD:
        links.view_cohort(absence.group.cohort_id, project_id=absence.group.project_id, to=absence.destination)


def _whom_to_ask(absence: Absence, bridge: Bridge) -> str:
    can_associate = absence.cause is not Cause.EXCLUDED or _is_set_by_hand(absence)
    asked = _ASKED[absence.cause if can_associate else Cause.NOT_IN_COHORT]
    admins = ", ".join(escape_markdown(admin) for admin in roles.admins(bridge)[:_MOST_ADMINS])
    return f"An analyst or an admin can {asked}{f': {admins}' if admins else ''}."
