"""The dashboard: navigation, nothing else. Every page checks by itself who looks at it."""

from functools import partial
from pathlib import Path

import streamlit as st
from streamlit import runtime

from core.access.roles import Role

SHELL = Path(__file__).parent / "pages" / "shell"


def draw() -> None:
    """Draw the page that was asked for, and the menu beside it."""
    # Here, for the caches of the pages complain of a missing runtime.
    from pages.shell import gate, menu, resources, return_to, uploads
    from pages.shell.menu import Section

    # The menu, with the choice of light or dark, appears in minimal mode only if it has an entry.
    st.set_page_config(
        page_title=menu.PRODUCT,
        # A file: Streamlit fetches its named icons for the tab from Google.
        page_icon=SHELL / "icon.svg",
        layout="wide",
        menu_items={"About": "**Cohort Bridge** exports Mixpanel cohorts into Apptimize groups, exactly."},
    )
    st.logo(str(SHELL / "logo.svg"), icon_image=str(SHELL / "icon.svg"), size="large")
    with uploads.watch():
        person = gate.who()
        attention = resources.attention(person) if person else 0
        sections = {
            "Export": [
                Section("export/overview", "Overview", "home", count=attention),
                Section("export/cohorts", "Cohorts", "groups", Role.ANALYST, opens="cohort", noun="Cohort"),
                Section("export/syncs", "Syncs", "sync", Role.ANALYST, opens="sync", noun="Sync"),
            ],
            "Observe": [
                Section("observe/groups", "Groups", "patient_list", opens="group", noun="Group"),
                Section("observe/overlap", "Overlap", "grid_on", opens="pair", noun="In both"),
                Section("observe/users", "Look up a user", "person_search", opens="id", noun="User"),
                Section("observe/history", "History", "history", opens="run", noun="Run"),
                Section("observe/matching", "Matching", "join", opens="association", noun="Association"),
            ],
            "Admin": [
                Section("admin/connections", "Connections", "cable", Role.ADMIN),
                Section("admin/alerts", "Alerts", "notifications", Role.ADMIN, opens="channel", noun="Channel"),
                Section("admin/people", "People", "badge", Role.ADMIN, opens="person", noun="Person"),
                Section("admin/audit", "Audit log", "policy", Role.ADMIN, opens="line", noun="Line"),
                Section("admin/practice", "How to connect for real", "school"),
            ],
        }
        name_of = partial(resources.open_name, person)
        chosen, listed = menu.choose(sections, person.role if person else None, name_of)
        if person is None:
            return_to.remember(chosen)
        else:
            return_to.follow(chosen, listed)
        chosen.run()


if __name__ != "__main__":
    # Imported by Streamlit's server, started either way, which looks for exactly this assignment in this file ...
    from starlette.middleware import Middleware

    from pages.shell import run_dashboard
    from pages.shell.strangers import StrangerLimit
    from pages.shell.uploads import UploadGuard

    app = st.App(__file__, middleware=[Middleware(UploadGuard), Middleware(StrangerLimit)])
    app = run_dashboard.protect(app)  # ... and serves what the name holds at last.
elif runtime.exists():
    draw()  # Streamlit runs this file for every page that it draws.
else:
    from pages.shell import run_dashboard

    run_dashboard.main()  # `python app.py`
