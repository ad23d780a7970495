"""Who joined and left with a run, or would have: counts, samples to search and page through, and the download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import members
from data.models import MembershipChange, Run, RunStatus
from pages.parts import download, member_list, run_status
from pages.parts.actions import show_errors
from pages.parts.formatting import number


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
    if run.unchanged and (is_kept or not has_changed) and run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
        _show_unchanged(bridge, person, run, key=key)


def _explain_what_is_missing(run: Run) -> None:
    if run.only_counts:
        st.caption(f"The members are not kept. {run_status.ONLY_COUNTS}")
    elif run.dry_run:
        st.caption("Only the counts are kept: a preview keeps its members until the next preview.")
    elif run.status in (RunStatus.SUCCEEDED, RunStatus.HELD):
        st.caption("The members that changed are no longer kept.")


def _show_changed(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    assert run.id is not None
    added, removed = run_status.change_words(run)
    kinds: list[tuple[MembershipChange, int, str]] = [("added", run.added, added), ("removed", run.removed, removed)]
    shown = [kind for kind in kinds if kind[1]]
    for column, (kind, count, word) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            st.markdown(f"**{word}: {number(count)}**")
            member_list.show(
                partial(members.find_changes, bridge, person, run.id, kind),
                key=f"{key}_{kind}",
                label=f"Members {word.lower()}",
                empty="No members.",
                matched_by=run.matched_by,
            )
    download.offer_csv(
        partial(members.changes_csv, bridge, person, run.id),
        file_name=f"run-{run.id}-members.csv",
        key=f"{key}_download",
    )


def _show_unchanged(bridge: Bridge, person: Actor, run: Run, *, key: str) -> None:
    """Show the unchanged members once a person asks: they are nearly all of a group."""
    box = st.expander(f"Unchanged: {number(run.unchanged)}", key=f"{key}_unchanged_box", on_change="rerun")
    if not box.open or run.id is None:
        return
    with box:
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
