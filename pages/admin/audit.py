"""Audit log: every sign-in, refusal and change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from core.access import audit_log
from core.access.audit_log import AuditFilter
from core.access.roles import Actor, Role
from core.bridge import Bridge
from data.models import AuditEntry
from pages.parts import download, tables
from pages.parts.actions import show_errors
from pages.parts.audit_words import action_text, column_text, value_text
from pages.parts.filters import Filters
from pages.parts.formatting import escape_markdown, moment, number, pluralize
from pages.parts.pager import Pager
from pages.parts.periods import IN_ADDRESS, PERIODS, since
from pages.parts.selection import Selection
from pages.shell import gate, page_frame, resources

EVERYTHING = "Everything"
OUTCOMES = {"All": "", "Done": "done", "Refused": "refused"}
ANY_TIME = next(iter(PERIODS))
LINES = Selection("line", key="audit_back", all_rows="All lines", unknown="There is no line {}.")
PAGER = Pager("audit_page", name="page")
# Beside each other on a phone as well.
_TEXT_PX, _WHO_PX = 190, 150


def show_filters(bridge: Bridge, person: Actor, filters: Filters) -> AuditFilter:
    """Show the filters and return what they ask for."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = filters.text(st.text_input, "What or whom", "text", live="400ms", placeholder="Anything", width=_TEXT_PX)
        who = filters.text(st.text_input, "Who", "who", live="400ms", placeholder="Anyone", width=_WHO_PX)
        with filters.behind_button("action", "outcome", "period"):
            more = _more_filters(bridge, person, filters)
    return replace(more, who=who, text=text)


def _more_filters(bridge: Bridge, person: Actor, filters: Filters) -> AuditFilter:
    actions = {EVERYTHING: EVERYTHING} | {name: action_text(name) for name in audit_log.audit_actions(bridge, person)}
    action = filters.one(st.selectbox, "Action", "action", actions, default=EVERYTHING)
    outcome = filters.one(
        st.selectbox, "Outcome", "outcome", {name: name for name in OUTCOMES}, default="All", in_address=OUTCOMES,
    )  # fmt: skip
    period = filters.one(
        st.selectbox, "Time", "period", {name: name for name in PERIODS}, default=ANY_TIME, in_address=IN_ADDRESS,
    )  # fmt: skip
    return AuditFilter(
        action="" if action == EVERYTHING else action,
        outcome=OUTCOMES[outcome],
        since=since(period, bridge.clock.now()),
    )


def show_list(bridge: Bridge, person: Actor) -> None:
    """Show the lines that the filters ask for, a page at a time."""
    filters = Filters("audit", PAGER)
    asked = show_filters(bridge, person, filters)
    filters.show_unknown()
    total = audit_log.count_audit(bridge, person, asked)
    if not total:
        if audit_log.count_audit(bridge, person):
            filters.show_none("No line matches the filters.")
        else:
            st.info("Every change is recorded here.", title="Nothing yet", icon=":material/policy:")
        return
    entries = audit_log.list_audit(bridge, person, asked, limit=PAGER.rows, offset=PAGER.offset(total))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        shown = PAGER.range_text(len(entries), pluralize(total, "line"), total=total)
        st.caption(f"{shown}, the newest first", width="content")
        download.offer_csv(
            partial(audit_log.audit_csv, bridge, person, asked),
            file_name="audit-log.csv",
            key="audit_csv",
            help="All lines that match the filters. Cells that a spreadsheet would take for a formula begin with '.",
        )
    tables.rows_to_open(
        [table_row(entry) for entry in entries],
        [entry.number for entry in entries],
        key="audit",
        label="Lines of the audit log",
        go_to=LINES.go_to,
        opens="Action",
        opens_width=150,
        columns={
            "When": st.column_config.TextColumn(width=140),
            "Outcome": st.column_config.TextColumn(width=90),
            "What or whom": st.column_config.TextColumn(width="large"),
        },
    )
    PAGER.buttons(total)


def table_row(entry: AuditEntry) -> dict[str, object]:
    """Format a line for the table."""
    return {
        "When": moment(entry.at),
        "Who": entry.who,
        "Action": action_text(entry.action),
        "Outcome": entry.outcome.capitalize(),
        "What or whom": entry.subject,
    }


def show_one(entry: AuditEntry) -> None:
    """Show one line: the values before, and the values after."""
    LINES.back_button()
    st.header(f"Line {number(entry.number)}: {escape_markdown(action_text(entry.action))}", anchor=False)
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
            list_changes(entry),
            key="audit_changes",
            hide_index=True,
            alt="What changed",
            height="content",
            placeholder="",
        )
    st.caption(f"Hash of this line and of all before it: {entry.hash}")


def list_changes(entry: AuditEntry) -> list[dict[str, str]]:
    """Format what changed, a value a row."""
    changes = list[dict[str, str]]()
    for subject in dict.fromkeys([*entry.before, *entry.after]):
        old, new = entry.before.get(subject), entry.after.get(subject)
        if not isinstance(old, dict) and not isinstance(new, dict):
            before, after = value_text("", old), value_text("", new)
            changes.append({"What": subject, "Value": "", "Before": before, "After": after})
            continue
        old, new = old or {}, new or {}
        for name in dict.fromkeys([*old, *new]):
            before, after = value_text(name, old.get(name)), value_text(name, new.get(name))
            changes.append({"What": subject, "Value": column_text(name), "Before": before, "After": after})
    return changes


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
page_frame.open_page(
    bridge, person, "Audit log", "Every sign-in, refusal and change. No line can be changed or removed unnoticed."
)
with show_errors():
    if not LINES.requested:
        show_list(bridge, person)
    elif entry := LINES.find(partial(audit_log.audit_line, bridge, person)):
        show_one(entry)
