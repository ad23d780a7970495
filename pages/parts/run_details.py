"""What a run came to: its numbers, or who joined and left with it; one at a time, so that a page stays short."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from data.models import Run, RunStatus
from pages.parts import membership_changes, run_status
from pages.parts.filters import Filters
from pages.parts.formatting import in_gray

SUMMARY, MEMBERS = "summary", "members"
SHOW = "show"
# What the address says of these, which goes with the run that it is about.
PARAMS = (SHOW, membership_changes.WHO)


def show(
    bridge: Bridge,
    person: Actor,
    run: Run,
    *,
    key: str,
    in_short: bool = False,
    more: Mapping[str, tuple[str, Callable[[], None]]] | None = None,
) -> None:
    """Show the details of a run, the address names which; `more` are others that a page has, each with its title.

    `in_short`, what it changed is a line: on a page that shows more than the run.
    """
    details = {SUMMARY: ("Summary", lambda: _show_summary(run, in_short=in_short))} if _has_read(run) else {}
    if _has_changes(run):
        members_key = f"{key}_difference"
        details[MEMBERS] = ("Members", lambda: membership_changes.show(bridge, person, run, key=members_key))
    details |= more or {}
    if not details:
        return
    # What is held is looked at before it is decided; of a failure the last step says most.
    usual = MEMBERS if run.status == RunStatus.HELD and _has_changes(run) else next(iter(details))
    chosen = Filters(f"{key}_run").one(
        st.segmented_control, "Details", SHOW, {name: in_gray(title) for name, (title, _) in details.items()},
        default=usual, required=True, label_visibility="collapsed",
    )  # fmt: skip
    _, draw = details[chosen]
    draw()


def _has_read(run: Run) -> bool:
    return run.status == RunStatus.SUCCEEDED or (run.status == RunStatus.HELD and run.profiles > 0)


def _has_changes(run: Run) -> bool:
    """Return whether a run was compared: one that was held before that knows of no change."""
    return _has_read(run) and (run.status != RunStatus.HELD or run.removed > 0)


def _show_summary(run: Run, *, in_short: bool) -> None:
    if _has_changes(run) and in_short:
        st.markdown(run_status.change_text(run))
    elif _has_changes(run):
        run_status.changes(run)
    run_status.funnel(run)
