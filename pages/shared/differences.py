"""Who came and left with a run, or would have: counts, samples to search and page through, and the download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core import members
from core.access import Actor
from core.bridge import Bridge
from data.models import Run, Status
from data.snapshots import Change
from pages.shared import member_list
from pages.shared.text import number


def show(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show the members that a run added and removed, or would have, as long as they are kept."""
    if not (run.added or run.removed):
        return
    if run.id is None or not bridge.snapshots.exists(run.difference):
        if run.dry_run:
            st.caption(
                "Who that is was not kept: a preview in the browser keeps it, until the next one, and the command line "
                "only counts."
            )
        elif run.status in (Status.SUCCEEDED, Status.HELD):
            st.caption("Who that is, is no longer kept.")
        return
    would = run.dry_run or run.status == Status.HELD
    words = ("Would come", "Would leave") if would else ("Added", "Removed")
    ways: list[tuple[Change, int, str]] = [("added", run.added, words[0]), ("removed", run.removed, words[1])]
    shown = [one for one in ways if one[1]]
    for column, (way, count, word) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            st.markdown(f"**{word}: {number(count)}**")
            member_list.show(
                partial(members.find_changes, bridge, person, run.id, way),
                key=f"{key}_{way}",
                label=f"Members who {word.lower()}" if would else f"Members {word.lower()}",
                nobody="Nobody.",
            )
    st.download_button(
        "Download for a spreadsheet",
        partial(member_list.collected, partial(members.changes_csv, bridge, person, run.id)),
        file_name=f"run-{run.id}-members.csv",
        mime="text/csv",
        key=f"{key}_download",
        icon=":material/download:",
        on_click="ignore",
    )
