"""Who looks at a page, and whether they may. The menu is convenience, this is the check."""

from __future__ import annotations

import streamlit as st

from core import access
from core.access import LOCAL, Actor, Role
from core.errors import NotAllowed
from pages.shared.text import said


def require(role: Role) -> Actor:
    """Return the person who looks at the page; end the page with a sentence when they lack the role."""
    person = LOCAL
    try:
        access.require(person, role)
    except NotAllowed as exc:
        st.error(said(exc), icon=":material/lock:")
        st.stop()
    return person
