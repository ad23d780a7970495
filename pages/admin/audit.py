"""Audit log: every sign-in, refusal and change."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import Any

import streamlit as st

from core.access import audit_log
from core.access.audit_log import AuditFilter
from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from data.models import AuditEntry, utc_now
from pages.parts import download, tables
from pages.parts.formatting import error_text, escape_markdown, moment, number, pluralize
from pages.shell import gate, page_frame, resources

PAGE_ROWS = 25
EVERYTHING = "Everything"
PERIODS = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
OUTCOMES = {"All": "", "Done": "done", "Refused": "refused"}


def go_to(line: int | None) -> None:
    """Show one line, or all of them again; the address says which."""
    if line is None:
        st.query_params.pop("line", None)
    else:
        st.query_params["line"] = str(line)


def to_first_page() -> None:
    """Begin at the first page when something else is asked for."""
    st.session_state["audit_page"] = 1


def words(action: str) -> str:
    """Write an action's name as a person says it."""
    return action.replace("_", " ").capitalize().replace("csv", "CSV")


def filters(bridge: Bridge, person: Actor) -> AuditFilter:
    """Show the filters and return what they ask for."""
    kept: Any = {"persist_state": "page", "on_change": to_first_page}
    who_column, text_column, action_column = st.columns([2, 3, 2])
    who: str = who_column.text_input(
        "Who", value="", key="audit_who", type="search", live="400ms", placeholder="Anybody", **kept
    )
    text: str = text_column.text_input(
        "What or whom", value="", key="audit_text", type="search", live="400ms", placeholder="Anything", **kept
    )
    actions = {EVERYTHING: EVERYTHING} | {name: words(name) for name in audit_log.audit_actions(bridge, person)}
    action = action_column.selectbox(
        "Action", list(actions), format_func=actions.__getitem__, key="audit_action", **kept
    )
    outcome_column, period_column, _ = st.columns([2, 3, 2])
    outcome = outcome_column.selectbox("Outcome", list(OUTCOMES), key="audit_outcome", **kept)
    period = period_column.selectbox("Time", list(PERIODS), key="audit_period", **kept)
    length = PERIODS[period]
    return AuditFilter(
        who=who.strip(),
        text=text.strip(),
        action="" if action == EVERYTHING else action,
        outcome=OUTCOMES[outcome],
        since=utc_now() - length if length else None,
    )


def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the lines that the filters ask for, a page at a time."""
    wanted = filters(bridge, person)
    total = audit_log.count_audit(bridge, person, wanted)
    if not total:
        if audit_log.count_audit(bridge, person):
            st.info("No line matches the filters.", icon=":material/search_off:")
        else:
            st.info("Every change is written down here.", title="Nothing yet", icon=":material/policy:")
        return
    pages = -(-total // PAGE_ROWS)
    page = min(st.session_state.get("audit_page", 1), pages)
    found = audit_log.list_audit(bridge, person, wanted, limit=PAGE_ROWS, offset=(page - 1) * PAGE_ROWS)
    first = (page - 1) * PAGE_ROWS + 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(
            f"{number(first)}–{number(first + len(found) - 1)} of {pluralize(total, 'line')}, the newest first",
            width="content",
        )
        download.offer_csv(
            partial(audit_log.audit_csv, bridge, person, wanted),
            file_name="audit-log.csv",
            key="audit_csv",
            help="All lines that the filters ask for. Cells that a spreadsheet would take for a formula begin with '.",
        )
    tables.rows_to_open(
        [row(entry) for entry in found],
        [entry.number for entry in found],
        key="audit",
        label="Lines of the audit log",
        go_to=go_to,
        columns={
            "When": st.column_config.TextColumn(width=140),
            "Outcome": st.column_config.TextColumn(width=90),
            "What or whom": st.column_config.TextColumn(width="large"),
        },
    )
    if pages > 1:
        st.pagination(pages, key="audit_page")


def row(entry: AuditEntry) -> dict[str, object]:
    """Write a line for the table."""
    return {
        "": "Open",
        "When": moment(entry.at),
        "Who": entry.who,
        "Action": words(entry.action),
        "Outcome": entry.outcome.capitalize(),
        "What or whom": entry.subject,
    }


def show_one(entry: AuditEntry) -> None:
    """Show one line: what was so before, and what after."""
    st.button(
        "All lines", key="audit_back", icon=":material/arrow_back:", type="tertiary", on_click=go_to, args=(None,)
    )
    st.header(f"Line {number(entry.number)}: {escape_markdown(words(entry.action))}", anchor=False)
    refused = entry.outcome == "refused"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(
            entry.outcome.capitalize(),
            color="red" if refused else "green",
            icon=":material/block:" if refused else ":material/check_circle:",
        )
        st.caption(f"{escape_markdown(entry.who)}, {escape_markdown(moment(entry.at))}", width="content")
    st.text(entry.subject)
    if entry.before or entry.after:
        st.dataframe(
            changes(entry), key="audit_changes", hide_index=True, alt="What changed", height="content", placeholder=""
        )
    st.caption(f"Hash of this line and of all before it: {entry.hash}")


def changes(entry: AuditEntry) -> list[dict[str, str]]:
    """Write what changed, a value a row."""
    subjects = dict.fromkeys([*entry.before, *entry.after])
    found = list[dict[str, str]]()
    for subject in subjects:
        old, new = entry.before.get(subject), entry.after.get(subject)
        if not isinstance(old, dict) and not isinstance(new, dict):
            found.append({"What": subject, "Value": "", "Before": written(old), "After": written(new)})
            continue
        old, new = old or {}, new or {}
        for name in dict.fromkeys([*old, *new]):
            value = words(name)
            before, after = written(old.get(name)), written(new.get(name))
            found.append({"What": subject, "Value": value, "Before": before, "After": after})
    return found


def written(value: object) -> str:
    """Write a value as it was kept."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
page_frame.open_page(
    bridge, person, "Audit log", "Every sign-in, refusal and change. No line can be changed or removed unnoticed."
)
try:
    asked = st.query_params.get("line")
    picked = None
    if asked and asked.isascii() and asked.isdigit() and len(asked) < 19:
        picked = audit_log.audit_line(bridge, person, int(asked))
    if picked:
        show_one(picked)
    elif asked:
        st.warning(f"There is no line {escape_markdown(asked)}.", icon=":material/search_off:")
        st.button("All lines", key="audit_back", icon=":material/arrow_back:", on_click=go_to, args=(None,))
    else:
        show_list(bridge, person)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
