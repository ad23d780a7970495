"""Words and values that the screens of connections share."""

from __future__ import annotations

import streamlit as st
from pydantic import SecretStr

from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from data.models import Connection, ConnectionKind

REGIONS = {"us": "United States", "eu": "European Union", "in": "India"}
MERGES = {
    IdMerge.ORIGINAL.value: (
        "Original",
        f"Users are matched by the profile property `{APPTIMIZE_PROPERTY}`, which the two SDKs set together.",
    ),
    IdMerge.SIMPLIFIED.value: (
        "Simplified",
        f"Users are matched by `{USER_PROPERTY}`, which must be the id that Apptimize knows them by.",
    ),
}
OTHER_PROPERTY = (
    "This is a Simplified project that is matched on a property other than `$user_id`. Events that Apptimize sends "
    "back to Mixpanel may not be attributed to the right user."
)


def take_secret(key: str) -> SecretStr:
    """Take a secret out of the form: what was typed does not stay in the session."""
    secret = SecretStr(st.session_state[key])
    st.session_state[key] = ""
    return secret


def describe(connection: Connection) -> str:
    """Format in a line where a connection leads; of its secret only the last four characters."""
    if connection.kind == ConnectionKind.CSV:
        return f"CSV files in {connection.folder}"
    ending = f"••••{connection.secret_end}"
    if connection.kind == ConnectionKind.ENDPOINT:
        return f"{connection.url.partition('?')[0]}, token {ending}"
    where = f"Project {connection.project_id}, {REGIONS.get(connection.region, connection.region)}"
    workspace = f", workspace {connection.workspace_id}" if connection.workspace_id else ""
    return f"{where}{workspace}, {connection.username}, secret {ending}"
