"""What an alert says: one line after the other, bounded, and with nothing in it that a reader's program acts on.

Names of cohorts and groups are Mixpanel's: anybody who may name a cohort there chooses what stands in a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from core.invisible import revealed_in_name
from core.text import shown

Severity = Literal["critical", "warning", "recovered", "test"]

_LONGEST_TITLE, _LONGEST_LINE, _MOST_LINES = 160, 400, 12
# Signs that Slack, Teams, Discord, Telegram, Matrix, Markdown or HTML act on, and the one of full width that looks like
# it and does nothing. Never an invisible character, which a name may not hold either.
# A command of ours stands between backticks: quotes say the same.
_LIKE = {sign: chr(ord(sign) + 0xFEE0) for sign in "<>@*~\\"} | {"`": "'"}
_ACTS = re.compile("[" + re.escape("".join(_LIKE)) + "]")


def _widened(match: re.Match[str]) -> str:
    return chr(ord(match[0]) + 0xFEE0)


# These act at the edge of a word, at the beginning of a line, doubled, or between two brackets.
_AT_PLACES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<!\w)_|_(?!\w)"), "＿"),
    (re.compile(r"^(\s*)#"), r"\1＃"),
    (re.compile(r"\|\|"), "｜｜"),
    (re.compile(r"(?<=\])[(\[:]"), _widened),
    (re.compile(r"&(?=#?\w+;)"), "＆"),
    (re.compile(r"^(\s*)([-+=]|\d+[.)])(?=\s|$|[-+=])"), r"\1·\2"),
    # Addresses become links by themselves: `https://`, and names such as `example.com`.
    (re.compile(r"(?<=\w):(?=//)"), "："),
    (re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})"), "\u2024"),
)


@dataclass(frozen=True)
class Notice:
    """One message to a channel. `id` stays the same whenever it is sent again: a receiver may drop repeats by it.

    `event` says what happened in a word that does not change, such as `sync_failing`; `link` leads to it.
    """

    title: str
    lines: tuple[str, ...]
    link: str | None
    severity: Severity
    event: str
    at: datetime
    id: str


def bounded(notice: Notice) -> Notice:
    """Return a notice whose title and lines are each one line of a sane length, with nothing unseen in them."""
    lines = [line for line in notice.lines if line.strip()][:_MOST_LINES]
    return replace(
        notice,
        title=shown(revealed_in_name(" ".join(notice.title.split())), most=_LONGEST_TITLE),
        lines=tuple(shown(revealed_in_name(" ".join(line.split())), most=_LONGEST_LINE) for line in lines),
    )


def plain(line: str) -> str:
    """Return a line in which nothing is a mention, a link or markup to whoever draws it, and that reads the same."""
    line = _ACTS.sub(lambda match: _LIKE[match[0]], line)
    for pattern, instead in _AT_PLACES:
        line = pattern.sub(instead, line)
    return line


def as_text(notice: Notice) -> str:
    """Format the lines of a notice, and its link, for programs that may draw them."""
    return "\n".join([*map(plain, notice.lines), *([notice.link] if notice.link else [])])
