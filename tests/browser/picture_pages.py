"""Which pages the pictures show, by the state of the home: their addresses, and their headings."""

from __future__ import annotations

from tests.browser.picture_homes import a_member
from tests.browser.stage import PAGES, Everything
from tests.stage.sandbox import COMPANIES, EVERYONE, IMPORTED, NEWSLETTER, POWER, SPENDERS, TRIAL


def failed_pages(everything: Everything) -> dict[str, str]:
    """Return the pages that show failures."""
    return {
        f"cohorts?cohort={IMPORTED}": "Cohorts",
        f"history?run={everything.newest_run_id(SPENDERS)}": "History",
        "matching": "Matching",
        "": "Overview",
        f"cohorts?cohort={NEWSLETTER}": "Cohorts",
        "history": "History",
        "history?run=6": "History",
        "groups": "Groups",
        "groups?group=3": "Groups",
    }


def full_pages(everything: Everything) -> dict[str, str]:
    """Name the pages that show plenty."""
    group = everything.group_id(TRIAL)
    return PAGES | {
        f"cohorts?cohort={EVERYONE}": "Cohorts",
        f"cohorts?cohort={TRIAL}": "Cohorts",
        f"syncs?sync={everything.recurring_sync_id(TRIAL)}": "Syncs",
        f"syncs?sync={everything.recurring_sync_id(POWER)}": "Syncs",
        "history?run=2": "History",
        "history?sync=1": "History",
        f"cohorts?cohort={POWER}": "Cohorts",
        f"history?run={everything.newest_run_id(POWER)}": "History",
        f"groups?group={group}": "Groups",
        f"groups?group={group}&view=Size+over+time": "Groups",
        f"groups?group={group}&view=Joined+and+left": "Groups",
        f"overlap?pair={group}-{everything.group_id(POWER)}": "Overlap",
        f"cohorts?cohort={TRIAL},{POWER},{COMPANIES}": "Cohorts",
        f"cohorts?cohort={TRIAL},{POWER}&exports=1,2": "Cohorts",
        f"history?run={everything.newest_run_id(TRIAL)}&show=members": "History",
        f"syncs?sync={everything.recurring_sync_id(TRIAL)}&show=size": "Syncs",
        "matching?view=associate": "Matching",
        f"groups?group={group}&view=Compare+two+runs": "Groups",
        f"users?id={a_member(everything)}": "Look up a user",
        f"matching?cohort={IMPORTED}": "Matching",
        "matching?association=1": "Matching",
        "matching?association=2": "Matching",
        "matching?association=3": "Matching",
        "users?id=i_twin-3": "Look up a user",
        f"matching?cohort={TRIAL}": "Matching",
    }


def unknown_pages() -> dict[str, str]:
    """Name addresses that lead to nothing."""
    return {
        "cohorts?cohort=1": "Cohorts",
        "syncs?sync=9999": "Syncs",
        "groups?group=9999": "Groups",
        "users?id=i_nobody": "Look up a user",
        "history?run=9999": "History",
        "matching?association=9999": "Matching",
        "alerts?channel=9999": "Alerts",
        "people?person=9999": "People",
        "audit?line=9999": "Audit log",
    }


def busy_pages(everything: Everything) -> dict[str, str]:
    """Name the pages that show a running export."""
    return {
        "": "Overview",
        f"cohorts?cohort={EVERYONE}": "Cohorts",
        "history": "History",
        f"history?run={everything.newest_run_id(EVERYONE)}": "History",
    }


def no_worker_pages(everything: Everything) -> dict[str, str]:
    """Name the pages that show that groups are not kept up to date any more."""
    return {
        "": "Overview",
        f"cohorts?cohort={EVERYONE}": "Cohorts",
        "syncs": "Syncs",
        f"groups?group={everything.group_id(TRIAL)}": "Groups",
        "connections": "Connections",
    }


def lost_pages(everything: Everything) -> dict[str, str]:
    """Name the pages that show members which are no longer kept."""
    group = everything.group_id(SPENDERS)
    return {
        f"groups?group={group}": "Groups",
        f"groups?group={group}&view=Compare+two+runs": "Groups",
        f"history?run={everything.newest_run_id(SPENDERS)}": "History",
        "users?id=i_nobody": "Look up a user",
    }
