"""A moment within a sentence of ours: in UTC, with blanks that do not break.

So a page finds it in a sentence, and shows it in the reader's zone. What a name has of that kind is taken for none:
`core.text.shown` gives it usual blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

_MOMENT = re.compile("([0-9]{4}-[0-9]{2}-[0-9]{2})\u00a0([0-9]{2}:[0-9]{2}:[0-9]{2}|[0-9]{2}:[0-9]{2})\u00a0UTC")


def moment_text(at: datetime, *, with_seconds: bool = False) -> str:
    """Format an aware time: 2026-11-26 14:05 UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M{':%S' if with_seconds else ''} UTC}".replace(" ", "\u00a0")


def replace_moments(text: str, format_moment: Callable[[datetime], str]) -> str:
    """Return the text with each moment of `moment_text` as `format_moment` formats it; the rest stays as it is."""

    def replaced(match: re.Match[str]) -> str:
        try:
            return format_moment(datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00"))
        except (ValueError, OverflowError):  # no day of the calendar, or none that every zone has
            return match[0]

    return _MOMENT.sub(replaced, text)


def without_moments(text: str) -> str:
    """Return text of other origin with nothing in it that would be taken for a moment of ours."""
    return _MOMENT.sub(lambda match: match[0].replace("\u00a0", " "), text)
