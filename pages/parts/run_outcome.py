"""How a run ended, in a sentence: what the group holds since, or why it does not, and what had been written."""

from __future__ import annotations

import streamlit as st

from core.reports.group_state import GroupNow
from core.syncs import held_runs, run_ends
from data.models import Run, RunStatus
from pages.parts.connections.wording import CANNOT_HEAL
from pages.parts.formatting import escape_markdown, message_text, number, pluralize
from pages.parts.member_words import words_for

# Said of a run that keeps no error.
_UNSAID: dict[str, str] = {RunStatus.CANCELLED: "The run was cancelled."}
# Said without a number: a cohort counts users that no group can hold.
_COMPLETE = "Every user with a usable id is in the group"


def show(run: Run, now: GroupNow | None) -> None:
    """Show in a sentence how the run ended, with cause, advice and what it had written when it did not end well.

    `now` is its group at this moment, None while nothing was delivered to that.
    """
    cause = _with_written(run, message_text(run.error_message or _UNSAID.get(run.status), run.error_advice))
    if run.status == RunStatus.SUCCEEDED:
        _success(run, now)
    elif run.status == RunStatus.FAILED:
        st.error(cause, title="The run failed", icon=":material/error:")
    elif run.status == RunStatus.HELD:
        st.warning(cause, title="Held: nothing was written", icon=":material/front_hand:")
    elif run.status == RunStatus.INTERRUPTED:
        st.warning(cause, title="Interrupted", icon=":material/power_off:")
    elif run.status == RunStatus.SUPERSEDED:
        st.info(escape_markdown(run.error_message or ""), title="Superseded", icon=":material/history:")
    elif decision := held_runs.decision(run):
        cause = f"{escape_markdown(run.error_message or '')} {escape_markdown(decision)}"
        st.info(cause, title=f"Held, then {run.step}", icon=":material/front_hand:")
    elif run.status == RunStatus.CANCELLED:
        if (run.error_code or "").startswith("held"):
            cause = f"{escape_markdown(run.error_message or '')} Its sync was removed."
        st.info(cause, title="Cancelled", icon=":material/cancel:")
    # What was held for the damage has told of it.
    if run.notice and run.error_code not in ("held_shrink", "held_unknown_members"):
        st.warning(escape_markdown(run.notice), title="Not as usual", icon=":material/info:")
    if now and now.only_adds:
        st.caption(CANNOT_HEAL)


def _with_written(run: Run, cause: str) -> str:
    """Add what was written to why a run ended early, unless that says so."""
    written = run_ends.written_text(run)
    is_said = not run_ends.began_writing(run) and "Nothing was written" in cause
    return cause if is_said else f"{cause} {written}".strip()


def _success(run: Run, now: GroupNow | None) -> None:
    members, place = pluralize(run.members, "member"), escape_markdown(run.destination)
    if run.dry_run and run.profiles and not run.members:
        _warn_of_no_members(run, ". Nothing was written.", title="The group would be empty")
        return
    if run.dry_run:
        text = f"The group would hold {members}.{_excluded(run)} Nothing was written."
        title, icon = "The preview is done", "experiment"
    elif now is None or not now.is_as_of(run):
        _past_success(run, now)
        return
    elif run.trigger == "undo":
        text = f"The group at {place} holds the {members} of an earlier run again, and does not follow its cohort."
        title, icon = "Rolled back", "undo"
    elif run.profiles and not run.members:
        becomes = f", so the group at {place} has no members. **Matching** shows why."
        _warn_of_no_members(run, becomes, title="The group is empty")
        return
    elif run.write == "none":
        text = f"Nothing has changed: the group at {place} holds the same {members}.{_excluded(run)} Nothing was sent."
        title, icon = _COMPLETE, "check_circle"
    else:
        text = f"After this run, the group at {place} holds {members}.{_excluded(run)}"
        title, icon = _COMPLETE, "check_circle"
    st.success(text, title=title, icon=f":material/{icon}:")


def _warn_of_no_members(run: Run, becomes: str, *, title: str) -> None:
    which = words_for(run.matched_by).name
    text = f"None of the {pluralize(run.profiles, 'profile')} has a usable {which}{becomes}"
    st.warning(text, title=title, icon=":material/group_off:")


def _past_success(run: Run, now: GroupNow | None) -> None:
    """Show what the group held after a run, where that is not known to be what it holds now."""
    place, members = escape_markdown(run.destination), pluralize(run.members, "member")
    title = "The group was rolled back" if run.trigger == "undo" else "Every user with a usable id was in the group"
    text = f"The group at {place} held {members} then. {_since(run, now)}".strip() + _excluded(run)
    st.info(text, title=title, icon=":material/history:")


def _since(run: Run, now: GroupNow | None) -> str:
    """Format what has become of the group since a run."""
    if now is None:
        return ""
    if now.group.in_doubt:
        return "What it holds now is in doubt."
    later = now.settled_by
    if later is None or later.id == run.id:
        return ""
    if later.trigger == "undo":
        return f"It was rolled back by run {later.id} since, to {pluralize(later.members, 'member')}."
    return f"Run {later.id} has brought it up to date since, with {pluralize(later.members, 'member')}."


def _excluded(run: Run) -> str:
    """Format, as a sentence to follow another, how many users of the cohort are no members, and why; empty for none.

    It is why a group may hold fewer than Mixpanel counts in its cohort.
    """
    if run.trigger == "undo":
        return ""  # nothing was read
    counts = {
        "without a profile": max((run.in_cohort or 0) - run.profiles, 0),
        "without an id": run.unmatched,
        "with an invalid id": run.invalid,
    }
    parts = [f"{number(count)} {which}" for which, count in counts.items() if count]
    if run.duplicates:
        parts.append(pluralize(run.duplicates, "duplicate"))
    return f" Left out: {', '.join(parts)}." if parts else ""
