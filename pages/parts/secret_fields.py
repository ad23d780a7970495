"""Fields for secrets: what was entered leaves the session with the press; if nothing was saved, the field says so."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import SecretStr

from pages.shell import page_frame


def secret_field(label: str, *, key: str, error_at: str = "", **look: Any) -> None:
    """Show a field for a secret, and below it the error that is kept for `error_at`, by itself that is its key."""
    st.text_input(label, type="password", key=key, **look)
    page_frame.show_answer(error_at or key, key)
    if page_frame.was_taken(key) and not st.session_state[key]:
        st.caption("Nothing was saved, and secrets are not kept: enter it again.")


def take_secret(key: str) -> SecretStr:
    """Take a secret out of the form: what was typed does not stay in the session."""
    secret = SecretStr(st.session_state[key])
    if secret.get_secret_value():
        page_frame.note_taken(key)
    st.session_state[key] = ""
    return secret
