"""What an alert says: bounded, one line after the other, and nothing in it that a reader's program acts on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.vendors import notices
from core.vendors.notices import Notice

NOTICE = Notice(
    title="Sync failing: Buyers",
    lines=("Mixpanel did not answer.", "Nothing to correct: try again in a few minutes."),
    link="https://bridge.example/export/syncs?sync=3",
    severity="critical",
    event="sync_failing",
    at=datetime(2026, 11, 26, 12, tzinfo=UTC),
    id="3f1c",
)


@pytest.mark.parametrize(
    "name",
    [
        "<!channel>", "<@U012AB3CD>", "@everyone", "@here", "<at>All</at>", "*bold*", "_quiet_", "~gone~", "`code`",
        "[here](https://evil.example)", "[here][1]", "<https://evil.example|Mixpanel>", "<b>big</b>", "&lt;!here&gt;",
        "||spoiler||", "# Title", "> quote", "https://evil.example/x", "www.evil.example", "evil.example",
        "ann@evil.example", "<img src=x>", "$\\alpha$", "![x](http://evil.example/p.png)", "- item", "1. item",
        "<script>", ":/evil", "--- ", "=== x",
    ],
)  # fmt: skip
def test_nothing_in_a_name_is_a_mention_a_link_or_markup(name: str):
    said = notices.plain(name)

    for sign in "<>@*~`\\":
        assert sign not in said
    for acting in ("](", "][", "||", "://", "&lt;", "_quiet", "evil.example", "www.evil"):
        assert acting not in said
    assert not said.lstrip().startswith(("#", "- ", "1. ", "---", "==="))
    assert len(said) <= len(name) + 1


@pytest.mark.parametrize(
    "name",
    [
        "Power users",
        "power_users_v2",
        "R&D buyers",
        "Kaufer (DE), 30 %",
        "A/B #2",
        "v1.2",
        "買い手",
        "cost: 5",
        "$5 spenders",
    ],
)
def test_an_ordinary_name_stays_as_it_is(name: str):
    assert notices.plain(name) == name


def test_no_line_breaks_or_unseen_characters_and_no_endless_lines_are_sent():
    long = Notice(
        "A\r\nBcc: everyone@example.com",
        ("x" * 5000, "a\u202eb\u200bc \U0001f468\u200d\U0001f469", " ", *(["line"] * 50)),
        None,
        "warning",
        "e",
        NOTICE.at,
        "1",
    )

    sent = notices.bounded(long)

    assert sent.title == "A Bcc: everyone@example.com"
    assert sent.lines[1] == "a<U+202E>b<U+200B>c \U0001f468\u200d\U0001f469"
    assert max(map(len, sent.lines)) <= 400
    assert len(sent.lines) == 12
    assert all(line.strip() for line in sent.lines)


def test_a_command_is_quoted():
    assert notices.plain("Start one with `python -m core worker`.") == "Start one with 'python -m core worker'."


def test_the_link_to_the_dashboard_is_left_as_it_is():
    assert notices.as_text(NOTICE).splitlines()[-1] == NOTICE.link
