"""The dashboard: navigation, nothing else."""

from pathlib import Path

import streamlit as st

SHARED = Path(__file__).parent / "pages" / "shared"

SECTIONS = {
    "Export": [
        st.Page("pages/export/overview.py", title="Overview", icon=":material/home:", default=True),
        st.Page("pages/export/cohorts.py", title="Cohorts", icon=":material/groups:", url_path="cohorts"),
        st.Page("pages/export/syncs.py", title="Syncs", icon=":material/sync:", url_path="syncs"),
    ],
    "Observe": [
        st.Page("pages/observe/groups.py", title="Groups", icon=":material/patient_list:", url_path="groups"),
        st.Page("pages/observe/history.py", title="History", icon=":material/history:", url_path="history"),
        st.Page("pages/observe/matching.py", title="Matching", icon=":material/join:", url_path="matching"),
    ],
    "Admin": [
        st.Page("pages/admin/connections.py", title="Connections", icon=":material/cable:", url_path="connections"),
        st.Page(
            "pages/admin/practice.py", title="How to connect for real", icon=":material/school:", url_path="practice"
        ),
    ],
}

# An entry of our own is what makes the menu appear in minimal mode, and the choice of light or dark is in it.
st.set_page_config(
    page_title="Cohort Bridge",
    # A file of our own: Streamlit's named icons for the tab are fetched from Google.
    page_icon=SHARED / "icon.svg",
    layout="wide",
    menu_items={"About": "**Cohort Bridge** exports Mixpanel cohorts into Apptimize groups, exactly."},
)
st.logo(str(SHARED / "logo.svg"), icon_image=str(SHARED / "icon.svg"), size="large")
st.navigation(SECTIONS).run()
