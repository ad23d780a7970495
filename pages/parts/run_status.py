"""A run on the screen: its state, its progress, its funnel, and why it ended as it did."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import NamedTuple, TypedDict, cast

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.export.progress import accepted_messages
from core.reports import match_funnel, overview
from core.rules.matching import MAX_LENGTH, Reason
from core.run_log import Retry, seconds_left
from core.syncs import run_again, runs
from data.models import APPLIED, DISCARDED, PREVIEW, UNFINISHED, Run, RunFilter, RunStatus
from pages.parts import flow, folded, links
from pages.parts.actions import perform, show_errors
from pages.parts.colors import Color
from pages.parts.formatting import clock, duration, error_text, escape_markdown, number, pluralize
from pages.parts.links import MATCHING
from pages.parts.member_words import words_for
from pages.shell import gate, page_frame, resources


class RunLog(TypedDict):
    """What is shown of a run log while its run works, as core/run_log.py keeps it."""

    refusals: dict[str, int]
    retry: Retry | None


class Badge(NamedTuple):
    """How a state is shown: never by color alone."""

    word: str
    icon: str
    color: Color


BADGES: dict[str, Badge] = {
    RunStatus.QUEUED: Badge("Queued", "schedule", "gray"),
    RunStatus.RUNNING: Badge("Running", "sync", "blue"),
    RunStatus.WAITING: Badge("Waiting", "hourglass_top", "blue"),
    RunStatus.SUCCEEDED: Badge("Succeeded", "check_circle", "green"),
    RunStatus.FAILED: Badge("Failed", "error", "red"),
    RunStatus.HELD: Badge("Held", "front_hand", "orange"),
    RunStatus.SUPERSEDED: Badge("Superseded", "history", "gray"),
    RunStatus.INTERRUPTED: Badge("Interrupted", "power_off", "orange"),
    RunStatus.CANCELLED: Badge("Cancelled", "cancel", "gray"),
    # As on the buttons that decide.
    APPLIED: Badge("Applied", "check", "gray"),
    DISCARDED: Badge("Discarded", "close", "gray"),
    PREVIEW: Badge("Preview", "experiment", "gray"),
}
# How far along a run is at the start of each step, and what it does then.
STEPS: dict[str, tuple[float, str]] = {
    "queued": (0.0, "Waiting for a worker to take it"),
    "waiting": (0.02, "Waiting for a Mixpanel query slot"),
    "starting": (0.02, "Starting"),
    "queueing": (0.02, "Waiting for other runs to finish reading"),
    "finding": (0.05, "Looking up the cohort"),
    "reading": (0.08, "Reading profiles"),
    "checking": (0.72, "Checking that every profile arrived"),
    "comparing": (0.76, "Comparing with the group"),
    "delivering": (0.80, "Sending members"),
    "done": (1.0, "Done"),
}
REASONS: dict[str, str] = {
    Reason.BLANK: "The id is blank",
    Reason.INVISIBLE: "The id has only invisible characters",
    Reason.BOOLEAN: "The id is true or false, not text",
    Reason.LIST: "The id is a list, not text",
    Reason.OBJECT: "The id is an object, not text",
    Reason.NUMBER: "The id is a number that is not exact",
    Reason.TOO_LONG: f"The id is longer than {MAX_LENGTH} characters",
    Reason.CONTROL_CHARACTER: "The id contains a line break or another control character",
    Reason.SURROGATE: "Broken character (lone surrogate)",
    Reason.DISTINCT_ID: "The profile has no usable distinct id",
}
TRIGGERS = {"manual": "On request", "cli": "On the command line", "schedule": "By schedule", "undo": "Undo"}


def is_active(run: Run) -> bool:
    """Return whether the run has not ended yet."""
    return run.status in UNFINISHED


def badge_for(run: Run) -> Badge:
    """Return how the run's state is shown."""
    return BADGES.get(run.told_status, Badge(run.status, "help", "gray"))


def status_names() -> dict[str, str]:
    """Return the names of the states that runs can be asked for by."""
    return {status: badge.word for status, badge in BADGES.items()}


def word_of(status: str) -> str:
    """Return a state within a sentence."""
    return BADGES[status].word.lower() if status in BADGES else status


def badge(run: Run) -> None:
    """Show the run's state, and whether it wrote at all."""
    looks = [badge_for(run), *([BADGES[PREVIEW]] if run.dry_run and run.told_status != PREVIEW else [])]
    with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
        for look in looks:
            st.badge(look.word, icon=f":material/{look.icon}:", color=look.color)


def headline(run: Run, text: str, *, heading: str = "") -> None:
    """Show in one line the run's state, a text that says more of it, and the link to the rest, after a heading."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if heading:
            st.subheader(heading, anchor=False, width="content")
        badge(run)
        st.caption(text, width="content")
        link(run)


def status_text(run: Run) -> str:
    """Format the run's state for a table, and that it was a preview."""
    return f"{state_word(run)}{' (preview)' if run.dry_run and run.told_status != PREVIEW else ''}"


def state_word(run: Run) -> str:
    """Return the run's state in a word."""
    return badge_for(run).word


def took(run: Run) -> str:
    """Format how long the run has taken."""
    if run.started_at is None:
        return ""
    return duration(((run.finished_at or resources.now()) - run.started_at).total_seconds())


def fraction(run: Run, log: RunLog | None = None) -> float:
    """Estimate how far along the run is, from 0 to 1."""
    start, _ = STEPS.get(run.step, (0.0, ""))
    if run.step == "reading" and run.expected:
        return start + 0.64 * min(run.profiles / run.expected, 1.0)
    if run.step == "delivering" and run.messages_expected:
        return start + 0.19 * _accepted(run, log) / run.messages_expected
    return start


def _accepted(run: Run, log: RunLog | None) -> int:
    """Return how many messages were taken: one that is sent again is not two."""
    return accepted_messages(run.messages, run.messages_expected, log["refusals"] if log else {})


def step_text(run: Run, log: RunLog | None = None) -> str:
    """Format what the run does at this moment."""
    if run.cancel_asked:
        return "Cancelling"
    if run.status == RunStatus.WAITING and run.waiting_until:
        return f"Waiting for a Mixpanel query slot: the next one opens at {clock(run.waiting_until)}"
    if at := tried_again_at(run):
        return f"Its process ended before it was done: it is tried again at {clock(at)}"
    _, words = STEPS.get(run.step, (0.0, "Working"))
    if run.step == "reading" and run.expected:
        return f"{words}: {number(min(run.profiles, run.expected))} of {number(run.expected)}"
    if run.step == "delivering" and run.messages_expected:
        return f"{words}: {number(_accepted(run, log))} of {pluralize(run.messages_expected, 'message')}"
    return words


def retry_text(run: Run, log: RunLog | None) -> str:
    """Format why nothing moves and when it goes on, while something waits to be tried again; empty otherwise."""
    retry = log["retry"] if log else None
    if log is None or retry is None or run.status != RunStatus.RUNNING or run.step != retry["step"]:
        return ""
    left = seconds_left(retry, resources.now())
    when = f"in {round(left)} s" if left >= 1 else "now"
    tries = pluralize(log["refusals"].get(run.step, 0), "try has", "tries have")
    return f"{escape_markdown(retry['why'])} {tries} failed in this step; it is tried again {when}."


def tried_again_at(run: Run) -> datetime | None:
    """Return until when a run waits in the queue whose process died again and again; None: it does not."""
    return run.waiting_until if run.status == RunStatus.QUEUED else None


def time_left(run: Run, log: RunLog | None = None) -> str:
    """Estimate how much longer the run takes, from how long it took so far; empty while that says too little."""
    done = fraction(run, log)
    if run.status != RunStatus.RUNNING or run.started_at is None or run.cancel_asked or not 0.1 < done < 1:
        return ""
    so_far = (resources.now() - run.started_at).total_seconds()
    left = so_far * (1 - done) / done
    if so_far < 2:
        return ""
    return "A few seconds left" if left < 10 else f"About {duration(left)} left"


@st.fragment(run_every="1s")
def progress(bridge: Bridge, person: Actor, run_id: int, *, with_name: bool = True) -> None:
    """Show a run while it works, from its row; the whole page is drawn again when it ends.

    Its group and destination are named where the page does not do that.
    """
    page_frame.redraw_if_asked()
    with show_errors():
        run = runs.get_run(bridge, person, run_id)
        if not is_active(run):
            gate.redraw()
        _show_progress(bridge, person, run, _log_of(bridge, person, run), with_name=with_name)


def _log_of(bridge: Bridge, person: Actor, run: Run) -> RunLog | None:
    """Return the run log of a run that works, where it has one that knows of tries."""
    log = overview.get_run_log(bridge, person, run.id or 0) if run.status == RunStatus.RUNNING else None
    return cast("RunLog", log) if log and "refusals" in log else None


def _show_progress(bridge: Bridge, person: Actor, run: Run, log: RunLog | None, *, with_name: bool) -> None:
    with st.container(border=True):
        if with_name:
            what = "Preview of the export" if run.dry_run else "Export"
            st.markdown(f"**{what} to {escape_markdown(run.group_name)}** at {escape_markdown(run.destination)}")
        st.progress(fraction(run, log), text=step_text(run, log))
        if retry := retry_text(run, log):
            st.warning(retry, title="Waiting to try again", icon=":material/replay:")
        with st.container(horizontal=True, vertical_alignment="center"):
            if person.role >= Role.ANALYST:
                st.button(
                    "Cancelling …" if run.cancel_asked else "Cancel",
                    key=f"run_cancel_{run.id}",
                    icon=":material/cancel:",
                    disabled=run.cancel_asked,
                    on_click=_cancel,
                    args=(bridge, person, run.id),
                )
            left = "" if retry else time_left(run, log)
            st.caption(
                f"{f'{left}. ' if left else ''}You can leave this page; the run continues.",
                width="content",
            )


@st.fragment(run_every="2s")
def watch(bridge: Bridge, person: Actor, of: RunFilter, seen: int | None) -> None:
    """Draw the whole page again as soon as there is a newer run than the one that was `seen`, started by anyone.

    What was seen is the newest by its number: one that ended last need not be, and would have the page drawn for ever.
    """
    try:
        newest = runs.list_runs(bridge, person, of, limit=1)
    except CohortBridgeError:
        return  # the page itself says that the storage cannot be read
    if newest and newest[0].id != seen:
        gate.redraw()


def _cancel(bridge: Bridge, person: Actor, run_id: int) -> None:
    try:
        runs.cancel_run(bridge, person, run_id)
    except CohortBridgeError as exc:
        page_frame.toast(error_text(exc), ":material/error:")
        return
    page_frame.toast(f"Run {run_id} is being cancelled.", ":material/cancel:")


_REASONS_PX = 440
# What is said of a dry run from the terminal where a list of users would be.
ONLY_COUNTS = "A dry run from the terminal only counts: an export, or a preview in the browser, keeps them."


def funnel(run: Run) -> None:
    """Show how many users of the cohort became members, and what the others lack: the counts add up."""
    if run.trigger == "undo":
        st.caption("Nothing was read from Mixpanel: the members are those that the group had after an earlier run.")
        return
    words = words_for(run.matched_by)
    if words.note:
        st.caption(words.note)
    flow.show(match_funnel.get_funnel(run), words, key=f"run_{run.id}", beside=partial(_show_excluded, run))
    if run.unprefixed:
        st.caption(
            f":material/warning: {pluralize(run.unprefixed, 'member has', 'members have')} an id that starts with "
            "neither `i_` nor `a_`. They are exported, but Apptimize will probably not recognize them."
        )


def _show_excluded(run: Run) -> None:
    invalid_reasons(run)
    _link_to_excluded(run)


def _link_to_excluded(run: Run) -> None:
    """Link to the profiles that made no member, or show why they are not there."""
    if run.excluded:
        # The page finds by the run which read of a cohort of that number it is.
        asked = {"cohort": str(run.cohort_id), "run": str(run.id)}
        st.page_link(MATCHING, label="Excluded profiles", icon=":material/join:", query_params=asked)
    elif run.only_counts and run.profiles > run.members:
        st.caption(f"The excluded profiles are not kept. {ONLY_COUNTS}")
    elif run.status in (RunStatus.SUCCEEDED, RunStatus.HELD) and run.profiles > run.members:
        st.caption("The excluded profiles are no longer kept.")


def invalid_reasons(run: Run) -> None:
    """Show why ids of a run are invalid, folded behind how many are."""
    if not run.reasons:
        return
    label = f"Why {pluralize(run.invalid, 'id is', 'ids are')} invalid"
    show = partial(_reasons, run)
    folded.expander(label, show, key=f"run_reasons_{run.id}", width=_REASONS_PX)


def _reasons(run: Run) -> None:
    reasons = sorted((run.reasons or {}).items(), key=lambda item: (-item[1], item[0]))
    st.table(
        [
            {"Why an id is invalid": REASONS.get(name, escape_markdown(name)), "Profiles": number(count)}
            for name, count in reasons
        ],
        hide_index=True,
        border="horizontal",
    )


def changes(run: Run) -> None:
    """Show what the run changed, or would have changed."""
    added, removed = change_words(run)
    is_undo = run.trigger == "undo"
    left = "Members that the earlier run did not have." if is_undo else "Members that have left the cohort since."
    tiles(
        [
            (added, number(run.added), "Members that the group did not have before."),
            (removed, number(run.removed), left),
            ("Unchanged", number(run.unchanged), "Members that were there before and still are."),
        ]
    )
    if run.notice and not run.removed and not run.unchanged:
        st.caption("It is no longer known who was in the group before, so all of its members count as added.")


def changes_to_come() -> None:
    """Show, in the room of what a run changed, that this is known once it has ended."""
    tiles([(label, "–", "Known once the run has ended.") for label in ("Added", "Removed", "Unchanged")])


def change_text(run: Run) -> str:
    """Format in a line what a run changed, or would change."""
    added, removed = change_words(run)
    counts = {added: run.added, removed: run.removed, "Unchanged": run.unchanged}
    return ", ".join(f"**{number(count)}** {word.lower()}" for word, count in counts.items()) + "."


def change_short(run: Run) -> str:
    """Format for a list what a run changed: +47 −46. Empty for one that did not succeed."""
    if run.status != RunStatus.SUCCEEDED:
        return ""
    parts = [sign + number(count) for sign, count in (("+", run.added), ("−", run.removed)) if count]
    return " ".join(parts) or "No change"


def started_by(run: Run) -> str:
    """Return who started a run: the schedule, or a person, who may have rolled the group back by it."""
    if run.trigger == "schedule":
        return "Schedule"
    return f"{run.actor}, {TRIGGERS['undo'].lower()}" if run.trigger == "undo" else run.actor


def change_words(run: Run) -> tuple[str, str]:
    """Return what the members that joined and left are called: those of a preview or a held run are only planned."""
    return ("To add", "To remove") if run.dry_run or run.status == RunStatus.HELD else ("Added", "Removed")


def tiles(figures: list[tuple[str, str, str]], *, width: int = 150) -> None:
    """Show figures side by side; they wrap where the window is narrow."""
    with st.container(horizontal=True, gap="small"):
        for label, value, help_text in figures:
            st.metric(label, value, help=help_text or None, border=True, width=width)


def link(run: Run) -> None:
    """Link to the run's detail."""
    links.view_run(run.id)


def run_again_button(bridge: Bridge, person: Actor, run: Run, *, key: str, place: str) -> None:
    """Show the button that runs a run again, to those who may."""
    if person.role < Role.ANALYST:
        return
    st.button(
        "Run again",
        key=key,
        icon=":material/replay:",
        on_click=perform,
        args=(place, partial(run_again.run_again, bridge, person, run.id or 0), _queued_text),
    )


def _queued_text(run: Run) -> str:
    if run.status != RunStatus.QUEUED:
        return f"Run {run.id} of the same sync has already begun."
    return f"Run {run.id} is queued."
