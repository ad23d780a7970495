"""The pages, and the links from one to what another shows."""

from __future__ import annotations

import streamlit as st

COHORTS = "pages/export/cohorts.py"
SYNCS = "pages/export/syncs.py"
GROUPS = "pages/observe/groups.py"
OVERLAP = "pages/observe/overlap.py"
USERS = "pages/observe/users.py"
HISTORY = "pages/observe/history.py"
MATCHING = "pages/observe/matching.py"
CONNECTIONS = "pages/admin/connections.py"
# As the menu calls it, and advice that leads there.
CONNECTIONS_NAME = "Connections"
PRACTICE = "pages/admin/practice.py"


def view_cohort(cohort_id: int, *, project_id: int, to: str = "") -> None:
    """Link to a cohort of a project, since another one may have its number, and there to its group at a destination."""
    asked = {"cohort": str(cohort_id), "project": str(project_id)} | ({"to": to} if to else {})
    st.page_link(COHORTS, label="View cohort", icon=":material/groups:", query_params=asked)


def view_sync(sync_id: int | None) -> None:
    """Link to a sync."""
    st.page_link(SYNCS, label="View sync", icon=":material/sync:", query_params={"sync": str(sync_id)})


def view_group(group_id: int | None, *, label: str = "View group") -> None:
    """Link to a group and its members."""
    st.page_link(GROUPS, label=label, icon=":material/patient_list:", query_params={"group": str(group_id)})


def view_run(run_id: int | None, *, label: str = "") -> None:
    """Link to all that is known of a run."""
    label = label or f"Run {run_id} in History"
    st.page_link(HISTORY, label=label, icon=":material/history:", query_params={"run": str(run_id)})


def pick_cohort() -> None:
    """Link to where every export begins."""
    st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
