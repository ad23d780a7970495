"""What a message says: which group, the cause, what to do, and where to look. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from core.moments import moment_text
from core.text import shown
from core.vendors.notices import Notice, Severity
from data.outbox_models import RECOVERED, AlertMessage, AlertState, Condition

Facts = dict[str, Any]
# How a name or a sentence of other origin stands in a line.
_MOST_NAME, _MOST_CAUSE = 100, 300


class Place(NamedTuple):
    """Where something is shown: the page with what is open in it, and the way there in words."""

    page: str
    params: dict[str, str]
    way: str


@dataclass(frozen=True)
class _Words:
    """The words of a condition: what a title begins with, what happened, what to do, where to look."""

    state: str
    happened: Callable[[Facts], str]
    advice: str
    place: Callable[[Facts], Place]


def notice_of(message: AlertMessage, *, dashboard_url: str | None) -> Notice:
    """Return a message as it is sent; without the dashboard's address it names the place instead of a link."""
    words, facts = _words_of(message.event, message.facts), message.facts
    place = words.place(facts)
    lines = _lines(words, facts)
    if message.severity == RECOVERED:
        lines = [_recovery(message.event, facts, message.written_at)]
    link = _link(dashboard_url, place) if dashboard_url else None
    if link is None:
        lines.append(f"In Cohort Bridge: {place.way}.")
    severity: Severity = message.severity  # type: ignore[assignment]  # the column holds no other
    title = title_of(message.event, message.severity, facts)
    return Notice(title, tuple(lines), link, severity, message.event, message.written_at, message.key)


def title_of(event: str, severity: str, facts: Facts) -> str:
    """Return what a message says in a few words."""
    over = "Removed" if facts.get("how") == "removed" else "Recovered"
    state = over if severity == RECOVERED else _words_of(event, facts).state
    return f"{state}: {_subject(event, facts)}"


def summary_of(alert: AlertState) -> str:
    """Return in a few sentences what is not well, why, and what to do, for a screen."""
    return " ".join(_lines(_words_of(alert.condition, alert.facts), alert.facts))


def place_of(alert: AlertState) -> Place:
    """Return where to look at what is not well."""
    return _words_of(alert.condition, alert.facts).place(alert.facts)


def _words_of(event: str, facts: Facts) -> _Words:
    """Return the words of a condition; what a person paused has no cause to fix."""
    if not facts.get("by_person"):
        return _WORDS[Condition(event)]
    return _PAUSED_FOR_A_TIME if facts.get("until") else _PAUSED_BY_PERSON


def _lines(words: _Words, facts: Facts) -> list[str]:
    """Return what happened, its cause where one is known, and what to do."""
    advice = _text(facts, "advice", _MOST_CAUSE) or words.advice
    return [line for line in (words.happened(facts), _text(facts, "cause", _MOST_CAUSE), advice) if line]


def _link(dashboard_url: str, place: Place) -> str:
    query = f"?{urlencode(place.params)}" if place.params else ""
    return f"{dashboard_url}/{place.page}{query}"


def _subject(event: str, facts: Facts) -> str:
    match Condition(event):
        case Condition.WORKER_GONE:
            return "the worker of Cohort Bridge"
        case Condition.DISK:
            return "Cohort Bridge"
        case Condition.BUDGET:
            return f"Mixpanel project {facts.get('project_id')}"
        case Condition.CONNECTION_REFUSED | Condition.CONNECTION_EXPIRES:
            return f"Mixpanel connection {_text(facts, 'connection')}"
        case _:
            return _text(facts, "group")


def _group(facts: Facts) -> str:
    return f"the group {_text(facts, 'group')} at {_text(facts, 'destination')}"


def _recovery(event: str, facts: Facts, at: datetime) -> str:
    lasted = _duration(facts.get("opened_at"), at)
    match facts.get("how"):
        case "succeeded":
            over = f"A run has succeeded: {_group(facts)} is up to date again."
        case "resumed":
            over = f"The sync of {_group(facts)} was resumed."
        case "removed":
            return f"The sync of {_group(facts)} was removed. It is not watched any more."
        case _:
            over = _OVER[Condition(event)].format(
                group=_group(facts), project_id=facts.get("project_id"), connection=_text(facts, "connection")
            )
    return f"{over} It was not well for {lasted}." if lasted else over


_OVER = {
    Condition.WORKER_GONE: "A worker is there again: syncs run.",
    Condition.DISK: "The disk has room again.",
    Condition.BUDGET: "The queries of Mixpanel project {project_id} are enough for its syncs again.",
    Condition.CONNECTION_REFUSED: "The Mixpanel connection {connection} is accepted again, or was removed.",
    Condition.CONNECTION_EXPIRES: "The service account of the Mixpanel connection {connection} does not expire soon.",
    Condition.LATE: "The sync of {group} is on time again.",
    Condition.PAUSED: "The sync of {group} runs again.",
    Condition.HELD: "Nothing of {group} is held any more.",
    Condition.FAILING: "The sync of {group} runs again.",
}


def _duration(opened_at: str | None, at: datetime) -> str:
    """Format how long something lasted, to the nearest unit; "" for what was over at once."""
    lasted_s = (at - datetime.fromisoformat(opened_at)).total_seconds() if opened_at else 0
    unit, unit_s = ("minute", 60) if lasted_s < 7_200 else ("hour", 3_600) if lasted_s < 172_800 else ("day", 86_400)
    number = int(lasted_s / unit_s + 0.5)
    return f"{number:,} {unit}{'s' if number != 1 else ''}" if number > 0 else ""


def _last_success(facts: Facts) -> str:
    at = facts.get("last_success")
    if not at:
        return "It has not been written so far."
    return f"It was last up to date at {moment_text(datetime.fromisoformat(at))}."


def _text(facts: Facts, name: str, most: int = _MOST_NAME) -> str:
    return shown(str(facts.get(name) or ""), most=most)


# --- the words of each condition -----------------------------------------------------------------------------------


def _sync_place(facts: Facts) -> Place:
    return Place("syncs", {"sync": str(facts.get("sync_id"))}, f"Syncs > {_text(facts, 'group')}")


def _run_place(facts: Facts) -> Place:
    run_id = facts.get("run_id")
    if run_id is None:
        return _sync_place(facts)
    return Place("history", {"run": str(run_id)}, f"History > run {run_id}")


def _overview(_: Facts) -> Place:
    return Place("", {}, "Overview")


def _connections(_: Facts) -> Place:
    return Place("connections", {}, "Connections")


def _paused(facts: Facts) -> str:
    until = f" until {moment_text(datetime.fromisoformat(facts['until']))}" if facts.get("until") else ""
    return f"The sync of {_group(facts)} is paused{until}: the group does not follow its cohort."


def _failing(facts: Facts) -> str:
    return f"{facts.get('failures', 0)} runs in a row failed for {_group(facts)}. {_last_success(facts)}"


def _late(facts: Facts) -> str:
    cause = " The latest run says:" if facts.get("cause") else ""
    return f"No run has succeeded in time for {_group(facts)}. {_last_success(facts)}{cause}"


def _disk(facts: Facts) -> str:
    free, total = facts.get("free_bytes", 0), facts.get("total_bytes", 1)
    return (
        f"The disk of Cohort Bridge has {free / 2**30:,.1f} of {total / 2**30:,.1f} GiB free, less than a tenth: when "
        "it is full, no run can be recorded."
    )


def _budget(facts: Facts) -> str:
    return (
        f"The syncs of Mixpanel project {facts.get('project_id')} need {facts.get('planned', 0):,.0f} queries in their "
        f"busiest hour, and Mixpanel allows {facts.get('limit', 0):,} an hour: runs wait for each other, and groups "
        "become late."
    )


_PAUSED_BY_PERSON = _Words(
    "Paused", _paused, "Resume the sync when the group is to follow its cohort again.", _sync_place
)
_PAUSED_FOR_A_TIME = replace(_PAUSED_BY_PERSON, advice="A worker resumes it then.")
_WORDS = {
    Condition.PAUSED: _Words(
        "Paused",
        _paused,
        "Fix the cause, then press Resume at the sync.",
        _sync_place,
    ),
    Condition.HELD: _Words(
        "Held",
        lambda facts: f"A run is held for {_group(facts)}: nothing is written until somebody decides.",
        "Look at what would change, then apply it once or discard it.",
        _run_place,
    ),
    Condition.FAILING: _Words("Failing", _failing, "Look at the run in History.", _run_place),
    Condition.LATE: _Words(
        "Late", _late, "Look at the sync's runs, and whether a worker runs and has queries left.", _sync_place
    ),
    Condition.CONNECTION_REFUSED: _Words(
        "Not accepted",
        lambda facts: f"Mixpanel does not accept the connection {_text(facts, 'connection')} any more.",
        "Give its service account the role in Mixpanel's project settings, or connect another one.",
        _connections,
    ),
    Condition.CONNECTION_EXPIRES: _Words(
        "Expires soon",
        lambda facts: (
            f"The service account of the Mixpanel connection {_text(facts, 'connection')} expires at "
            f"{moment_text(datetime.fromisoformat(facts['expires_at']))}."
        ),
        "Connect a new one before then, with the project role admin or owner in Mixpanel.",
        _connections,
    ),
    Condition.WORKER_GONE: _Words(
        "Not running",
        lambda facts: f"No worker has given a heartbeat for {facts.get('minutes', 0)} minutes: no sync runs.",
        "Start a worker, and see its log for why the last one ended.",
        _overview,
    ),
    Condition.BUDGET: _Words(
        "Too many queries",
        _budget,
        "Give syncs longer intervals, or pause some.",
        lambda _: Place("syncs", {}, "Syncs"),
    ),
    Condition.DISK: _Words(
        "Disk almost full", _disk, "Make room on it, or give Cohort Bridge a larger one.", _overview
    ),
}
