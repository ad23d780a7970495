"""The dashboard: navigation, nothing else. Every page checks by itself who looks at it."""

from pathlib import Path

import streamlit as st
from streamlit import runtime
from streamlit.navigation.page import StreamlitPage

from core.access.roles import Role

if __name__ == "__main__" and not runtime.exists():
    from pages.shell import run_dashboard

    run_dashboard.main()  # `python app.py`: Streamlit then runs this file again for every page that it draws

# Below it, for the caches of the pages complain of a missing runtime.
from pages.shell import gate, return_to  # noqa: E402

SHELL = Path(__file__).parent / "pages" / "shell"

# The menu, with the choice of light or dark, appears in minimal mode only if it has an entry.
st.set_page_config(
    page_title="Cohort Bridge",
    # A file: Streamlit fetches its named icons for the tab from Google.
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
