"""The dashboard: navigation, nothing else. Every page checks by itself who looks at it."""

from pathlib import Path
from typing import Literal

import streamlit as st

from core.access import Role
from pages.shared import guard

SHARED = Path(__file__).parent / "pages" / "shared"

# An entry of our own is what makes the menu appear in minimal mode, and the choice of light or dark is in it.
st.set_page_config(
    page_title="Cohort Bridge",
    # A file of our own: Streamlit's named icons for the tab are fetched from Google.
    page_icon=SHARED / "icon.svg",
    layout="wide",
    menu_items={"About": "**Cohort Bridge** exports Mixpanel cohorts into Apptimize groups, exactly."},
)
st.logo(str(SHARED / "logo.svg"), icon_image=str(SHARED / "icon.svg"), size="large")
person = guard.who()


def for_role(role: Role) -> Literal["visible", "hidden"]:
    """Leave out of the menu what the person may not open; the page itself says why."""
    return "visible" if person and person.role >= role else "hidden"


SECTIONS = {
    "Export": [
        st.Page("pages/export/overview.py", title="Overview", icon=":material/home:", default=True),
        st.Page(
            "pages/export/cohorts.py",
            title="Cohorts",
            icon=":material/groups:",
            url_path="cohorts",
            visibility=for_role(Role.ANALYST),
        ),
        st.Page(
            "pages/export/syncs.py",
            title="Syncs",
            icon=":material/sync:",
            url_path="syncs",
            visibility=for_role(Role.ANALYST),
        ),
    ],
    "Observe": [
        st.Page("pages/observe/groups.py", title="Groups", icon=":material/patient_list:", url_path="groups"),
        st.Page("pages/observe/history.py", title="History", icon=":material/history:", url_path="history"),
        st.Page("pages/observe/matching.py", title="Matching", icon=":material/join:", url_path="matching"),
    ],
    "Admin": [
        st.Page(
            "pages/admin/connections.py",
            title="Connections",
            icon=":material/cable:",
            url_path="connections",
            visibility=for_role(Role.ADMIN),
        ),
        st.Page(
            "pages/admin/people.py",
            title="People",
            icon=":material/badge:",
            url_path="people",
            visibility=for_role(Role.ADMIN),
        ),
        st.Page(
            "pages/admin/audit.py",
            title="Audit log",
            icon=":material/policy:",
            url_path="audit",
            visibility=for_role(Role.ADMIN),
        ),
        st.Page(
            "pages/admin/practice.py", title="How to connect for real", icon=":material/school:", url_path="practice"
        ),
    ],
}

st.navigation(SECTIONS, position="sidebar" if person else "hidden").run()
