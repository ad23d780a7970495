"""The dashboard: navigation, nothing else. Every page checks by itself who looks at it."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from core.access.roles import Role
from pages.shell import gate, return_to

SHELL = Path(__file__).parent / "pages" / "shell"

# An entry of our own is what makes the menu appear in minimal mode, and the choice of light or dark is in it.
st.set_page_config(
    page_title="Cohort Bridge",
    # A file of our own: Streamlit's named icons for the tab are fetched from Google.
    page_icon=SHELL / "icon.svg",
    layout="wide",
    menu_items={"About": "**Cohort Bridge** exports Mixpanel cohorts into Apptimize groups, exactly."},
)
st.logo(str(SHELL / "logo.svg"), icon_image=str(SHELL / "icon.svg"), size="large")
person = gate.who()


def page(path: str, title: str, icon: str, role: Role = Role.VIEWER) -> StreamlitPage:
    """Put a page into the menu of those whose role may open it; to the others the page itself says why."""
    return st.Page(
        f"pages/{path}.py",
        title=title,
        icon=f":material/{icon}:",
        url_path=path.partition("/")[2],
        visibility="visible" if person and person.role >= role else "hidden",
        default=path == "export/overview",
    )


SECTIONS = {
    "Export": [
        page("export/overview", "Overview", "home"),
        page("export/cohorts", "Cohorts", "groups", Role.ANALYST),
        page("export/syncs", "Syncs", "sync", Role.ANALYST),
    ],
    "Observe": [
        page("observe/groups", "Groups", "patient_list"),
        page("observe/users", "Look up a user", "person_search"),
        page("observe/history", "History", "history"),
        page("observe/matching", "Matching", "join"),
    ],
    "Admin": [
        page("admin/connections", "Connections", "cable", Role.ADMIN),
        page("admin/people", "People", "badge", Role.ADMIN),
        page("admin/audit", "Audit log", "policy", Role.ADMIN),
        page("admin/practice", "How to connect for real", "school"),
    ],
}

chosen = st.navigation(SECTIONS, position="sidebar" if person else "hidden")
if person is None:
    return_to.remember(chosen)
else:
    return_to.follow(chosen, [listed for pages in SECTIONS.values() for listed in pages])
chosen.run()
