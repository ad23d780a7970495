"""People: who has access, and with which role."""

from __future__ import annotations

from functools import partial
from typing import Literal

import streamlit as st

from core.access import people
from core.access.people import PersonView
from core.access.roles import Actor, Role
from core.bridge import Bridge
from pages.parts import answers, folded, tables, tokens
from pages.parts.actions import confirm_buttons, perform, show_errors
from pages.parts.formatting import age, escape_markdown, moment, pluralize
from pages.parts.selection import Selection
from pages.parts.stored import offer
from pages.shell import gate, page_frame, resources

ROLES = {
    Role.VIEWER.label: "Looks into groups, runs and matching; changes nothing.",
    Role.ANALYST.label: "Also exports, starts, pauses and undoes syncs.",
    Role.ADMIN.label: "Also connects Mixpanel and Apptimize, manages people, and reads the audit log.",
}
DEACTIVATED = "Deactivated"
COLORS: dict[str, Literal["red", "green"]] = {DEACTIVATED: "red", "Active": "green"}
DISABLING = "people_disable"
PEOPLE = Selection("person", key="people_back", all_rows="All people", unknown="There is no person {}.")


def state_text(view: PersonView) -> str:
    """Format whether the person has access."""
    if view.person.disabled and not view.fixed:
        return DEACTIVATED
    return "Active" if view.person.signed_in_at else "Never signed in"


def add(bridge: Bridge, person: Actor) -> None:
    """Add the person that the form names."""
    entered = st.session_state
    added = perform(
        "people",
        partial(people.add_person, bridge, person, entered["people_email"], entered["people_role"]),
        lambda added: f"{escape_markdown(added.email)} can sign in as {added.role}.",
        fields={"Address": "people_email"},
    )
    if added:
        entered["people_email"] = ""


def change_role(bridge: Bridge, person: Actor, drawn: PersonView) -> None:
    """Give the person the role that was chosen, unless somebody else has given them another one meanwhile."""
    chosen = st.session_state[role_key(drawn)]
    changed = perform(
        "person",
        partial(people.change_role, bridge, person, drawn.person.id or 0, chosen, seen=drawn.role),
        lambda changed: f"{escape_markdown(changed.email)} is {changed.role} from the next click on.",
        failed_at=role_key(drawn),
    )
    if changed is None:
        st.session_state.pop(role_key(drawn))  # what is stored is shown again


def role_key(view: PersonView) -> str:
    """Return the key of the field that holds the person's role."""
    return f"people_role_{view.person.id}"


def end_sign_ins(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Sign the person out everywhere."""
    perform(
        "person",
        partial(people.end_sign_ins, bridge, person, person_id),
        lambda changed: f"{escape_markdown(changed.email)} is signed out everywhere.",
    )


def enable(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Give a deactivated person access again."""
    perform(
        "person",
        partial(people.enable_person, bridge, person, person_id),
        lambda changed: f"{escape_markdown(changed.email)} can sign in again as {changed.role}.",
    )


def disable(bridge: Bridge, person: Actor, person_id: int) -> None:
    """Deactivate the person."""
    perform(
        "person",
        partial(people.disable_person, bridge, person, person_id),
        lambda changed: f"{escape_markdown(changed.email)} is deactivated from the next click on.",
    )


@page_frame.dialog(DISABLING, "Deactivate this person?", icon="block")
def ask_to_disable(bridge: Bridge, person: Actor, view: PersonView) -> None:
    """Name who loses access before they do."""
    assert view.person.id is not None
    st.markdown(
        f"**{escape_markdown(view.person.email)}** is signed out everywhere, and cannot sign in until an admin "
        "reactivates the address. Syncs and runs that they started continue; tokens for pipelines that they made stop."
    )
    confirm_buttons(
        "Deactivate",
        key="people_disable",
        icon=":material/block:",
        action=partial(disable, bridge, person, view.person.id),
    )


def open_question() -> None:
    """Open the dialog that deactivates the person who is open."""
    page_frame.forget_answer()
    page_frame.open_dialog(DISABLING, {})


def show_list(bridge: Bridge, person: Actor, views: list[PersonView]) -> None:
    """Show everyone with access, and the form that adds a person."""
    show_form = partial(_person_form, bridge, person)
    folded.expander("Add person", show_form, expanded=not views, key="people_add")
    answers.show(bridge, person, "people")
    if not views:
        st.info(
            "People appear here once they sign in or are added.", title="No people yet", icon=":material/person_search:"
        )
        return
    st.caption(pluralize(len(views), "person", "people"))
    tables.rows_to_open(
        [table_row(view) for view in views],
        [view.person.id for view in views],
        key="people",
        label="People",
        go_to=PEOPLE.go_to,
        opens="Address",
        opens_width=200,
    )


def _person_form(bridge: Bridge, person: Actor) -> None:
    with st.form("people_form", border=False):
        left, right = st.columns([2, 1])
        with left:
            st.text_input("E-mail address", key="people_email", placeholder="ann@example.com")
            page_frame.show_answer("people_email")
        right.selectbox("Role", list(ROLES), key="people_role", format_func=str.capitalize)
        st.form_submit_button("Add", key="people_add_yes", type="primary", on_click=add, args=(bridge, person))
    st.caption("No e-mail is sent: they have access when they sign in with this address.")


def table_row(view: PersonView) -> dict[str, object]:
    """Format a person for the table."""
    return {
        "Address": view.person.email,
        "Role": view.role.label.capitalize() + (" (by setting)" if view.fixed else ""),
        "State": state_text(view),
        "Signed in": age(view.person.signed_in_at),
        "Name": view.person.name,
    }


def show_one(bridge: Bridge, person: Actor, view: PersonView) -> None:
    """Show one person: their role, and the buttons that end their access."""
    assert view.person.id is not None
    PEOPLE.back_button()
    st.header(escape_markdown(view.person.email), anchor=False)
    _show_state(view)
    answers.show(bridge, person, "person")
    if view.fixed:
        st.info(
            "COHORT_BRIDGE_ADMINS names this address: it is always an admin, and cannot be deactivated here.",
            icon=":material/admin_panel_settings:",
        )
    else:
        offer(role_key(view), view.role.label)
        st.radio(
            "Role",
            list(ROLES),
            captions=list(ROLES.values()),
            format_func=str.capitalize,
            key=role_key(view),
            on_change=change_role,
            args=(bridge, person, view),
        )
        page_frame.show_answer(role_key(view))
    _show_buttons(bridge, person, view)
    if page_frame.dialog_state(DISABLING) is not None:
        ask_to_disable(bridge, person, view)


def _show_state(view: PersonView) -> None:
    state = state_text(view)
    color: Literal["red", "green", "gray"] = COLORS.get(state, "gray")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(state, color=color, icon=":material/block:" if state == DEACTIVATED else ":material/person:")
        name = f"{escape_markdown(view.person.name)}. " if view.person.name else ""
        st.caption(f"{name}Last signed in: {escape_markdown(moment(view.person.signed_in_at))}.", width="content")


def _show_buttons(bridge: Bridge, person: Actor, view: PersonView) -> None:
    with st.container(horizontal=True):
        st.button(
            "End all sign-ins",
            key="people_sign_out",
            icon=":material/logout:",
            on_click=end_sign_ins,
            args=(bridge, person, view.person.id),
        )
        if view.fixed:
            return
        if view.person.disabled:
            st.button(
                "Reactivate",
                key="people_enable",
                icon=":material/person_check:",
                on_click=enable,
                args=(bridge, person, view.person.id),
            )
        else:
            st.button("Deactivate", key="people_disable", icon=":material/block:", on_click=open_question)


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
page_frame.open_page(
    bridge, person, "People", "Who has access, and with which role. A change applies from their next click on."
)
if person.person_id is None:
    st.info(
        "Anyone who opens the dashboard on this machine is its admin. What is entered here applies once sign-in is "
        "set up: see `docs/sign-in`.",
        title="Sign-in is not set up",
        icon=":material/lock_open:",
    )
with show_errors():
    views = people.list_people(bridge, person)
    if not PEOPLE.requested:
        show_list(bridge, person, views)
        tokens.show(bridge, person)
    elif view := PEOPLE.find({view.person.id: view for view in views}.get):
        show_one(bridge, person, view)
