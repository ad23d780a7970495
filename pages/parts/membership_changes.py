"""Who came and left with a run, or would have: counts, samples to search and page through, and the download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import members
from data.members.changes import ChangeKind
from data.models import Run, RunStatus
from pages.parts import download, member_list
from pages.parts.formatting import number


def show(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show the members that a run added and removed, or would have, and those who stay, as long as they are kept."""
    would = run.dry_run or run.status == RunStatus.HELD
    has_changed = bool(run.added or run.removed)
    if has_changed:
        _show_changed(bridge, person, run, would=would, key=key)
    is_kept = not has_changed or bridge.snapshots.exists(run.difference)
    if run.unchanged and is_kept and run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
        _show_unchanged(bridge, person, run, would=would, key=key)


def _show_changed(bridge: Bridge, person: Actor, run: Run, *, would: bool, key: str) -> None:
    if run.id is None or not bridge.snapshots.exists(run.difference):
        if run.dry_run:
            st.caption(
                "Who that is was not kept: a preview in the browser keeps it, until the next one, and the command line "
                "only counts."
            )
        elif run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
            st.caption("Who that is, is no longer kept.")
        return
    words = ("Would come", "Would leave") if would else ("Added", "Removed")
    ways: list[tuple[ChangeKind, int, str]] = [("added", run.added, words[0]), ("removed", run.removed, words[1])]
    shown = [one for one in ways if one[1]]
    for column, (way, count, word) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            st.markdown(f"**{word}: {number(count)}**")
            member_list.show(
                partial(members.find_changes, bridge, person, run.id, way),
                key=f"{key}_{way}",
                label=f"Members who {word.lower()}" if would else f"Members {word.lower()}",
                empty="Nobody.",
            )
    download.offer_csv(
        partial(members.changes_csv, bridge, person, run.id),
        file_name=f"run-{run.id}-members.csv",
        key=f"{key}_download",
    )


def _show_unchanged(bridge: Bridge, person: Actor, run: Run, *, would: bool, key: str) -> None:
    """Show who stays once somebody asks: they are nearly all of a group."""
    word = "Would stay" if would else "Unchanged"
    box = st.expander(f"{word}: {number(run.unchanged)}", key=f"{key}_unchanged_box", on_change="rerun")
    if not box.open or run.id is None:
        return
    with box:
        member_list.show(
            partial(members.find_unchanged, bridge, person, run.id),
            key=f"{key}_unchanged",
            label="Members who would stay" if would else "Members who stayed",
            empty="Nobody.",
        )
        download.offer_csv(
            partial(members.unchanged_csv, bridge, person, run.id),
            file_name=f"run-{run.id}-unchanged.csv",
            key=f"{key}_unchanged_download",
        )
