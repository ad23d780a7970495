"""What a run did when, and the answers it got: from its run log, or from its row where it has none."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from core.syncs import held_runs
from data.models import Run, RunStatus
from pages.parts import run_status, tables
from pages.parts.formatting import day, duration, escape_markdown, number, pluralize, precise

_UNBROKEN = "\u00a0"
_DONE: dict[str, str] = {
    "starting": "Started to work",
    "queueing": "Waited for other runs to finish reading",
    "finding": "Looked up the cohort",
    "reading": "Read",
    "checking": "Checked that every profile arrived",
    "comparing": "Compared",
    "delivering": "Wrote",
}


def steps(run: Run, log: dict[str, Any] | None) -> list[dict[str, str]]:
    """Format what happened when, in order, and how long each step took."""
    how = run_status.TRIGGERS.get(run.trigger, run.trigger).lower()
    who = "" if run.trigger == "schedule" else f", by {run.actor}"
    rows = [_row("Queued", _at(run.queued_at), "", how + who)]
    if run.started_at:
        waited = (run.started_at - run.queued_at).total_seconds()
        after = f"after {duration(waited)} in the queue" if waited >= 1 else "at once"
        rows.append(_row("Started", _at(run.started_at), "", after))
    rows += _worked(run, log) if log else _known(run)
    if run.finished_at:
        word = "Held" if held_runs.decision(run) else run_status.badge_for(run).word
        rows.append(_row(word, _at(run.finished_at), run_status.took(run), run.error_message or ""))
    if decision := held_runs.decision(run):
        rows.append(_row(run.step.capitalize(), "", "", decision))
    return _each_day_once(rows)


def _at(at: datetime) -> str:
    """Format a day and a time: the heading above has the year."""
    return f"{day(at)}, {precise(at)}"


def _each_day_once(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    before = ""
    for row in rows:
        this, _, time = row["When"].partition(f",{_UNBROKEN}")
        if this == before:
            row["When"] = time
        before = this or before
    return rows


def _worked(run: Run, log: dict[str, Any]) -> list[dict[str, str]]:
    began: list[tuple[str, datetime]] = [(step["name"], datetime.fromisoformat(step["at"])) for step in log["steps"]]
    ends: list[datetime | None] = [*(at for _, at in began[1:]), *([run.finished_at] if began else [])]
    facts = _with_refusals(_facts(run), log)
    last = {name: place for place, (name, _) in enumerate(began)}
    rows: list[dict[str, str]] = []
    for place, ((name, at), end) in enumerate(zip(began, ends, strict=True)):
        if name == "starting" or (name == "queueing" and end and (end - at).total_seconds() < 1):
            continue
        took = _took((end - at).total_seconds()) if end else ""
        # What is known of a step that was done twice is known of its last time.
        fact = facts.get(name, "") if last[name] == place else ""
        is_cut_short = name == "delivering" and run.status != RunStatus.SUCCEEDED
        done = "Tried to write" if is_cut_short else _DONE.get(name, name.capitalize())
        if end is None:
            _, done = run_status.STEPS.get(name, (0.0, done))
        rows.append(_row(done, _at(at), took, fact))
    if "delivering" not in last:
        rows += [_row("Wrote nothing", "", "", fact) for fact in filter(None, [_why_nothing(run)])]
    return rows


def _known(run: Run) -> list[dict[str, str]]:
    facts = _facts(run)
    rows = [_row(_DONE[name], "", "", facts[name]) for name in ("reading", "comparing", "delivering") if name in facts]
    why = _why_nothing(run)
    return [*rows, _row("Wrote nothing", "", "", why)] if why else rows


def _facts(run: Run) -> dict[str, str]:
    facts: dict[str, str] = {}
    if run.pages:
        of = f" of {number(run.expected)}" if run.expected is not None else ""
        facts["reading"] = f"{number(run.profiles)}{of} profiles in {pluralize(run.pages, 'page')}"
    if run.status == RunStatus.SUCCEEDED or (run.status == RunStatus.HELD and run.removed):
        changed = f"{number(run.added)} added, {number(run.removed)} removed"
        facts["comparing"] = f"{changed}, {number(run.unchanged)} unchanged"
    if run.messages:
        facts["delivering"] = f"{pluralize(run.messages, 'message')} to {run.destination}"
    elif run.status == RunStatus.SUCCEEDED and not _why_nothing(run):
        facts["delivering"] = f"a file to {run.destination}"
    return facts


def _with_refusals(facts: dict[str, str], log: dict[str, Any]) -> dict[str, str]:
    """Add to each step how many of its tries came to nothing."""
    refusals: dict[str, int] = log.get("refusals", {})
    told = {step: f"{pluralize(count, 'try', 'tries')} failed" for step, count in refusals.items() if count}
    return facts | {step: f"{facts[step]}, {text}" if step in facts else text for step, text in told.items()}


def _why_nothing(run: Run) -> str:
    if run.status == RunStatus.SUCCEEDED and run.dry_run:
        return "a preview"
    return "verified: nothing had changed" if run.write == "none" else ""


def _row(name: str, at: str, took: str, what: str) -> dict[str, str]:
    # A time or a length of time is not broken into two lines.
    at, took = at.replace(" ", _UNBROKEN), took.replace(" ", _UNBROKEN)
    return {"Step": escape_markdown(name), "When": at, "Took": took, "What": escape_markdown(what)}


def calls(log: dict[str, Any] | None) -> None:
    """Show how requests and messages were answered: totals, and on request each one that is kept."""
    if not log or not log["totals"]:
        return
    st.dataframe(
        [
            {
                "Call": total["what"].capitalize(),
                "Answer": _answer(total["status"]),
                "Count": total["count"],
                "Average time": _took(total["took_ms"] / total["count"] / 1000),
                "Slowest": _took(total["slowest_ms"] / 1000),
            }
            for total in log["totals"]
        ],
        key="run_log_totals",
        hide_index=True,
        height="content",
        alt="Requests and messages by answer",
        column_config=tables.counts("Count"),
    )
    count = sum(total["count"] for total in log["totals"])
    shown = log["calls"]
    if not st.toggle(
        f"Show details ({number(len(shown))} of {number(count)})", key="run_log_each",
        help="The first successful calls are kept, and many more of those that failed.",
    ):  # fmt: skip
        return
    st.dataframe(
        [
            {
                "Sent": precise(datetime.fromisoformat(call["at"])),
                "Call": call["what"].capitalize(),
                "Answer": _answer(call["status"]),
                "Took": _took(call["took_ms"] / 1000),
            }
            for call in shown
        ],
        key="run_log_calls",
        hide_index=True,
        height=tables.height(len(shown), most=12),
        alt="Each request and message",
    )


def _took(seconds: float) -> str:
    return f"{max(seconds, 0) * 1000:.0f} ms" if seconds < 0.95 else duration(seconds)


def _answer(status: int | None) -> str:
    if status is None:
        return "None: the connection failed, or it took too long"
    meaning = {
        200: "OK",
        400: "Refused",
        401: "Credentials not accepted",
        402: "Not in the plan",
        403: "Not allowed",
        404: "Not found",
        429: "Too many requests",
    }.get(status, "Server error" if status >= 500 else "OK" if status < 300 else "Refused")
    return f"{status} {meaning}"
