"""Checks of what people enter, shared by every form and command. Addresses are checked where they are connected to."""

from __future__ import annotations

from core.errors import SettingsError
from core.invisible import INVISIBLE, has_invisible_ends, is_unseen
from core.text import LONGEST_USER_ID, UNTYPED, parse_id

_LONGEST_SECRET = 1000
_PASTED = "Pages and documents have such characters: type it, or paste it as plain text."


def clean_line(text: str, field: str, *, most: int = 255) -> str:
    """Check a one-line text. Raises SettingsError naming the field."""
    line = text.strip()
    if is_unseen(line):
        raise SettingsError(f"{field}: this is needed.")
    if len(line) > most:
        raise SettingsError(f"{field}: at most {most:,} characters.")
    if UNTYPED.search(line):
        raise SettingsError(f"{field}: it holds characters that cannot be used here.")
    return line


def check_user_id(user_id: str) -> None:
    """Check the id of a user that is looked for, letter by letter: a blank at its end may tell it from another.

    Raises: SettingsError naming the field.
    """
    clean_line(user_id, "Id", most=LONGEST_USER_ID)


def clean_exact_line(text: str, field: str) -> str:
    """Check a one-line text that is another system's, letter by letter. Raises SettingsError naming the field."""
    line = clean_line(text, field)
    if has_invisible_ends(line):
        raise SettingsError(f"{field}: it begins or ends with an invisible character.", advice=_PASTED)
    return line


def clean_secret(text: str, field: str, hint: str) -> str:
    """Check a secret; `hint` says where it is found. Raises SettingsError naming the field, never the secret.

    Those of both vendors are ASCII: anything else was copied along with it, or typed by mistake.
    """
    line = text.strip()
    if is_unseen(line):
        raise SettingsError(f"{field}: this is needed.", advice=hint)
    if INVISIBLE.search(line):
        raise SettingsError(f"{field}: it holds an invisible character.", advice=_PASTED)
    if len(line) > _LONGEST_SECRET:
        raise SettingsError(f"{field}: at most {_LONGEST_SECRET:,} characters.", advice=hint)
    if not line.isascii() or not line.isprintable():
        raise SettingsError(f"{field}: it holds characters that none has.", advice=f"Copy it again. {hint}")
    return line


def whole_number(value: str | int | None, field: str) -> int:
    """Check a number of Mixpanel's project settings. Raises SettingsError naming the field."""
    number = parse_id(str(value).strip())
    if not number:
        raise SettingsError(f"{field}: this is a whole number, found in Mixpanel's project settings.")
    return number
