"""Who joined and left with a run, or would have: counts, samples to search and page through, and the download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import members
from data.models import Run, RunStatus
from pages.parts import download, folded, member_list, run_status
from pages.parts.actions import show_errors
from pages.parts.filters import Filters
from pages.parts.formatting import in_gray, number

# What names in the address which of them are shown.
WHO = "who"


def show(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show the members that a run added and removed, or would have, and the unchanged ones, while they are kept."""
    has_changed = bool(run.added or run.removed)
    is_kept = members.are_changes_kept(bridge, person, run)
    with show_errors():
        _show_kept(bridge, person, run, key=key, has_changed=has_changed, is_kept=is_kept)


def _show_kept(bridge: Bridge, person: Actor, run: Run, *, key: str, has_changed: bool, is_kept: bool) -> None:
    if has_changed and is_kept:
        _show_changed(bridge, person, run, key=key)
    elif has_changed:
        _explain_what_is_missing(run)
    elif run.unchanged and run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
        _show_unchanged(bridge, person, run, key=key)


def _explain_what_is_missing(run: Run) -> None:
    if run.only_counts:
        st.caption(f"The members are not kept. {run_status.ONLY_COUNTS}")
    elif run.dry_run:
        st.caption("Only the counts are kept: a preview keeps its members until the next preview.")
    elif run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
        st.caption("The members that changed are no longer kept.")


def _show_changed(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show those that joined, left or are unchanged, one list at a time: beside each other their ids would be cut."""
    assert run.id is not None
    added, removed = run_status.change_words(run)
    kinds = {"added": (added, run.added), "removed": (removed, run.removed), "unchanged": ("Unchanged", run.unchanged)}
    shown = {kind: (word, count) for kind, (word, count) in kinds.items() if count}
    # What is held is held because of those who would leave.
    usual = "removed" if run.status == RunStatus.HELD and run.removed else next(iter(shown))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        kind = Filters(key).one(
            st.segmented_control, "Which members", WHO,
            {kind: in_gray(f"{word}: {number(count)}") for kind, (word, count) in shown.items()},
            default=usual, required=True, label_visibility="collapsed",
        )  # fmt: skip
        if kind != "unchanged":
            download.offer_csv(
                partial(members.changes_csv, bridge, person, run.id),
                file_name=f"run-{run.id}-members.csv",
                key=f"{key}_download",
                help="All that joined and left.",
            )
    if kind == "unchanged":
        _list_unchanged(bridge, person, run, key=key)
        return
    member_list.show(
        partial(members.find_changes, bridge, person, run.id, kind),
        key=f"{key}_{kind}",
        label=f"Members {shown[kind][0].lower()}",
        empty="No members.",
        matched_by=run.matched_by,
    )


def _show_unchanged(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show the members of a group that did not change once a person asks."""
    show_list = partial(_list_unchanged, bridge, person, run, key=key)
    folded.expander(f"Unchanged: {number(run.unchanged)}", show_list, key=f"{key}_unchanged_box")


def _list_unchanged(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    assert run.id is not None
    member_list.show(
        partial(members.find_unchanged, bridge, person, run.id),
        key=f"{key}_unchanged",
        label="Unchanged members",
        empty="No members.",
        matched_by=run.matched_by,
    )
    download.offer_csv(
        partial(members.unchanged_csv, bridge, person, run.id),
        file_name=f"run-{run.id}-unchanged.csv",
        key=f"{key}_unchanged_download",
    )
