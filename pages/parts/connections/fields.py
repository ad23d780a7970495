"""The fields that describe a Mixpanel project, in the form that connects one and in the dialog that changes it."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.connections.mixpanel_connection import MixpanelForm
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from data.models import Connection
from pages.parts.connections.wording import MERGES, OTHER_PROPERTY, REGIONS
from pages.parts.formatting import escape_markdown
from pages.parts.secret_fields import secret_field, take_secret
from pages.shell import page_frame

# Which field an error is about, by the name that it begins with, or by its code.
_FIELDS = {
    "Username": "username",
    "Secret": "secret",
    "Project id": "project",
    "Region": "region",
    "Workspace id": "workspace",
    "Project token": "project_token",
    "Match property": "property",
    "mixpanel_unauthorized": "secret",
    "mixpanel_not_admin": "username",
    "mixpanel_forbidden": "project",
    "mixpanel_not_found": "project",
    "mixpanel_other_region": "region",
}


def error_places(prefix: str, *, only: Iterable[str] = ()) -> dict[str, str]:
    """Return where an error is shown that is about one of the fields, or of `only` these: right below the field."""
    shown = set(only) or set(_FIELDS.values())
    return {name: f"{prefix}_{field}" for name, field in _FIELDS.items() if field in shown}


def _show_error(column: DeltaGenerator, key: str) -> None:
    with column:
        page_frame.show_answer(key)


def merge_fields(prefix: str, current: Connection | None) -> None:
    """Ask for the ID merge mode, and for another match property than its usual one."""
    merge = st.radio(
        "ID merge mode of the project",
        list(MERGES),
        index=list(MERGES).index(current.id_merge) if current and current.id_merge in MERGES else 0,
        format_func={mode: name for mode, (name, _) in MERGES.items()}.__getitem__,
        captions=[meaning for _, meaning in MERGES.values()],
        key=f"{prefix}_merge",
        help="Mixpanel shows it under Project settings, Identity merge. It is fixed once the project has data.",
    )
    usual = APPTIMIZE_PROPERTY if merge == IdMerge.ORIGINAL else USER_PROPERTY
    with st.expander("Match on another property", key=f"{prefix}_property_box"):
        other = st.text_input(
            "Match property",
            value=current.match_property if current and current.match_property != usual else "",
            key=f"{prefix}_property",
            placeholder=usual,
            help="Leave it empty for the default of the mode.",
        )
        page_frame.show_answer(f"{prefix}_property")
        if merge == IdMerge.SIMPLIFIED and other.strip() not in ("", USER_PROPERTY):
            st.warning(OTHER_PROPERTY, icon=":material/warning:")


def explain_practice(connections: list[Connection]) -> None:
    """Say in practice mode where which account is asked for: the form is the same for both."""
    if sandbox := page_frame.find_sandbox(connections):
        st.caption(
            f"The practice account is checked at the sandbox, {escape_markdown(sandbox)}; any other one at Mixpanel."
        )


def account_fields(left: DeltaGenerator, right: DeltaGenerator, prefix: str, current: Connection | None) -> None:
    """Ask for the service account."""
    left.text_input(
        "Service account username",
        value=current.username if current else "",
        key=f"{prefix}_username",
        help="Create one in Mixpanel under Organization settings, Service accounts, with the project role admin or "
        "owner.",
    )
    _show_error(left, f"{prefix}_username")
    with right:
        secret_field("Service account secret", key=f"{prefix}_secret")


def project_fields(prefix: str, current: Connection | None) -> None:
    """Ask for the project, and where its data is kept: in rows, so that a narrow window keeps the order."""
    left, right = st.columns(2)
    left.text_input("Project id", value=str(current.project_id) if current else "", key=f"{prefix}_project")
    _show_error(left, f"{prefix}_project")
    right.selectbox(
        "Region",
        list(REGIONS),
        index=list(REGIONS).index(current.region) if current and current.region in REGIONS else 0,
        format_func=REGIONS.__getitem__,
        key=f"{prefix}_region",
        help="Where the project's data is kept. Mixpanel shows it in the project settings.",
    )
    _show_error(right, f"{prefix}_region")
    left, right = st.columns(2)
    left.text_input(
        "Workspace id",
        value=str(current.workspace_id or "") if current else "",
        key=f"{prefix}_workspace",
        placeholder="Optional",
        help="Only for projects with data views.",
    )
    _show_error(left, f"{prefix}_workspace")
    with right:
        secret_field(
            "Project token",
            key=f"{prefix}_project_token",
            placeholder="Optional",
            help="Only for associating users by hand. Mixpanel shows it in the project settings.",
        )


def read_form(prefix: str, name: str = "") -> MixpanelForm:
    """Read what was entered; the secrets are taken out of the session."""
    entered = st.session_state
    return MixpanelForm(
        username=entered[f"{prefix}_username"],
        secret=take_secret(f"{prefix}_secret"),
        project_id=entered[f"{prefix}_project"],
        region=entered[f"{prefix}_region"],
        workspace_id=entered[f"{prefix}_workspace"].strip() or None,
        id_merge=entered[f"{prefix}_merge"],
        match_property=entered[f"{prefix}_property"].strip(),
        project_token=take_secret(f"{prefix}_project_token"),
        name=name,
    )
