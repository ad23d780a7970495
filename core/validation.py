"""Checks of what people enter, shared by every form and command."""

from __future__ import annotations

import re

from core.errors import SettingsError


def clean_line(text: str, field: str, *, most: int = 255) -> str:
    """Check a one-line text. Raises SettingsError naming the field."""
    line = text.strip()
    if not line:
        raise SettingsError(f"{field}: this is needed.")
    if len(line) > most:
        raise SettingsError(f"{field}: at most {most} characters.")
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", line):
        raise SettingsError(f"{field}: it holds characters that cannot be used here.")
    return line


def whole_number(value: str | int | None, field: str) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        raise SettingsError(f"{field}: this is a whole number, found in Mixpanel's project settings.")
    return int(text)
