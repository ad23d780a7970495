"""People: who may come in, and as what."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from core.access import people
from core.access.people import PersonView
from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from pages.parts import tables
from pages.parts.formatting import age, error_text, escape_markdown, moment, pluralize
from pages.shell import gate, page_frame, resources

ROLES = {
    Role.VIEWER.label: "Looks into groups, runs and matching; changes nothing.",
    Role.ANALYST.label: "Also exports, starts, pauses and undoes syncs.",
    Role.ADMIN.label: "Also connects Mixpanel and Apptimize, manages people, and reads the audit log.",
}

COLOURS: dict[str, Literal["red", "green"]] = {"Disabled": "red", "Active": "green"}


def go_to(person_id: int | None) -> None:
    """Show one person, or all of them again; the address says which."""
    if person_id is None:
        st.query_params.pop("person", None)
    else:
        st.query_params["person"] = str(person_id)


def state_of(view: PersonView) -> str:
    """Write whether the person gets in."""
    if view.person.disabled and not view.fixed:
        return "Disabled"
    return "Active" if view.person.signed_in_at else "Not seen yet"


def add(bridge: Bridge, person: Actor) -> None:
    """Let in whom the form names."""
    entered = st.session_state
    try:
        added = people.add_person(bridge, person, entered["people_email"], entered["people_role"])
    except CohortBridgeError as exc:
        page_frame.answer("people", error_text(exc), failed=True)
        return
    entered["people_email"] = ""
    page_frame.answer("people", f"{escape_markdown(added.email)} may come in as {added.role}.")


def change_role(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Give the person the role that was chosen."""
    try:
        changed = people.change_role(bridge, person, person_id, st.session_state[f"people_role_{person_id}"])
    except CohortBridgeError as exc:
        page_frame.answer("person", error_text(exc), failed=True)
        return
    page_frame.answer("person", f"{escape_markdown(changed.email)} is {changed.role} from the next click on.")


def end_sign_ins(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Sign the person out everywhere."""
    try:
        changed = people.end_sign_ins(bridge, person, person_id)
    except CohortBridgeError as exc:
        page_frame.answer("person", error_text(exc), failed=True)
        return
    page_frame.answer("person", f"{escape_markdown(changed.email)} is signed out everywhere.")


def enable(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Let the person in again."""
    try:
        changed = people.enable_person(bridge, person, person_id)
    except CohortBridgeError as exc:
        page_frame.answer("person", error_text(exc), failed=True)
        return
    page_frame.answer("person", f"{escape_markdown(changed.email)} may come in again as {changed.role}.")


def disable(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Shut the person out."""
    try:
        changed = people.disable_person(bridge, person, person_id)
    except CohortBridgeError as exc:
        page_frame.answer("person", error_text(exc), failed=True)
        return
    page_frame.answer("person", f"{escape_markdown(changed.email)} is shut out from the next click on.")


@st.dialog("Shut this person out?", icon=":material/block:")
def ask_to_disable(bridge: Bridge, person: Actor, view: PersonView) -> None:
    """Name who is shut out before they are."""
    st.markdown(
        f"**{escape_markdown(view.person.email)}** is signed out everywhere, and refused until an admin lets them in again. What "
        "they started goes on: their syncs and runs stay as they are."
    )
    with st.container(horizontal=True):
        if st.button(
            "Shut out",
            key="people_disable_yes",
            type="primary",
            icon=":material/block:",
            on_click=disable,
            args=(bridge, person, view.person.id),
        ):
            st.rerun()
        if st.button("Not now", key="people_disable_no"):
            st.rerun()


def show_list(bridge: Bridge, person: Actor, found: list[PersonView]) -> None:
    """Show everybody, and the form that lets somebody in."""
    with st.expander("Let somebody in", expanded=not found, key="people_add", icon=":material/person_add:"):
        with st.form("people_form", border=False):
            left, right = st.columns([2, 1])
            left.text_input("E-mail address", key="people_email", max_chars=320, placeholder="ann@example.com")
            right.selectbox("Role", list(ROLES), key="people_role", format_func=str.capitalize)
            st.form_submit_button("Add", key="people_add_yes", type="primary", on_click=add, args=(bridge, person))
        st.caption("Nothing is sent to them: they get in when they sign in with this address.")
    page_frame.show_answer("people")
    if not found:
        st.info(
            "People appear here once they signed in or were added.", title="Nobody yet", icon=":material/person_search:"
        )
        return
    st.caption(pluralize(len(found), "person", "people"))
    tables.rows_to_open(
        [
            {
                "": "Open",
                "Address": view.person.email,
                "Role": view.role.label.capitalize() + (" (by setting)" if view.fixed else ""),
                "State": state_of(view),
                "Signed in": age(view.person.signed_in_at),
                "Name": view.person.name,
            }
            for view in found
        ],
        [view.person.id for view in found],
        key="people",
        label="People",
        go_to=go_to,
        columns={"Address": st.column_config.TextColumn(width=180)},
    )


def show_one(bridge: Bridge, person: Actor, view: PersonView) -> None:
    """Show one person: their role, and the ways to shut them out."""
    shown = view.person
    assert shown.id is not None
    st.button(
        "All people", key="people_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.header(escape_markdown(shown.email), anchor=False)
    state = state_of(view)
    colour: Literal["red", "green", "gray"] = COLOURS.get(state, "gray")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(state, color=colour, icon=":material/block:" if state == "Disabled" else ":material/person:")
        who = f"{escape_markdown(shown.name)}. " if shown.name else ""
        st.caption(f"{who}Last signed in: {escape_markdown(moment(shown.signed_in_at))}.", width="content")
    page_frame.show_answer("person")
    if view.fixed:
        st.info(
            "COHORT_BRIDGE_ADMINS names this address: it is always an admin, and cannot be shut out here.",
            icon=":material/admin_panel_settings:",
        )
    else:
        st.radio(
            "Role",
            list(ROLES),
            index=list(ROLES).index(view.role.label),
            captions=list(ROLES.values()),
            format_func=str.capitalize,
            key=f"people_role_{shown.id}",
            on_change=change_role,
            args=(bridge, person, shown.id),
        )
    with st.container(horizontal=True):
        st.button(
            "Sign them out everywhere",
            key="people_sign_out",
            icon=":material/logout:",
            on_click=end_sign_ins,
            args=(bridge, person, shown.id),
        )
        if view.fixed:
            return
        if shown.disabled:
            st.button(
                "Let in again",
                key="people_enable",
                icon=":material/person_check:",
                on_click=enable,
                args=(bridge, person, shown.id),
            )
        elif st.button("Shut out", key="people_disable", icon=":material/block:"):
            ask_to_disable(bridge, person, view)


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
page_frame.open_page(bridge, person, "People", "Who may come in, and as what. A change holds from their next click on.")
if person.person_id is None:
    st.info(
        "Sign-in is not set up, so whoever opens the dashboard on this machine is its admin. What is entered here "
        "counts once it is: `docs/sign-in` says how.",
        title="Nobody signs in yet",
        icon=":material/lock_open:",
    )
try:
    found = people.list_people(bridge, person)
    asked = st.query_params.get("person")
    picked = next((view for view in found if str(view.person.id) == asked), None)
    if picked:
        show_one(bridge, person, picked)
    elif asked:
        st.warning(f"There is no person {escape_markdown(asked)}.", icon=":material/search_off:")
        st.button("All people", key="people_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(bridge, person, found)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
