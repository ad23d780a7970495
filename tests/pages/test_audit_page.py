"""Audit log: what a line changed is said in words, and what a value means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import recurring, settings
from data.models import Schedule
from pages.parts.audit_words import column_text, value_text
from tests.pages.dashboard import AUDIT, open_page
from tests.stage.sandbox import TRIAL


def test_a_line_says_in_words_what_was_changed(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, TRIAL, every_minutes=60)
    at_eight = Schedule("0 8 * * 1-5", "Europe/Berlin")
    settings.edit_sync(practising, LOCAL, sync.id or 0, schedule=at_eight, max_shrink=20, tags=["launch", "vip"])
    line = audit_log.list_audit(practising, LOCAL)[0]

    table = open_page(AUDIT, line=line.number).dataframe[0].value

    rows = {row["Value"]: (row["Before"], row["After"]) for _, row in table.iterrows()}
    assert set(table["What"]) == {f"sync {sync.id}"}
    assert rows["Interval"] == ("Every hour", "")
    assert rows["Set times"] == ("", "Weekdays at 08:00")
    assert rows["Time zone"] == ("", "Europe/Berlin")
    assert rows["Shrink limit"] == ("", "20%")
    assert rows["Tags"] == ("", "launch; vip")


@pytest.mark.parametrize(
    ("name", "value", "label", "text"),
    [
        ("dry_run", True, "Preview", "Yes"),
        ("status", "held", "Status", "Held"),
        ("state", "paused", "State", "Paused"),
        ("group_id", 1234, "Group id", "1234"),
        ("members", 1234, "Members", "1,234"),
        ("paused_until", datetime(2026, 11, 30, 8, tzinfo=UTC).isoformat(), "Paused until", "30 Nov 2026, 08:00:00"),
        ("decided_by", None, "Decided by", ""),
        (
            "approvals",
            '[{"cause": "held_shrink", "matched_by": "x", "base": null, "removed": 1200, "added": 3, "total": null}]',
            "What was looked at",
            "Shrink limit: 1,200 to remove, 3 to add",
        ),
        (
            "approvals",
            '[{"cause": "held_shr … 0123456789ab',
            "What was looked at",
            '[{"cause": "held_shr … 0123456789ab',
        ),
        ("reasons", '{"blank": 3}', "Why ids are invalid", "The id is blank: 3"),
        ("cron", "not cron", "Set times", "not cron"),
        ("secret", "(not shown) 12ab34", "Secret", "(not shown) 12ab34"),
        ("own_name", "[1.5]", "Name of its own", "[1.5]"),
        ("decision_note", '{"cause": "held_shrink"}', "Why it was let through", '{"cause": "held_shrink"}'),
        ("share", 1.5, "Share", "1.5"),
        ("shares", [1.5], "Shares", "1.5"),
        ("new_column", {"some_name": 5}, "New column", "some name: 5"),
    ],
)
def test_columns_and_values_have_the_words_of_the_screens(name: str, value: object, label: str, text: str):
    assert (column_text(name), value_text(name, value)) == (label, text)
