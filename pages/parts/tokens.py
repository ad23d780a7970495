"""Tokens for pipelines: the list of them, the dialog that makes one and shows it once, and the one that revokes it."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from core.access import tokens
from core.access.roles import Actor, Role
from core.access.tokens import TokenView
from core.bridge import Bridge
from pages.parts import answers, tables
from pages.parts.actions import confirm_buttons, perform, save_buttons
from pages.parts.formatting import age, date, escape_markdown, pluralize
from pages.shell import page_frame

PLACE = "tokens"
# The dialog that makes a token, or revokes one: it stays whatever draws the page again, so that no new one is lost.
_DIALOG, _IN_DIALOG = "tokens", "tokens_dialog"
_ROLES = {
    Role.VIEWER.label: "Reads syncs, runs and groups, and asks who is in one.",
    Role.ANALYST.label: "Also queues runs.",
}
_DAYS = {"30 days": 30, "90 days": 90, "One year": 365, "No end": None}
_USUAL_DAYS = "One year"


def show(bridge: Bridge, person: Actor) -> None:
    """Show the tokens that were not revoked, and the button that makes one."""
    views = tokens.list_tokens(bridge, person)
    st.subheader("Tokens for pipelines", anchor=False)
    st.caption(
        "A script or a pipeline sends one to the worker to run a sync, wait for it, and ask who is in a group: see "
        "`docs/operate/api.md`. Anyone who has a token can do what its role allows."
    )
    answers.show(bridge, person, PLACE)
    st.button("Make token", key="tokens_make", icon=":material/key:", on_click=_open)
    if views:
        _show_list(views)
    else:
        st.caption("No tokens yet. Until there is one, the worker answers as if there were no API.")
    if asked := page_frame.dialog_state(_DIALOG):
        _show_dialog(bridge, person, asked, {view.token.id: view for view in views})


def _show_list(views: list[TokenView]) -> None:
    st.caption(pluralize(len(views), "token"))
    tables.rows_to_open(
        [table_row(view) for view in views],
        [view.token.id for view in views],
        key="tokens",
        label="Tokens for pipelines",
        go_to=_open,
        columns={"Name": st.column_config.TextColumn(width=160)},
        button_width=80,
    )


def table_row(view: TokenView) -> dict[str, object]:
    """Format a token for the table."""
    token = view.token
    return {
        "": "Revoke",
        "Name": token.name,
        "Role": token.role.capitalize(),
        "State": "Active" if view.refused is None else state_text(view),
        "Last used": age(token.last_used_at),
        "Expires": date(token.expires_at) if token.expires_at else "No end",
        "Made by": token.created_by,
        "Made": date(token.created_at),
        "Token": f"{tokens.PREFIX}…{token.secret_end}",
    }


def state_text(view: TokenView) -> str:
    """Format why a token does not count."""
    return "Expired" if view.is_expired else "Stopped: its maker is no admin"


# --- the dialog ----------------------------------------------------------------------------------------------------


def _open(token_id: int | None = None) -> None:
    """Open the dialog that makes a token, or the one that revokes this one."""
    page_frame.forget_answer()
    page_frame.open_dialog(_DIALOG, {"token_id": token_id, "made": ""})


def _show_dialog(bridge: Bridge, person: Actor, asked: dict[str, Any], views: dict[int | None, TokenView]) -> None:
    if asked["token_id"] is None:
        _ask_for_token(bridge, person, asked)
    elif view := views.get(asked["token_id"]):
        _ask_to_revoke(bridge, person, view)
    else:
        page_frame.close_dialog()  # it was revoked elsewhere


@page_frame.dialog(_DIALOG, "Make a token", icon="key")
def _ask_for_token(bridge: Bridge, person: Actor, asked: dict[str, Any]) -> None:
    if asked["made"]:
        st.success("Copy the token now: it is not shown again.", icon=":material/check_circle:")
        st.code(asked["made"], language=None, wrap_lines=True)
        st.caption("Keep it where your pipeline keeps its secrets, and send it as `Authorization: Bearer`.")
        st.button("Done", key="tokens_done", type="primary", on_click=page_frame.close_dialog)
        return
    with st.form("tokens_form", border=False):
        st.text_input("Name", key="tokens_name", placeholder="airflow")
        page_frame.show_answer("tokens_name")
        st.pills("Expires after", list(_DAYS), default=_USUAL_DAYS, required=True, key="tokens_days")
        st.radio("Role", list(_ROLES), captions=list(_ROLES.values()), key="tokens_role", format_func=str.capitalize)
        if person.person_id is not None:
            st.caption("It stops as well when you are no admin any more: you have seen it.")
        save_buttons("Make token", key="tokens_make_yes", save=partial(_make, bridge, person), in_form=True)
        page_frame.show_answer(_IN_DIALOG)


def _make(bridge: Bridge, person: Actor) -> None:
    """Make the token. The dialog stays open, to show it."""
    entered, asked = st.session_state, page_frame.dialog_state(_DIALOG)
    if not asked or asked["made"]:
        return  # pressed twice
    days = _DAYS[entered["tokens_days"]]
    make = partial(tokens.make_token, bridge, person, entered["tokens_name"], entered["tokens_role"], days=days)
    if made := perform(_IN_DIALOG, make, fields={"Name": "tokens_name"}):
        asked["made"] = made.text


@page_frame.dialog(_DIALOG, "Revoke this token?", icon="block")
def _ask_to_revoke(bridge: Bridge, person: Actor, view: TokenView) -> None:
    token, ends_with = view.token, escape_markdown(view.token.secret_end)
    st.markdown(
        f"**{escape_markdown(token.name)}** ({tokens.PREFIX}…{ends_with}) opens nothing from its next request on, and "
        "cannot be brought back. Runs that it asked for continue."
    )
    st.caption(f"Made by {escape_markdown(token.created_by)}. Last used: {escape_markdown(age(token.last_used_at))}.")
    confirm_buttons(
        "Revoke", key="tokens_revoke", icon=":material/block:", action=partial(_revoke, bridge, person, token.id or 0)
    )


def _revoke(bridge: Bridge, person: Actor, token_id: int) -> None:
    perform(
        PLACE,
        partial(tokens.revoke_token, bridge, person, token_id),
        lambda token: f"{escape_markdown(token.name)} is revoked.",
    )
